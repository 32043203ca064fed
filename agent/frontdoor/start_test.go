package frontdoor_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// refuses runs the node's agent, which must end with an exit code that is not 0 and say all of this.
func refuses(t testing.TB, n *testkit.Node, what string, says ...string) string {
	t.Helper()
	p := n.Begin(t, n.Command())
	code, out := p.Exit(t), p.Log.String()
	if code == 0 || strings.Contains(out, "panic:") || strings.Contains(out, "goroutine ") {
		t.Errorf("%s: exit code %d:\n%s", what, code, out)
	}
	last := out[max(0, strings.LastIndex(out, "Error: ")):]
	for _, s := range says {
		if !strings.Contains(last, s) {
			t.Errorf("%s: the error does not say %q:\n%s", what, s, last)
		}
	}
	return last
}

func TestPortsInUse(t *testing.T) {
	for _, c := range []struct {
		what, network string
		port          func(testkit.Ports) int
		says          string
	}{
		{"HTTP", "tcp", func(p testkit.Ports) int { return p.HTTP }, "ports.http"},
		{"DNS over UDP", "udp", func(p testkit.Ports) int { return p.DNS }, "ports.dns"},
		{"DNS over TCP", "tcp", func(p testkit.Ports) int { return p.DNS }, "ports.dns"},
		{"RPC", "tcp", func(p testkit.Ports) int { return p.Server }, "ports.server"},
		{"LAN gossip over TCP", "tcp", func(p testkit.Ports) int { return p.SerfLAN }, "ports.serf_lan"},
		{"LAN gossip over UDP", "udp", func(p testkit.Ports) int { return p.SerfLAN }, "ports.serf_lan"},
		{"WAN gossip over TCP", "tcp", func(p testkit.Ports) int { return p.SerfWAN }, "ports.serf_wan"},
	} {
		n := testkit.New(t, nil)
		addr := fmt.Sprintf("127.0.0.1:%d", c.port(n.Ports))
		var taken io.Closer
		var err error
		if c.network == "tcp" {
			taken, err = net.Listen("tcp", addr)
		} else {
			taken, err = net.ListenPacket("udp", addr)
		}
		if err != nil {
			t.Fatal(err)
		}
		refuses(t, n, c.what, addr, "in use", c.says)
		taken.Close()
		if c.what == "RPC" { // what was opened before it was given back
			n.Spawn(t).Stop(t)
		}
	}
}

// contents returns the sums of all files below a directory.
func contents(t testing.TB, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	for name, mode := range modes(t, dir) {
		if path := filepath.Join(dir, name); !isDir(t, path) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v (mode %v)", err, mode)
			}
			all[name] = sha256.Sum256(b)
		}
	}
	return all
}

func isDir(t testing.TB, path string) bool {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.IsDir()
}

func TestBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base := fmt.Sprintf("data_dir = %q\nserver = true\nbootstrap_expect = 1\nbind_addr = \"127.0.0.1\"\n", filepath.Join(dir, "data"))
	for name, c := range map[string]struct {
		text string
		says []string
	}{
		"cut.hcl":      {base + "ports {", []string{"cut.hcl"}},
		"broken.json":  {`{"server": true,}`, []string{"broken.json:1"}},
		"unknown.hcl":  {base + "serverr = true", []string{"unknown.hcl:5", "serverr", "server"}},
		"type.hcl":     {base + "ports { http = \"many\" }", []string{"type.hcl:5", "ports.http"}},
		"duration.hcl": {base + "reconnect_timeout = \"soon\"", []string{"duration.hcl:5", "reconnect_timeout"}},
		"nounit.hcl":   {base + "performance { leave_drain_time = 5 }", []string{"nounit.hcl:5", "leave_drain_time"}},
		"negative.hcl": {base + "performance { leave_drain_time = \"-5s\" }", []string{"negative.hcl:5", "leave_drain_time", "negative"}},
		"port.hcl":     {base + "ports { http = 70000 }", []string{"port.hcl:5", "ports.http"}},
		"same.hcl":     {base + "ports {\n http = 9999\n dns = 9999\n}", []string{"ports.http", "ports.dns", "9999"}},
		"address.hcl":  {base + "client_addr = \"nowhere\"", []string{"address.hcl:5", "client_addr", "nowhere"}},
		"key.hcl":      {base + "encrypt = \"c2hvcnQ=\"", []string{"key.hcl:5", "encrypt"}},
		"node.hcl":     {base + "node_id = \"me\"", []string{"node.hcl:5", "node_id"}},
		"service.hcl":  {base + "service { port = 80 }", []string{"service.hcl:5", "name"}},
		"check.hcl":    {base + "check {\n name = \"c\"\n ttl = \"never\"\n}", []string{"check.hcl:7", "ttl"}},
		"script.hcl":   {base + "check {\n name = \"c\"\n args = [\"true\"]\n interval = \"1s\"\n}", []string{"enable_local_script_checks"}},
		"level.hcl":    {base + "log_level = \"loud\"", []string{"level.hcl:5", "log_level", "loud"}},
		"tls.hcl":      {strings.Replace(base, dir, dir+"/other", 1) + "ports { https = 19443 }\ntls { https { cert_file = \"/none.pem\"\n key_file = \"/none.key\" } }", []string{"/none.pem"}},
		"deep.json":    {strings.Repeat(`{"ports":`, 5000) + "1" + strings.Repeat("}", 5000), []string{"deep.json"}},
		"large.hcl":    {strings.Repeat("# comment\n", 500000), []string{"large.hcl", "4194304"}},
		"file.txt":     {base, []string{"file.txt", "-config-format"}},
	} {
		n := testkit.New(t, nil)
		cmd := n.Command()
		cmd.Args = []string{cmd.Args[0], "agent", "-config-file=" + write(name, c.text)}
		p := n.Begin(t, cmd)
		code, out := p.Exit(t), p.Log.String()
		if code != 1 || len(out) > 2000 || strings.Contains(out, "goroutine ") {
			t.Errorf("%s: exit code %d, %.2000s", name, code, out)
		}
		for _, s := range c.says {
			if !strings.Contains(out, s) {
				t.Errorf("%s: the error does not say %q: %.500s", name, s, out)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a configuration that was refused made a data directory")
	}
	if out, code := testkit.New(t, nil).Run(t, "agent", "-config-file=/none.hcl"); code != 1 || !strings.Contains(out, "/none.hcl") {
		t.Errorf("a file that is not there: exit code %d, %s", code, out)
	}
}

// used returns how many bytes of a file are not the zeros at its end.
func used(b []byte) int {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}

// What a disk has damaged is refused by name, and left as it is for whoever can still read it.
func TestDamagedData(t *testing.T) {
	origin := testkit.New(t, testkit.Settings{"encrypt": gossipKey("k"), "raft_trailing_logs": 1, "raft_logstore": testkit.Settings{"wal": testkit.Settings{"segment_size_mb": 1}}})
	p := origin.Spawn(t)
	for i := range 20 {
		p.Put(t, fmt.Sprintf("/v1/kv/%d", i), strings.Repeat("v", 1000))
	}
	p.Get(t, "/v1/snapshot") // makes Raft take one
	for i := range 20 {
		p.Put(t, fmt.Sprintf("/v1/kv/more-%d", i), strings.Repeat("v", 1000))
	}
	p.Put(t, "/v1/agent/service/register", `{"Name": "web"}`)
	p.Stop(t)

	flip := func(part float64) func([]byte) []byte {
		return func(b []byte) []byte { b[int(float64(used(b))*part)] ^= 0x10; return b }
	}
	half := func(b []byte) []byte { return b[:used(b)/2] }
	for _, c := range []struct {
		what, pattern string
		damage        func([]byte) []byte // nil removes the file
	}{
		{"a flipped bit at the start of the log", "raft/log/wal/wal-*1.log", flip(0.001)},
		{"a flipped bit in the log", "raft/log/wal/wal-*1.log", flip(0.5)},
		{"a flipped bit late in the log", "raft/log/wal/wal-*1.log", flip(0.9)},
		{"an empty log", "raft/log/wal/wal-*1.log", func([]byte) []byte { return nil }},
		{"a log of nonsense", "raft/log/wal/wal-*1.log", func([]byte) []byte { return []byte(strings.Repeat("nonsense", 1000)) }},
		{"no log", "raft/log/wal/wal-*1.log", nil},
		{"a flipped bit in the snapshot", "raft/snapshots/*/state.bin", flip(0.5)},
		{"a snapshot cut short", "raft/snapshots/*/state.bin", half},
		{"a flipped bit in what a snapshot is of", "raft/snapshots/*/meta.json", flip(0.5)},
		{"a snapshot of nothing", "raft/snapshots/*/meta.json", func([]byte) []byte { return nil }},
		{"half a snapshot", "raft/snapshots/*/meta.json", nil},
		{"a node id of nonsense", "node-id", func([]byte) []byte { return []byte("me") }},
		{"a keyring of nonsense", "serf/local.keyring", func([]byte) []byte { return []byte("[") }},
	} {
		n := testkit.New(t, testkit.Settings{"encrypt": gossipKey("k")})
		if err := os.CopyFS(n.Data(), os.DirFS(origin.Data())); err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(n.Data(), c.pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", c.pattern, found, err)
		}
		path := found[0]
		b, err := os.ReadFile(path)
		if err == nil && c.damage == nil {
			err = os.Remove(path)
		} else if err == nil {
			err = os.WriteFile(path, c.damage(slices.Clone(b)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		before := contents(t, n.Data())
		says := path
		if c.damage == nil {
			says = filepath.Dir(path)
		}
		refuses(t, n, c.what, says)
		for name, sum := range contents(t, n.Data()) {
			// An undamaged log may be read and its end made durable before something else is found.
			whole := strings.Contains(name, "wal-") && !strings.Contains(path, "wal-") || strings.HasSuffix(name, ".snapshot")
			if old, known := before[name]; known && old != sum && !whole {
				t.Errorf("%s: the refused start changed %s", c.what, name)
			}
		}
	}
}
