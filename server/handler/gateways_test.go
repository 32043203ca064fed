package handler_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// TestGatewayScript plays testdata/config/gateways.txt: writes and removals of config entries, and with
// "? kind/name" what the servers make of an entry then, in lines that begin with ">".
func TestGatewayScript(t *testing.T) {
	const file = "testdata/config/gateways.txt"
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, out := newServer(state.New()), ""
	for line := range strings.Lines(string(script)) {
		line = strings.TrimSuffix(line, "\n")
		verb, rest, _ := strings.Cut(line, " ")
		if verb == ">" {
			continue // comes of the question
		}
		out += line + "\n"
		switch verb {
		case "put", "delete":
			if got := outcome(t, s, verb, rest); got != "ok" {
				t.Fatalf("%s: %s", line, got)
			}
		case "?":
			kind, name, _ := strings.Cut(rest, "/")
			e, _ := state.ConfigEntry(s.store.Read(), nil, catalog.EntryKind(kind), name)
			out += computed(t, e)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if out != string(script) {
		t.Errorf("got\n%s", out)
	}
	for _, wrong := range s.store.Check() {
		t.Error("invariant:", wrong)
	}
}

// computed is what of an entry the servers have worked out.
func computed(t *testing.T, e catalog.ConfigEntry) string {
	if e == nil {
		return "> none\n"
	}
	if b, ok := e.(*catalog.BoundAPIGateway); ok {
		text, err := json.Marshal(struct{ Listeners, Services any }{b.Listeners, b.Services})
		if err != nil {
			t.Fatal(err)
		}
		return "> " + string(text) + "\n"
	}
	out := ""
	for _, c := range catalog.StatusOf(e).Conditions {
		if c.LastTransitionTime == nil || c.LastTransitionTime.IsZero() {
			t.Errorf("%s: condition %s has no time", e.Head(), c.Type)
		}
		out += strings.TrimRight(fmt.Sprintf("> %s=%s %s: %s %s %s", c.Type, c.Status, c.Reason, c.Message, c.Resource.Name, c.Resource.SectionName), " ") + "\n"
	}
	return out
}

// TestGatewayStatusKeepsItsTime: a condition that stays has the time at which it came, however often entries
// around it are written, and an entry whose status stays is not written.
func TestGatewayStatusKeepsItsTime(t *testing.T) {
	s := newServer(state.New())
	const gateway = `{"Kind":"api-gateway","Name":"gw","Listeners":[{"Name":"l","Port":80,"Protocol":"http"}]}`
	read := func() *catalog.APIGateway {
		e, _ := state.ConfigEntry(s.store.Read(), nil, catalog.EntryAPIGateway, "gw")
		return e.(*catalog.APIGateway)
	}
	outcome(t, s, "put", gateway)
	first := read()
	outcome(t, s, "put", `{"Kind":"service-defaults","Name":"web","Protocol":"http"}`)
	outcome(t, s, "put", `{"Kind":"http-route","Name":"r","Parents":[{"Name":"gw"}],"Rules":[{"Services":[{"Name":"web"}]}]}`)
	if now := read(); now.ModifyIndex != first.ModifyIndex {
		t.Errorf("written at %d and again at %d", first.ModifyIndex, now.ModifyIndex)
	}
	outcome(t, s, "put", strings.Replace(gateway, "}]", `},{"Name":"m","Port":81,"Protocol":"tcp"}]`, 1))
	for i, c := range read().Status.Conditions {
		if old := first.Status.Conditions[0]; i == 0 && !c.LastTransitionTime.Equal(*old.LastTransitionTime) {
			t.Errorf("condition %s has come at %v and at %v", c.Type, old.LastTransitionTime, c.LastTransitionTime)
		}
	}
}
