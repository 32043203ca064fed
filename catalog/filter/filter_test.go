package filter_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

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
	f(`not Service.Port == 80 and Checks.Status == warning`, false)
	f(`(Service.Port == 80 or Service.Port == 81) and (Checks.Status == critical or not (Checks.Status == critical or Service.Port == 82))`, true)
	f(strings.Repeat(`Service.Port == 80 and `, 300)+`Checks.Status == warning`, true)
	f(`((((Checks.Status == warning))))`, true)
}

func TestErrorsAreInvalid(t *testing.T) {
	for _, expression := range []string{"Node ==", "==", "a == b and", string(make([]byte, 10_000)), strings.Repeat("(", 4000)} {
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

var web = &catalog.Instance{
	Node:    &catalog.Node{Node: "n1", Meta: map[string]string{"rack": "a"}},
	Service: &catalog.Service{ID: "web1", Service: "web", Port: 80, Tags: []string{"v1"}, Weights: &catalog.Weights{Passing: 1}},
	Checks:  []*catalog.Check{{Status: catalog.Passing}},
}

// TestCache: compiled expressions can be had by many at once, and flooding the cache is no harm.
func TestCache(t *testing.T) {
	var cache filter.Cache
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for i := range 300 {
				keep, err := cache.Compile(fmt.Sprintf("Service.Port != %d", 100*n+i+100))
				if err != nil {
					t.Error(err)
				} else if ok, err := keep.Accepts(web); !ok || err != nil {
					t.Errorf("%d/%d: %v %v", n, i, ok, err)
				}
			}
		})
	}
	group.Wait()
	list := []*catalog.Service{{Port: 80}, {Port: 81}}
	keep, _ := cache.Compile("Port == 81")
	if kept, err := filter.List(&list, keep); err != nil || len(*kept) != 1 || (*kept)[0].Port != 81 || len(list) != 2 {
		t.Errorf("kept %v: %v", kept, err)
	}
}

// FuzzCompile: no expression takes the process down, or long.
func FuzzCompile(f *testing.F) {
	for _, e := range []string{`Service.Service == web`, `any Service.Tags as t { t == v1 }`, `all Node.Meta as k, v { k != v }`, `not ((a in b))`, `Checks.0.Status matches "("`, `"/Service/ID" == x`} {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		start := time.Now()
		keep, err := filter.Compile(expression)
		if err == nil {
			_, err = keep.Accepts(web)
		}
		if err != nil && catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%q: %v", expression, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%q took %s", expression, took)
		}
	})
}

// Fields of embedded structs are the element's own, as JSON has them.
func TestEmbedded(t *testing.T) {
	e := &catalog.ServiceDefaults{Protocol: "http", UpstreamConfig: &catalog.UpstreamConfiguration{Overrides: []*catalog.UpstreamConfig{{Name: "db"}}}}
	e.Name, e.Meta = "web", map[string]string{"a": "b"}
	for expression, want := range map[string]bool{
		`Name == web`: true, `Name == db`: false, `Protocol == http and Meta.a == b`: true, `UpstreamConfig.Overrides.Name == db`: true, `Meta is not empty`: true, `Destination.Port == 80`: false,
	} {
		keep, err := filter.Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := keep.Accepts(e); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", expression, got, err, want)
		}
	}
}
