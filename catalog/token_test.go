package catalog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
)

// TestSecretIDHides: the secret of a token shows itself in answers, and nowhere else.
func TestSecretIDHides(t *testing.T) {
	const text = "5f3c2a10-0000-4000-8000-00000000feed"
	token := &catalog.Token{AccessorID: "a", SecretID: text}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		for _, shown := range []any{token.SecretID, token, *token, []catalog.SecretID{text}, map[string]any{"a": token}} {
			if got := fmt.Sprintf(verb, shown, shown); strings.Contains(strings.ToLower(got), "feed") || strings.Contains(got, "35663363") {
				t.Errorf("%s shows %s", verb, got)
			}
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", token.SecretID, "token", token)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", token.SecretID, "token", token)
	if strings.Contains(log.String(), "feed") {
		t.Errorf("the log holds %s", log.String())
	}
	if body, err := json.Marshal(token); err != nil || !strings.Contains(string(body), text) {
		t.Errorf("the answer is %s, %v", body, err)
	}
}

func TestValidateTokens(t *testing.T) {
	f := func(token catalog.Token, wants string) {
		t.Helper()
		token.AccessorID = "aaaaaaaa-0000-4000-8000-000000000001"
		err := token.Normalize()
		if err == nil {
			err = token.Validate()
		}
		switch {
		case wants == "" && err != nil:
			t.Error(err)
		case wants != "" && (catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), wants)):
			t.Errorf("%v, want one that says %s", err, wants)
		}
	}
	service := func(names ...string) (list []*catalog.ServiceIdentity) {
		for _, n := range names {
			list = append(list, &catalog.ServiceIdentity{ServiceName: n})
		}
		return list
	}
	f(catalog.Token{}, "")
	f(catalog.Token{ServiceIdentities: service("web", "web", "a-b_c")}, "")
	f(catalog.Token{ServiceIdentities: service("")}, "service identity")
	f(catalog.Token{ServiceIdentities: service("Web")}, "lower-case")
	f(catalog.Token{ServiceIdentities: service("-web")}, "lower-case")
	f(catalog.Token{ServiceIdentities: service(`x" { policy = "write" } service "y`)}, "lower-case")
	f(catalog.Token{ServiceIdentities: service(strings.Repeat("a", 257))}, "1 to 256")
	f(catalog.Token{ServiceIdentities: []*catalog.ServiceIdentity{nil}}, "null")
	f(catalog.Token{NodeIdentities: []*catalog.NodeIdentity{{NodeName: "n1"}}}, "datacenter")
	f(catalog.Token{NodeIdentities: []*catalog.NodeIdentity{{NodeName: "n1", Datacenter: "dc1"}}}, "")
	f(catalog.Token{Policies: []catalog.Link{{}}}, "neither by ID nor by Name")
	f(catalog.Token{Policies: make([]catalog.Link, 2000)}, "at most 1024")
	f(catalog.Token{Description: strings.Repeat("x", 5000)}, "at most 4096")
	templated := func(name, value string) catalog.Token {
		return catalog.Token{TemplatedPolicies: []*catalog.TemplatedPolicy{{TemplateName: name, TemplateVariables: &catalog.TemplateVariables{Name: value}}}}
	}
	f(templated("builtin/service", "web"), "")
	f(templated("builtin/service", ""), "Name")
	f(templated("builtin/service", `x" {}`), "Name")
	f(templated("builtin/dns", ""), "")
	f(templated("builtin/dns", "x"), "takes no variables")
	f(templated("builtin/none", "x"), "does not exist")
}

// TestNormalizeIdentities: what is given twice is stored once, and where one counts everywhere it does.
func TestNormalizeIdentities(t *testing.T) {
	token := catalog.Token{
		Policies: []catalog.Link{{Name: "a"}, {Name: "a"}, {ID: "AAAAAAAA-0000-4000-8000-000000000001"}, {ID: "aaaaaaaa-0000-4000-8000-000000000001"}},
		ServiceIdentities: []*catalog.ServiceIdentity{
			{ServiceName: "web", Datacenters: []string{"dc2"}}, {ServiceName: "web", Datacenters: []string{"dc1", "dc2"}},
			{ServiceName: "db", Datacenters: []string{"dc1"}}, {ServiceName: "db"},
		},
	}
	if err := token.Normalize(); err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal([]any{token.Policies, token.ServiceIdentities})
	want := `[[{"ID":"","Name":"a"},{"ID":"aaaaaaaa-0000-4000-8000-000000000001","Name":""}],[{"ServiceName":"web","Datacenters":["dc1","dc2"]},{"ServiceName":"db"}]]`
	if string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestInterpolate(t *testing.T) {
	values := map[string]string{"value.name": "web", "serviceaccount.namespace": "prod"}
	f := func(text, want string) {
		t.Helper()
		if got, err := catalog.Interpolate(text, values); got != want || (err != nil) != (want == "") {
			t.Errorf("%q becomes %q, %v, want %q", text, got, err, want)
		}
	}
	f("plain", "plain")
	f("${value.name}-${ serviceaccount.namespace }", "web-prod")
	f("$${value.name}", "${value.name}")
	f("${value.none}", "")
	f("${value.name", "")
}
