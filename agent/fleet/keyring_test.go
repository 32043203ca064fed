package fleet_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// TestKeyringRotate changes the key of gossip while a member is away, and one that cannot write makes it go back.
// The one that was away finds back by itself, with the key that its file and its configuration still have, as does
// nobody with that key and no certificate (A13).
func TestKeyringRotate(t *testing.T) {
	ca := testkit.NewAuthority(t)
	const key = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
	n := testkit.New(t, testkit.Settings{"encrypt": key, "tls": ca.TLS(ca.Issue(t, nil, "server.dc1.consul"))})
	n.Spawn(t)
	client := func(name string) *testkit.Node {
		return n.Join(t, name, testkit.Settings{"encrypt": key, "log_level": "info", "tls": ca.TLS(ca.Issue(t, nil, "client.dc1.consul"))})
	}
	c1, c2, c3 := client("c1"), client("c2"), client("c3")
	c1.Start(t)
	away := c2.Start(t)
	c3.Start(t)
	keyring := func() string {
		t.Helper()
		out, code := n.Run(t, "keyring", "-list")
		if code != 0 {
			t.Fatal(out)
		}
		return out
	}

	serf := filepath.Join(c3.Data(), "serf")
	if err := os.Rename(serf, serf+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(serf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := n.Run(t, "keyring", "rotate")
	if list := keyring(); code == 0 || !strings.Contains(out, "c3") || !strings.Contains(out, "was taken back") || !strings.Contains(list, key+" [4/4]") || strings.Count(list, "/4]") != 1 {
		t.Errorf("exit code %d: %s\n%s", code, out, list)
	}
	if err := os.Remove(serf); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(serf+".away", serf); err != nil {
		t.Fatal(err)
	}

	away.Stop(t)
	n.Until(t, "/v1/health/node/c2", func(r testkit.Reply) bool { return strings.Contains(r.Body, `"critical"`) })
	out, code = n.Run(t, "keyring", "rotate")
	if list := keyring(); code != 0 || !strings.Contains(out, "c2") || strings.Contains(list, key) || strings.Count(list, "[3/3]") != 1 {
		t.Fatalf("exit code %d: %s\n%s", code, out, list)
	}
	if _, wan, _ := strings.Cut(keyring(), "WAN:"); !strings.Contains(wan, "[1/1]") {
		t.Errorf("the ring of the servers among datacenters: %s", wan)
	}
	back := c2.Start(t)
	n.Until(t, "/v1/health/node/c2", func(r testkit.Reply) bool { return !strings.Contains(r.Body, `"critical"`) })
	if list := keyring(); strings.Count(list, "[4/4]") != 1 || !strings.Contains(back.Log.String(), "have been rotated while this agent was away") {
		t.Errorf("after c2 is back: %s\n%s", list, back.Log.Tail())
	}
	text, err := os.ReadFile(filepath.Join(c2.Data(), "serf", "local.keyring"))
	if err != nil || strings.Contains(string(text), key) {
		t.Errorf("c2 keeps the old key: %v", err)
	}

	stranger := n.Join(t, "c4", testkit.Settings{"encrypt": key})
	p := stranger.Begin(t, stranger.Command())
	p.Log.Wait(t, "no address of the LAN pool answers")
	if out, _ := n.Run(t, "members"); strings.Contains(out, "c4") {
		t.Errorf("a retired key lets in: %s", out)
	}
}
