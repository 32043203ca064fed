package frontdoor_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/agent/demo"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
)

// demonstration is a curia demo that runs.
type demonstration struct {
	*testkit.Process
	demo.Summary
}

// demonstrate runs curia demo, with temporary directories below tmp, and waits until all of it runs.
func demonstrate(t *testing.T, tmp string, args ...string) *demonstration {
	t.Helper()
	cmd := exec.Command(testkit.Program(), append([]string{"demo", "-format=json"}, args...)...)
	cmd.Env, cmd.Dir = append(testkit.Environment(), "TMPDIR="+tmp), tmp
	d := &demonstration{Process: (&testkit.Node{Dir: tmp}).Begin(t, cmd)}
	if err := json.Unmarshal([]byte(d.Log.Wait(t, `"AgentsReady"`)), &d.Summary); err != nil {
		t.Fatal(err)
	}
	return d
}

// ask is a client of one of the agents.
func (d *demonstration) ask(t *testing.T, i int, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Address: d.Agents[i].HTTP, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// gone fails the test when a process of the demo, or somebody at a port of it, is still there.
func (d *demonstration) gone(t *testing.T) {
	t.Helper()
	for _, a := range d.Agents {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", a.Pid)); err == nil && len(line) > 0 { // one that nobody has waited for has none
			t.Errorf("agent %s still runs: %q", a.Name, line)
		}
		for _, at := range []string{strings.TrimPrefix(a.HTTP, "http://"), a.DNS} {
			if l, err := net.Listen("tcp", at); err != nil {
				t.Errorf("agent %s: %v", a.Name, err)
			} else {
				l.Close()
			}
		}
	}
}

// command runs another command of the program.
func command(t *testing.T, tmp string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Program(), args...)
	cmd.Env = append(testkit.Environment(), "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestDemoSecured: one command makes a secured cluster of empty directories, which is the same after all of its nodes were
// stopped; chaos in it is survived and healed.
func TestDemoSecured(t *testing.T) {
	tmp := t.TempDir()
	dir := filepath.Join(tmp, "d")
	d := demonstrate(t, tmp, "-secure", "-servers=3", "-clients=1", "-data-dir="+dir)
	t.Logf("agents ready after %.2f s, first call through the mesh after %.2f s", d.AgentsReady, d.FirstCalls)
	text, err := os.ReadFile(d.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	management := strings.TrimSpace(string(text))
	secured := func() {
		t.Helper()
		for i, a := range d.Agents {
			if _, _, err := d.ask(t, i, "").KV().Get(t.Context(), "k", client.Query{}); !client.IsStatus(err, 403) {
				t.Errorf("%s, a read without a token: %v", a.Name, err)
			}
			if v, _, err := d.ask(t, i, management).KV().Get(t.Context(), "k", client.Query{}); err != nil || string(v.Value) != "v" {
				t.Errorf("%s reads %v: %v", a.Name, v, err)
			}
		}
		members, err := d.ask(t, 0, management).Agent().Members(t.Context(), false, client.AllSegments, "")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range members {
			names = append(names, m.Name+" "+m.Status.String()+" "+m.Tags["role"])
		}
		slices.Sort(names)
		if want := []string{"dc1-c1 alive node", "dc1-s1 alive consul", "dc1-s2 alive consul", "dc1-s3 alive consul"}; !slices.Equal(names, want) {
			t.Errorf("members are %q, want %q", names, want)
		}
		var leader string
		if _, err := d.ask(t, 3, management).Do(t.Context(), "GET", "/v1/status/leader", client.Query{}, nil, &leader); err != nil || leader == "" {
			t.Errorf("leader %q: %v", leader, err)
		}
	}
	if _, err := d.ask(t, 3, "").KV().Put(t.Context(), &catalog.KVPair{Key: "k", Value: []byte("v")}, client.KVWrite{}, client.Query{}); !client.IsStatus(err, 403) {
		t.Errorf("a write without a token: %v", err)
	}
	if _, err := d.ask(t, 3, management).KV().Put(t.Context(), &catalog.KVPair{Key: "k", Value: []byte("v")}, client.KVWrite{}, client.Query{}); err != nil {
		t.Fatal(err)
	}
	secured()
	if out, err := command(t, tmp, "demo", "-data-dir="+dir); err == nil || !strings.Contains(out, "runs already") {
		t.Errorf("a second demo in the directory: %v %s", err, out)
	}
	d.Stop(t)
	d.gone(t)

	d = demonstrate(t, tmp, "-data-dir="+dir)
	secured()
	out, err := command(t, tmp, "demo", "chaos", "-data-dir="+dir, "-watch=500ms")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Log(out)
	first, _, _ := strings.Cut(out, "2. ")
	if !strings.Contains(first, "none failed") || !strings.Contains(out, " leads after ") || !strings.Contains(out, "Everything is as it was") {
		t.Errorf("chaos says:\n%s", out)
	}
	secured()
	var state struct{ Traffic []demo.Flow }
	if out, err = command(t, tmp, "demo", "status", "-data-dir="+dir, "-format=json"); err == nil {
		err = json.Unmarshal([]byte(out), &state)
	}
	if err != nil || len(state.Traffic) != 1 || state.Traffic[0].AnsweredBy["dc1"] == 0 {
		t.Errorf("status is %+v: %v %s", state, err, out)
	}
	if strings.Contains(d.Log.String()+out, management) {
		t.Error("the management token is shown")
	}
	if out, err := command(t, tmp, "demo", "-data-dir="+dir, "-servers=5"); err == nil || !strings.Contains(out, "not 5") {
		t.Errorf("a demo of another size in the directory: %v %s", err, out)
	}
	d.Signal(t, syscall.SIGINT)
	if code := d.Exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	d.gone(t)
}

// TestDemoDatacenters: services reach those of another datacenter, and those stand in for their own when these are killed,
// without a failed request. Nothing is left of a demo that was killed, and of its temporary directory.
func TestDemoDatacenters(t *testing.T) {
	tmp := t.TempDir()
	d := demonstrate(t, tmp, "-dcs=2")
	t.Logf("agents ready after %.2f s, first call through the mesh after %.2f s, between datacenters after %.2f s", d.AgentsReady, d.FirstCalls, d.FirstFarCalls)
	out, err := command(t, tmp, "demo", "chaos", "-watch=500ms") // finds it
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Log(out)
	_, second, _ := strings.Cut(out, "2. ")
	second, _, _ = strings.Cut(second, "3. ")
	if !strings.Contains(second, "none failed; answered by dc2 ") || !strings.Contains(out, "dc2 goes on") {
		t.Errorf("chaos says:\n%s", out)
	}
	if out, err := command(t, tmp, "demo", "status"); err != nil || !strings.Contains(out, "dc1→dc2 by dc2") && !strings.Contains(out, "dc1→dc2 by dc1+dc2") {
		t.Errorf("%v %s", err, out)
	}
	d.Kill(t)
	d.gone(t)
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left are %v: %v", left, err)
	}
}
