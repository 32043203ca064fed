package main

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/curia-mesh/curia"

// may lists what of our own each package may import; a trailing /... means everything below too. What
// is not listed is refused: the table is the house's plan, in website/docs/internals/design.md.
var may = map[string][]string{
	"":                           {"agent/command"},
	"catalog":                    {},
	"catalog/acl":                {"catalog", "catalog/hcl"},
	"catalog/filter":             {"catalog"},
	"catalog/hcl":                {},
	"catalog/state":              {"catalog"},
	"connect":                    {"catalog", "connect/canon"},
	"connect/canon":              {},
	"connect/ca":                 {"connect", "catalog"},
	"connect/balance":            {},
	"connect/fetch":              {"catalog"},
	"connect/jwt":                {"catalog", "connect/fetch", "rpc/pause"},
	"connect/jwt/jwttest":        {},
	"connect/chain":              {"catalog"},
	"connect/proxy":              {"catalog", "connect", "connect/balance", "connect/canon", "connect/chain", "connect/jwt", "rpc/http1/wire", "rpc/http2", "rpc/pause"},
	"rpc":                        {},
	"rpc/http1":                  {"rpc/http1/wire"},
	"rpc/http1/wire":             {},
	"rpc/http2":                  {"rpc/http1/wire"},
	"rpc/memnet":                 {"rpc/pause"},
	"rpc/share":                  {"rpc"},
	"rpc/durable":                {},
	"rpc/socket":                 {},
	"rpc/cores":                  {},
	"rpc/tend":                   {},
	"rpc/pause":                  {},
	"rpc/gossip":                 {"rpc/durable", "rpc/pause"},
	"rpc/router":                 {"rpc", "rpc/gossip"},
	"server/api":                 {"catalog", "rpc"},
	"server/limit":               {"catalog"},
	"server/endpoint":            {"catalog", "catalog/...", "rpc"},
	"server/handler":             {"catalog", "catalog/...", "connect", "connect/chain", "rpc", "server/api", "server/authmethod", "server/endpoint"},
	"server/authmethod":          {"catalog", "connect/fetch", "connect/jwt", "server/api"},
	"server/autopilot":           {"catalog"},
	"server/ca":                  {"catalog", "catalog/state", "connect", "connect/ca", "rpc", "server/api"},
	"server/replica":             {"catalog", "catalog/state", "connect", "rpc", "rpc/pause", "server/api"},
	"server/peer":                {"catalog", "catalog/state", "connect", "rpc", "rpc/pause", "rpc/tend", "server/api"},
	"server/fsm":                 {"catalog", "catalog/state", "server/endpoint"},
	"server/trial":               {"catalog", "catalog/state", "server/fsm", "server/snapshot"},
	"server/raftstore":           {"rpc/durable"},
	"server/boltstore":           {"rpc/durable", "server/raftstore"},
	"server/raftstore/storetest": {"server/raftstore"},
	"server/snapstore":           {"rpc/durable"},
	"server/snapshot":            {},
	"server":                     {"catalog", "catalog/...", "rpc", "rpc/...", "connect", "server/..."},
	"agent/decode":               {"catalog", "catalog/hcl"},
	"agent/logging":              {},
	"agent/audit":                {"agent/logging"},
	"agent/telemetry":            {},
	"agent/config":               {"catalog", "rpc/durable", "agent/decode"},
	"agent/client":               {"catalog", "rpc/pause"},
	"agent/check":                {"catalog"},
	"agent/local":                {"catalog", "rpc", "rpc/durable", "rpc/pause", "server/api", "agent/check", "agent/decode"},
	"agent/external":             {"catalog", "rpc", "rpc/pause", "server/api", "agent/check"},
	"agent/authz":                {"catalog", "catalog/acl", "server/api"},
	"agent/event":                {"catalog", "rpc"},
	"agent/watch":                {"catalog", "catalog/filter", "rpc", "server/api", "agent/config"},
	"agent/leaf":                 {"catalog", "connect", "rpc", "rpc/durable", "server/api", "agent/watch"},
	"agent/sidecar":              {"catalog", "connect", "connect/balance", "connect/chain", "connect/jwt", "connect/proxy", "rpc", "rpc/durable", "rpc/pause", "rpc/socket", "rpc/tend", "server/api", "agent/client", "agent/leaf", "agent/logging", "agent/watch"},
	"agent/dns":                  {"catalog"},
	"agent/enroll":               {"catalog", "connect", "rpc", "rpc/durable", "server/api", "agent/leaf"},
	"agent/trust":                {"agent/config", "connect", "rpc"},
	"agent/httpapi": {"catalog", "connect", "catalog/acl", "catalog/filter", "rpc", "rpc/gossip", "rpc/http1", "server/api", "agent/check", "agent/decode", "agent/event", "agent/leaf", "agent/local",
		"agent/logging", "agent/telemetry", "agent/watch"},
	"agent":           {"catalog", "catalog/...", "connect", "rpc", "rpc/...", "server", "server/...", "agent/..."},
	"agent/command":   {"catalog", "catalog/acl", "agent", "agent/client", "agent/config", "agent/decode", "agent/demo", "agent/backup", "agent/logging", "agent/sidecar", "connect", "rpc", "rpc/durable", "rpc/gossip", "server", "server/api", "server/fsm", "server/snapshot"},
	"agent/backup":    {"catalog", "rpc/durable", "rpc/pause", "agent/client", "server/snapshot", "server/trial"},
	"agent/demo":      {"catalog", "rpc/pause", "rpc/socket", "agent/client"},
	"agent/frontdoor": {},
	"agent/fleet":     {},
	"agent/testkit":   {"catalog", "catalog/...", "rpc", "rpc/...", "server", "server/...", "agent", "agent/..."},
	"website":         {},
}

// TestLayers holds the imports of the product to the plan, so that dependencies point down only.
func TestLayers(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		allowed, planned := may[name]
		if !planned {
			if !strings.HasPrefix(name, "scripts/") {
				t.Errorf("package %s is not in the plan: add a row that says what it may import", name)
			}
			continue
		}
		for _, i := range p.Imports {
			ours, ok := strings.CutPrefix(i, module+"/")
			if ok && !permits(allowed, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
		}
	}
}

func permits(allowed []string, name string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		if below, ok := strings.CutSuffix(a, "/..."); ok {
			return strings.HasPrefix(name, below+"/")
		}
		return a == name
	})
}
