package handler_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

var update = flag.Bool("update", false, "write what came out into the scripts, to be read before it is committed")

// TestGraphScript plays testdata/config/graph.txt: writes and removals of config entries, one behind the
// other, each with what comes of it: "ok", or "! error", which leaves everything as it was.
func TestGraphScript(t *testing.T) {
	const file = "testdata/config/graph.txt"
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, out, got := newServer(state.New()), "", ""
	for line := range strings.Lines(string(script)) {
		line = strings.TrimSuffix(line, "\n")
		switch verb, rest, _ := strings.Cut(line, " "); verb {
		case "put", "delete":
			got = outcome(t, s, verb, rest)
		case "ok", "!":
			if got != line && !*update {
				t.Errorf("got  %s\nwant %s\nbehind\n%s", got, line, out[max(0, len(out)-300):])
			}
			line = got
		}
		out += line + "\n"
	}
	if *update {
		if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, wrong := range s.store.Check() {
		t.Error("invariant:", wrong)
	}
}

// outcome does what a line of the script says.
func outcome(t *testing.T, s *server, verb, what string) string {
	req := &api.ConfigWrite{Op: api.ConfigSet}
	if verb == "put" {
		e, err := decode.Entry([]byte(what))
		if err != nil {
			t.Fatal(what, err)
		}
		req.Entry = *catalog.AnyOf(e)
	} else {
		kind, name, _ := strings.Cut(what, "/")
		e := catalog.NewEntry(catalog.EntryKind(kind))
		e.Head().Name = name
		req.Op, req.Entry = api.ConfigDelete, *catalog.AnyOf(e)
	}
	before, _ := state.ConfigEntries(s.store.Read(), nil, "")
	_, err := s.Call(t.Context(), &rpc.Call{Method: api.ConfigApply.Name, Body: req})
	if err == nil {
		return "ok"
	}
	if catalog.CodeOf(err) != catalog.Invalid {
		t.Errorf("%s %s: code %s", verb, what, catalog.CodeOf(err))
	}
	after, _ := state.ConfigEntries(s.store.Read(), nil, "")
	if len(before) != len(after) {
		t.Errorf("%s %s was refused and left something behind", verb, what)
	}
	return "! " + err.Error()
}

func defaults(name, protocol string, index uint64) catalog.AnyEntry {
	e := &catalog.ServiceDefaults{Protocol: protocol}
	e.Kind, e.Name, e.ModifyIndex = catalog.EntryServiceDefaults, name, index
	return *catalog.AnyOf(e)
}

func TestConfigCompareAndSet(t *testing.T) {
	s := newServer(state.New())
	f := func(op api.ConfigOp, protocol string, index uint64, want bool) {
		t.Helper()
		if got := *s.do(t, api.ConfigApply.Name, &api.ConfigWrite{Op: op, Entry: defaults("web", protocol, index)}).(*bool); got != want {
			t.Errorf("%s of %s at %d: %v", op, protocol, index, got)
		}
	}
	at := func() uint64 {
		return s.do(t, api.ConfigGet.Name, &api.ConfigQuery{Kind: catalog.EntryServiceDefaults, Name: "WEB"}).(*catalog.AnyEntry).ServiceDefaults.ModifyIndex
	}
	f(api.ConfigCAS, "http", 7, false)
	f(api.ConfigCAS, "http", 0, true)
	f(api.ConfigCAS, "grpc", 0, false)
	first := at()
	f(api.ConfigCAS, "http", 99, true) // says what is there
	f(api.ConfigSet, "http", 0, true)
	if at() != first {
		t.Errorf("a write that changes nothing took the index from %d to %d", first, at())
	}
	f(api.ConfigCAS, "grpc", first, true)
	f(api.ConfigCAS, "http", first, false)
	f(api.ConfigDeleteCAS, "", first, false)
	f(api.ConfigDeleteCAS, "", at(), true)
	f(api.ConfigDeleteCAS, "", 0, false)
	f(api.ConfigDelete, "", 0, true)
	if e := s.do(t, api.ConfigGet.Name, &api.ConfigQuery{Kind: catalog.EntryServiceDefaults, Name: "web"}).(*catalog.AnyEntry).Entry(); e != nil {
		t.Errorf("the entry is still there: %v", e)
	}
}

// TestConfigNeeds: what an entry needs of the token depends on its kind.
func TestConfigNeeds(t *testing.T) {
	s := newServer(state.New())
	write, read := map[catalog.EntryKind]string{}, map[catalog.EntryKind]string{}
	for _, kind := range catalog.EntryKinds() {
		write[kind], read[kind] = "mesh:write ", "mesh:read "
	}
	for _, kind := range []catalog.EntryKind{catalog.EntryServiceDefaults, catalog.EntryServiceRouter, catalog.EntryServiceSplitter, catalog.EntryServiceResolver} {
		write[kind], read[kind] = "service:write n", "service:read n"
	}
	for _, kind := range []catalog.EntryKind{catalog.EntryIngressGateway, catalog.EntryTerminatingGateway, catalog.EntryAPIGateway, catalog.EntryBoundAPIGateway} {
		read[kind] = "service:read n"
	}
	for _, kind := range []catalog.EntryKind{catalog.EntryProxyDefaults, catalog.EntryMesh, catalog.EntryJWTProvider, catalog.EntrySamenessGroup} {
		read[kind] = ""
	}
	write[catalog.EntryServiceIntentions], read[catalog.EntryServiceIntentions] = "intention:write n", "intention:read n"
	for _, kind := range []catalog.EntryKind{catalog.EntryRequestLimit, catalog.EntryKVReplication} {
		write[kind], read[kind] = "operator:write ", "operator:read "
	}
	denied := func(method string, req any, allowed ...string) bool {
		s.allowed = allowed
		_, err := s.Call(t.Context(), &rpc.Call{Method: method, Body: req})
		return catalog.CodeOf(err) == catalog.Denied
	}
	for _, kind := range catalog.EntryKinds() {
		e := catalog.NewEntry(kind)
		e.Head().Name = "n"
		put, get := &api.ConfigWrite{Op: api.ConfigSet, Entry: *catalog.AnyOf(e)}, &api.ConfigQuery{Kind: kind, Name: "n"}
		if !denied(api.ConfigApply.Name, put, "none") || denied(api.ConfigApply.Name, put, write[kind]) {
			t.Errorf("writing %s does not need just %s", kind, write[kind])
		}
		if denied(api.ConfigGet.Name, get, "none") != (read[kind] != "") || denied(api.ConfigGet.Name, get, read[kind]) {
			t.Errorf("reading %s does not need just %q", kind, read[kind])
		}
	}
}

func TestConfigLists(t *testing.T) {
	s := newServer(state.New())
	for _, name := range []string{"web", "db", "api"} {
		s.do(t, api.ConfigApply.Name, &api.ConfigWrite{Op: api.ConfigSet, Entry: defaults(name, "http", 0)})
	}
	s.do(t, api.ConfigApply.Name, &api.ConfigWrite{Op: api.ConfigSet, Entry: *catalog.AnyOf(catalog.NewEntry(catalog.EntryMesh))})
	f := func(method string, q api.ConfigQuery, filter, want string, allowed ...string) {
		t.Helper()
		s.allowed = allowed
		answer, err := s.Call(t.Context(), &rpc.Call{Method: method, Body: &q, Header: rpc.Header{Filter: filter}})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, a := range *answer.Value().(*[]*catalog.AnyEntry) {
			got += a.Entry().Head().String() + " "
		}
		if got != want {
			t.Errorf("%s of %v with filter %q: %s, want %s", method, q, filter, got, want)
		}
	}
	ofService := api.ConfigQuery{Kind: catalog.EntryServiceDefaults}
	f(api.ConfigList.Name, ofService, "", "service-defaults/api service-defaults/db service-defaults/web ")
	f(api.ConfigList.Name, ofService, "Name matches `^(web|db)$` and Protocol == http", "service-defaults/db service-defaults/web ")
	f(api.ConfigList.Name, ofService, "", "service-defaults/db ", "service:read db")
	f(api.ConfigListAll.Name, api.ConfigQuery{}, "", "mesh/mesh service-defaults/api service-defaults/db service-defaults/web ")
	f(api.ConfigListAll.Name, api.ConfigQuery{}, "Kind == mesh", "mesh/mesh ")
	s.allowed = nil
	if _, err := s.Call(t.Context(), &rpc.Call{Method: api.ConfigList.Name, Body: &api.ConfigQuery{Kind: "soup"}}); catalog.CodeOf(err) != catalog.Invalid {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestConfigIsStoredAsItIsWritten: entries say the same behind the log as before it, all that the scripts of
// package decode show.
func TestConfigIsStoredAsItIsWritten(t *testing.T) {
	files, err := filepath.Glob("../../agent/decode/testdata/entries/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(script)) {
			said, ok := strings.CutPrefix(strings.TrimSpace(line), "= ")
			if !ok {
				continue
			}
			e, err := decode.Entry([]byte(said))
			if err != nil {
				t.Fatal(said, err)
			}
			e.Normalize()
			s := newServer(state.New())
			for _, first := range []string{
				`{"Kind":"mesh","AllowEnablingPermissiveMutualTLS":true}`, `{"Kind":"proxy-defaults","Config":{"protocol":"http"}}`,
				`{"Kind":"service-defaults","Name":"db","Protocol":"http"}`, `{"Kind":"service-resolver","Name":"web","Subsets":{"v1":{},"v2":{}}}`,
				`{"Kind":"service-resolver","Name":"admin","Subsets":{"v2":{}}}`, `{"Kind":"service-resolver","Name":"web2","Subsets":{"v1":{}}}`,
				`{"Kind":"jwt-provider","Name":"okta","JSONWebKeySet":{"Local":{"Filename":"/keys"}}}`, `{"Kind":"sameness-group","Name":"all","Members":[{"Peer":"a"}]}`,
			} {
				if got := outcome(t, s, "put", first); got != "ok" {
					t.Fatal(first, got)
				}
			}
			if got := outcome(t, s, "put", said); got != "ok" {
				t.Errorf("%s: %s", said, got)
				continue
			}
			if stored, _ := state.ConfigEntry(s.store.Read(), nil, e.Head().Kind, e.Head().Key()); !catalog.SameEntry(stored, e) {
				got, _ := json.Marshal(stored)
				t.Errorf("stored is %s\nwant      %s", got, said)
			}
		}
	}
}
