package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/config"
)

// FuzzConfig: no file panics or hangs, and what loads is complete.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`service "a" { port = 1 check { id = "c" ttl = "10s" } } ports { http = 1 } ports { dns = 2 }`), true)
	f.Add([]byte(`acl { tokens { master = "x" } } dns_config { service_ttl { "*" = "1s" } } retry_join = ["a"] ui = true`), true)
	f.Add([]byte("client_addr = <<E\n{{ GetAllInterfaces | join \"address\" \" \" }}\nE\n"), true)
	f.Add([]byte(`watches = [{ type = "nodes" args = ["x"] }] segments = [{ name = "s" port = 1 }] audit { sink "a" { path = "p" } }`), true)
	f.Add([]byte(`{"ports":{"http":1},"services":[{"name":"a","checks":[{"ttl":"1s"}]}]}`), false)
	f.Add([]byte(`{"service":{"a":{"port":1}},"acl":[{"tokens":{"master":"x"}}],"segments":null}`), false)
	f.Fuzz(func(t *testing.T, data []byte, hcl bool) {
		a := config.Args{Dev: true, Format: "json", Hostname: func() (string, error) { return "h", nil }, Getenv: func(string) string { return "" }}
		if hcl {
			a.HCL = []string{string(data)}
		} else {
			path := filepath.Join(t.TempDir(), "a.json")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			a.Paths = []string{path}
		}
		begin := time.Now()
		c, _, err := config.Load(a)
		if d := time.Since(begin); d > 5*time.Second {
			t.Fatalf("%d bytes take %s", len(data), d)
		}
		if err != nil {
			return
		}
		if c.Datacenter == "" || c.AdvertiseAddr == "" || c.Domain == "" || len(c.Listeners()) == 0 {
			t.Fatalf("incomplete: %+v", c)
		}
		c.Sanitized()
	})
}
