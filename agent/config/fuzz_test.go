package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/curia-mesh/curia/agent/config"
)

// FuzzConfig: no file panics or hangs, and what loads is complete.
func FuzzConfig(f *testing.F) {
	scripts, _ := filepath.Glob("testdata/load/*.txt")
	for _, script := range scripts {
		text, _ := os.ReadFile(script)
		f.Add(text, true)
	}
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
		c, _, err := config.Load(a)
		if err != nil {
			return
		}
		if c.Datacenter == "" || c.AdvertiseAddr == "" || c.Domain == "" || len(c.Listeners()) == 0 {
			t.Fatalf("incomplete: %+v", c)
		}
		c.Sanitized()
	})
}
