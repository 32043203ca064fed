package filter_test

import (
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/filter"
)

func TestSelectors(t *testing.T) {
	element := &catalog.Instance{
		Node:    &catalog.Node{Node: "n1", Meta: map[string]string{"rack": "a b"}},
		Service: &catalog.Service{Service: "web", Tags: []string{"v1", "eu"}, Port: 80},
		Checks:  []*catalog.Check{{CheckID: "a", Status: catalog.Passing}, {CheckID: "b", Status: catalog.Warning, Output: "say \"hi\""}},
	}
	f := func(expression string, want bool) {
		t.Helper()
		keep, err := filter.Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			return
		}
		if got, err := keep.Accepts(element); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", expression, got, err, want)
		}
	}
	f(`Service.Port == 80`, true)
	f(`v1 in Service.Tags and not ("v2" in Service.Tags)`, true)
	f(`Node.Meta.rack == "a b"`, true)
	f(`Node.Meta["none"] == x`, false)
	f(`Checks.Status == warning`, true)
	f(`Checks.Status == critical`, false)
	f(`Checks.Status == warning and Checks.CheckID == a`, true)
	f(`Checks.Output matches "say .hi."`, true)
	f("Checks.Output contains `\"hi\"`", true)
	f(`Checks.Output is empty`, true)
	f(`not (Checks.Status == critical or Service.Service == db)`, true)
	f(`any Checks as c { c.Status == warning and c.CheckID == b }`, true)
	f(`any Checks as c { c.Status == warning and c.CheckID == a }`, false)
	f(`all Checks as c { c.Status == critical }`, false)
	f(`Checks is not empty`, true)
}

func TestErrorsAreInvalid(t *testing.T) {
	for _, expression := range []string{"Node ==", "==", "a == b and", string(make([]byte, 10_000))} {
		if _, err := filter.Compile(expression); catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%.20q: %v, want a refusal", expression, err)
		}
	}
	keep, err := filter.Compile("Wheel == 4")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keep.Accepts(&catalog.Node{}); catalog.CodeOf(err) != catalog.Invalid {
		t.Errorf("unknown field: %v, want a refusal", err)
	}
}
