package fleet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// TestRotations replaces, under load through a client agent, the certificates of the agents, the CA that signs them, and
// the key of gossip: no request fails.
func TestRotations(t *testing.T) {
	old, next := testkit.NewAuthority(t), testkit.NewAuthority(t)
	const key = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
	dir := t.TempDir()
	put := func(name string, from ...string) string {
		t.Helper()
		var all []byte
		for _, file := range from {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, all, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// show puts certificates of an authority in the place of those before.
	show := func(ca *testkit.Authority) {
		for _, role := range []string{"server", "client"} {
			c := ca.Issue(t, nil, role+".dc1.consul")
			put(role+".pem", c.File)
			put(role+"-key.pem", c.KeyFile)
		}
	}
	show(old)
	settings := func(role string) testkit.Settings {
		return testkit.Settings{"encrypt": key, "tls": testkit.Settings{"internal_rpc": testkit.Settings{
			"ca_file": put("ca.pem", old.File), "cert_file": filepath.Join(dir, role+".pem"), "key_file": filepath.Join(dir, role+"-key.pem"),
			"verify_incoming": true, "verify_server_hostname": true,
		}}}
	}
	n := testkit.New(t, settings("server"))
	s := n.Start(t)
	c := n.Join(t, "c1", settings("client"))
	a := c.Start(t)

	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var done, failed atomic.Int64
	var first atomic.Pointer[string]
	for i := range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				method, path := "PUT", fmt.Sprintf("/v1/kv/k%d", i)
				if done.Load()%2 == 0 {
					method = "GET"
				}
				r, err := c.Ask(context.WithoutCancel(ctx), method, path, "v")
				if err != nil || r.Status >= 500 {
					why := fmt.Sprint(method, " ", r.Status, r.Body, err)
					first.CompareAndSwap(nil, &why)
					failed.Add(1)
				}
				done.Add(1)
			}
		})
	}
	step := func(what string, change func()) {
		t.Helper()
		change()
		s.Reload(t)
		a.Reload(t)
		for from := done.Load(); done.Load() < from+200; { // the load goes on
			c.Put(t, "/v1/kv/own", "v")
		}
		if n := failed.Load(); n > 0 {
			t.Fatalf("%s: %d of %d requests failed, the first with %s", what, n, done.Load(), *first.Load())
		}
	}
	step("certificates", func() { show(old) })
	step("both authorities are trusted", func() { put("ca.pem", old.File, next.File) })
	step("certificates of the new one", func() { show(next) })
	step("the old authority is gone", func() { put("ca.pem", next.File) })
	step("the key of gossip", func() {
		if out, code := n.Run(t, "keyring", "rotate"); code != 0 {
			t.Fatal(out)
		}
	})
	stop()
	load.Wait()
	t.Logf("%d requests, %d failed", done.Load(), failed.Load())
}
