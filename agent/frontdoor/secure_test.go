package frontdoor_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/server"
)

// machine is an empty one: it has addresses, and directories that are not there yet.
type machine struct{ *testkit.Node }

func newMachine(t *testing.T, name string) machine {
	n := testkit.New(t, testkit.Settings{"node_name": name, "server": nil, "bootstrap_expect": nil, "data_dir": nil})
	text, err := os.ReadFile(n.Config())
	if err == nil {
		var all map[string]any
		if err = json.Unmarshal(text, &all); err == nil {
			delete(all, "server")
			text, err = json.Marshal(all)
		}
	}
	if err == nil {
		err = os.MkdirAll(filepath.Join(n.Dir, "etc"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(n.Dir, "etc", "site.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return machine{n}
}

// command is one that makes the machine an agent.
func (m machine) command(args ...string) *exec.Cmd {
	args = append([]string{args[0], "-config-dir=" + filepath.Join(m.Dir, "etc"), "-data-dir=" + filepath.Join(m.Dir, "data")}, args[1:]...)
	cmd := exec.Command(testkit.Program(), args...)
	cmd.Env, cmd.Dir = testkit.Environment(), m.Dir
	return cmd
}

var joinToken = regexp.MustCompile(`join -run (curia-join-\S+)`)

// TestThreeCommands makes a secured cluster of three servers, and a client agent, of machines that have nothing: one
// command on each. Tokens are checked and the default is to deny. It is the same after all of them were started anew.
// The join tokens let in as often as they say, and nobody who answers for the cluster without its CA gets one shown.
func TestThreeCommands(t *testing.T) {
	m1, m2, m3, m4, m5 := newMachine(t, "m1"), newMachine(t, "m2"), newMachine(t, "m3"), newMachine(t, "m4"), newMachine(t, "m5")
	first := m1.Begin(t, m1.command("init", "-servers=3", "-clients=1", "-run"))
	first.Log.Wait(t, "The tokens let in until")
	said := first.Log.String()
	tokens := joinToken.FindAllStringSubmatch(said, -1)
	_, management, _ := strings.Cut(said, "CURIA_HTTP_TOKEN=")
	management, _, _ = strings.Cut(management, "\n")
	if len(tokens) != 2 || len(management) != 36 {
		t.Fatalf("init says:\n%s", said)
	}
	forServers, forClients := tokens[0][1], tokens[1][1]
	all := []*testkit.Process{first}
	for _, m := range []machine{m2, m3} {
		all = append(all, m.Begin(t, m.command("join", "-run", forServers)))
	}
	all = append(all, m4.Begin(t, m4.command("join", "-run", forClients)))
	for _, p := range all {
		p.Log.Wait(t, "agent: ready: ")
	}
	asOperator := []string{"X-Consul-Token", management}
	secured := func() {
		t.Helper()
		if got := m4.Do(t, "PUT", "/v1/kv/k", "v"); got.Status != 403 {
			t.Errorf("a write without a token: %d %s", got.Status, got.Body)
		}
		m4.Do(t, "PUT", "/v1/kv/k", "v", asOperator...).Want(t, 200)
		for _, m := range []machine{m1, m2, m3, m4} {
			if got := m.Do(t, "GET", "/v1/kv/k?raw", "", asOperator...).Want(t, 200); got.Body != "v" {
				t.Errorf("read %q", got.Body)
			}
			if got := m.Do(t, "GET", "/v1/kv/k", ""); got.Status != 403 {
				t.Errorf("a read without a token: %d %s", got.Status, got.Body)
			}
		}
		nodes := m1.Do(t, "GET", "/v1/catalog/nodes", "", asOperator...).Body
		for _, name := range []string{"m1", "m2", "m3", "m4"} {
			if !strings.Contains(nodes, `"Node":"`+name+`"`) {
				t.Errorf("%s is not in the catalog: %s", name, nodes)
			}
		}
	}
	secured()
	for i, m := range []machine{m1, m2, m3, m4} { // gateways of other datacenters lead to a server by the name of its node
		pair, err := tls.LoadX509KeyPair(filepath.Join(m.Dir, "etc", "agent.pem"), filepath.Join(m.Dir, "etc", "agent-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("m%d.server.dc1.consul", i+1)
		if has := pair.Leaf.VerifyHostname(name) == nil; has != (m != m4) {
			t.Errorf("the certificate of m%d has the name %s: %v", i+1, name, has)
		}
	}

	out, err := m5.command("join", forClients).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "used up") {
		t.Errorf("a token that is used up: %v %s", err, out)
	}
	operator := func(args ...string) string {
		t.Helper()
		out, code := m1.Run(t, append(args, "-token="+management)...)
		if code != 0 {
			t.Fatalf("%q: %s", args, out)
		}
		return out
	}
	made := operator("operator", "join-token", "create", "-role=client")
	token := regexp.MustCompile(`curia-join-\S+`).FindString(made)
	list := operator("operator", "join-token", "list")
	id := regexp.MustCompile(`[0-9a-f-]{36}`).FindString(list)
	if token == "" || id == "" || strings.Contains(list, token) {
		t.Fatalf("%s\n%s", made, list)
	}
	if out, code := m1.Run(t, "operator", "join-token", "create", "-role=server"); code == 0 {
		t.Errorf("a join token was made without a token: %s", out)
	}
	if out, code := m1.Run(t, "operator", "join-token", "revoke", "-token="+management, id); code != 0 {
		t.Error(out)
	}
	if out, err := m5.command("join", token).CombinedOutput(); err == nil || !strings.Contains(string(out), "revoked") {
		t.Errorf("a token that was revoked: %v %s", err, out)
	}
	if out, err := m4.command("join", forClients).CombinedOutput(); err == nil || !strings.Contains(string(out), "exists already") {
		t.Errorf("a machine that is in a cluster: %v %s", err, out)
	}

	for _, m := range []machine{m1, m2, m3, m4} {
		for _, dir := range []string{"etc", "data"} {
			err := filepath.WalkDir(filepath.Join(m.Dir, dir), func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := d.Info()
				if err == nil && info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %s", path, info.Mode())
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
	for _, hidden := range []string{"ca-key.pem", "join-tokens.seed"} {
		if _, err := os.Stat(filepath.Join(m4.Dir, "etc", hidden)); err == nil {
			t.Errorf("the client agent has %s", hidden)
		}
	}
	if _, err := os.Stat(filepath.Join(m1.Dir, "etc", "join-tokens.seed")); err == nil {
		t.Error("the first join tokens are still in a file")
	}
	for _, p := range all[1:] {
		for _, secret := range []string{forServers, forClients, management, token} {
			if strings.Contains(p.Log.String(), secret) {
				t.Error("a log has a secret")
			}
		}
		p.Kill(t)
	}
	first.Kill(t)
	all = nil
	for _, m := range []machine{m1, m2, m3, m4} {
		cmd := exec.Command(testkit.Program(), "agent", "-config-dir="+filepath.Join(m.Dir, "etc"))
		cmd.Env, cmd.Dir = testkit.Environment(), m.Dir
		all = append(all, m.Begin(t, cmd))
	}
	for _, p := range all {
		p.Log.Wait(t, "agent: ready: ")
	}
	secured()

	// Another cluster answers where this one was: it has no CA of the token's.
	foreign := newMachine(t, "foreign")
	p := foreign.Begin(t, foreign.command("init", "-run"))
	p.Log.Wait(t, "agent: ready: ")
	others := joinToken.FindStringSubmatch(p.Log.String())[1]
	if out, err := m5.command("join", swapAddress(t, forServers, others)).CombinedOutput(); err == nil || !strings.Contains(string(out), "no server of the cluster that made the join token") {
		t.Errorf("joined through a stranger: %v %s", err, out)
	}
}

// swapAddress is a join token with the addresses of another one.
func swapAddress(t *testing.T, token, other string) string {
	t.Helper()
	one, err := server.ParseJoinText(token)
	if err != nil {
		t.Fatal(err)
	}
	two, err := server.ParseJoinText(other)
	if err != nil {
		t.Fatal(err)
	}
	one.Servers = two.Servers
	return one.String()
}
