package frontdoor_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

func TestRestartKeepsAll(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"services": []any{testkit.Settings{"name": "filed", "port": 7}}})
	p := n.Spawn(t)
	p.Put(t, "/v1/agent/service/register", `{"ID": "w1", "Name": "web", "Tags": ["a"], "Meta": {"k": "v"}, "Port": 80, "Check": {"CheckID": "ttl", "TTL": "1h"}}`)
	p.Put(t, "/v1/agent/check/register", `{"CheckID": "node-ttl", "Name": "node-ttl", "TTL": "1h"}`)
	p.Put(t, "/v1/agent/check/pass/ttl?note=fine", "")
	p.Put(t, "/v1/agent/check/warn/node-ttl?note=careful", "")
	p.Put(t, "/v1/agent/service/maintenance/w1?enable=true&reason=work", "")
	p.Put(t, "/v1/kv/key?flags=42", "value")
	var session struct{ ID string }
	p.Put(t, "/v1/session/create", `{"Name": "s", "TTL": "1h"}`).JSON(t, &session)
	p.Put(t, "/v1/kv/lock?acquire="+session.ID, "held")
	p.Put(t, "/v1/catalog/register", `{"Node": "outside", "Address": "10.0.0.9", "Service": {"Service": "db", "Port": 5432}}`)
	p.Do(t, "POST", "/v1/query", `{"Name": "find-db", "Session": "`+session.ID+`", "Service": {"Service": "db", "Tags": ["!old"]}, "DNS": {"TTL": "9s"}}`).Want(t, http.StatusOK)
	paths := []string{
		"/v1/query", "/v1/kv/?recurse", "/v1/session/list", "/v1/agent/services", "/v1/agent/checks", "/v1/catalog/services", "/v1/health/service/web",
		"/v1/health/node/n1", "/v1/catalog/node/outside", "/v1/catalog/nodes",
	}
	state := func() map[string]string {
		all := map[string]string{}
		for _, path := range paths {
			all[path] = p.Get(t, path).Body
		}
		return all
	}
	// Registrations are in the catalog when they are answered, those of files soon after the start.
	p.Until(t, "/v1/catalog/service/filed", func(r testkit.Reply) bool { return r.Body != "[]" })
	before := state()
	for _, end := range []func(testing.TB){p.Stop, p.Kill} {
		index := p.Get(t, "/v1/kv/key").Index()
		end(t)
		*p = *n.Spawn(t)
		for path, body := range state() {
			if body != before[path] {
				t.Errorf("%s after a restart:\n%s\nbefore:\n%s", path, body, before[path])
			}
		}
		if now := p.Get(t, "/v1/kv/key").Index(); now != index {
			t.Errorf("the index of a key went from %d to %d", index, now)
		}
	}
	p.Put(t, "/v1/session/renew/"+session.ID, "")
	p.Put(t, "/v1/agent/service/deregister/w1", "")
	p.Stop(t)
	p = n.Spawn(t)
	if got := p.Get(t, "/v1/health/service/web").Body; got != "[]" {
		t.Errorf("a deregistered service is back: %s", got)
	}
}

// Registrations that a disk has damaged are lost one by one, not all, and said to be.
func TestDamagedRegistrations(t *testing.T) {
	n := testkit.New(t, nil)
	p := n.Spawn(t)
	for i := range 5 {
		p.Put(t, "/v1/agent/service/register", fmt.Sprintf(`{"Name": "web-%d"}`, i))
	}
	p.Stop(t)
	journal := filepath.Join(n.Data(), "services", "journal")
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	damaged := []byte(strings.Replace(string(b), "web-3", "web-X", 1))
	if err := os.WriteFile(journal, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	p = n.Spawn(t)
	if !strings.Contains(p.Log.String(), "[ERROR]") || !strings.Contains(p.Log.String(), journal) {
		t.Errorf("no error names the file:\n%s", p.Log)
	}
	services := p.Get(t, "/v1/agent/services").Body
	if strings.Count(services, `"Service":"web-`) != 4 || strings.Contains(services, "web-X") {
		t.Errorf("services: %s", services)
	}
	copies, err := filepath.Glob(journal + ".damaged-*")
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies of the damaged file: %v, %v", copies, err)
	}
	if kept, err := os.ReadFile(copies[0]); err != nil || string(kept) != string(damaged) {
		t.Errorf("the copy is not what the file was: %v", err)
	}
}

func TestReload(t *testing.T) {
	service := func(names ...string) []any {
		var all []any
		for _, name := range names {
			all = append(all, testkit.Settings{"name": name, "check": testkit.Settings{"ttl": "1h"}})
		}
		return all
	}
	n := testkit.New(t, testkit.Settings{"services": service("one", "two"), "node_meta": testkit.Settings{"k": "1"}})
	p := n.Spawn(t)
	p.Put(t, "/v1/agent/service/register", `{"Name": "api"}`)
	// How a reload is asked for: by a signal, the command, the API.
	ways := map[string]func(){
		"SIGHUP": func() { p.Signal(t, syscall.SIGHUP) },
		"command": func() {
			if out, code := n.Run(t, "reload"); code != 0 || !strings.Contains(out, "reload") {
				t.Errorf("curia reload: exit code %d, %s", code, out)
			}
		},
		"API": func() { p.Put(t, "/v1/agent/reload", "") },
	}
	for way, reload := range ways {
		n.Configure(t, testkit.Settings{"services": service("two", way), "node_meta": testkit.Settings{"k": way}})
		reload()
		p.Log.Wait(t, "configuration reloaded")
		p.Until(t, "/v1/catalog/node/n1", func(r testkit.Reply) bool {
			return strings.Contains(r.Body, `"Service":"`+way+`"`) && !strings.Contains(r.Body, `"one"`) && strings.Contains(r.Body, `"two"`) &&
				strings.Contains(r.Body, `"api"`) && strings.Contains(r.Body, `"k":"`+way+`"`)
		})
		if services := p.Get(t, "/v1/agent/services").Body; strings.Count(services, `"Service":`) != 3 {
			t.Errorf("%s: services %s", way, services)
		}
	}
	// A configuration that is wrong changes nothing, and whoever asked hears why.
	good, err := os.ReadFile(n.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.Config(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := p.Do(t, http.MethodPut, "/v1/agent/reload", ""); r.Status < 400 || !strings.Contains(r.Body, n.Config()) {
		t.Errorf("reload of a broken file: status %d %s", r.Status, r.Body)
	}
	if out, code := n.Run(t, "reload"); code != 1 || !strings.Contains(out, n.Config()) {
		t.Errorf("curia reload of a broken file: exit code %d, %s", code, out)
	}
	p.Signal(t, syscall.SIGHUP)
	p.Log.Wait(t, "configuration could not be reloaded")
	if services := p.Get(t, "/v1/agent/services").Body; strings.Count(services, `"Service":`) != 3 {
		t.Errorf("a broken file changed services: %s", services)
	}
	if err := os.WriteFile(n.Config(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	n.Configure(t, testkit.Settings{"ports": testkit.Settings{"http": 1}, "log_level": "warn"})
	p.Signal(t, syscall.SIGHUP)
	if line := p.Log.Wait(t, "only with a restart"); !strings.Contains(line, "ports.http") || strings.Contains(line, "log_level") {
		t.Errorf("what a reload cannot change: %s", line)
	}
}

func TestGracefulStop(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		n := testkit.New(t, nil)
		p := n.Spawn(t)
		p.Put(t, "/v1/kv/key", "value")
		// A request that has begun is answered; one that waits for changes is ended.
		begun, waiting := open(t, n.Addr()), open(t, n.Addr())
		fmt.Fprint(begun, "PUT /v1/kv/begun HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		if status, _, _, err := begun.reply("PUT"); err != nil || status != http.StatusContinue { // the body is being read
			t.Fatalf("a request that begins: status %d, %v", status, err)
		}
		fmt.Fprint(begun, "he")
		fmt.Fprintf(waiting, "GET /v1/kv/key?index=%d&wait=10m HTTP/1.1\r\nHost: a\r\n\r\n", p.Get(t, "/v1/kv/key").Index())
		p.Get(t, "/v1/kv/key")
		p.Signal(t, s)
		fmt.Fprint(begun, "llo")
		if status, _, body, err := begun.reply("PUT"); err != nil || status != 200 {
			t.Errorf("a request that had begun: status %d %s, %v", status, body, err)
		}
		if _, _, _, err := waiting.reply("GET"); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a request that waits for changes holds up the end")
		}
		if code := p.Exit(t); code != 0 {
			t.Errorf("%v: exit code %d", s, code)
		}
		if conn, err := net.Dial("tcp", n.Addr()); err == nil {
			conn.Close()
			t.Error("the port is still open")
		}
		n.Spawn(t).Get(t, "/v1/kv/key")
	}
	n := testkit.New(t, nil)
	p := n.Spawn(t)
	if out, code := n.Run(t, "leave"); code != 0 || !strings.Contains(out, "Graceful leave complete") {
		t.Errorf("curia leave: exit code %d, %s", code, out)
	}
	if code := p.Exit(t); code != 0 {
		t.Errorf("after curia leave: exit code %d", code)
	}
	// Two signals: the second does not wait.
	p = testkit.New(t, nil).Spawn(t)
	stuck := open(t, p.Addr())
	fmt.Fprint(stuck, "PUT /v1/kv/stuck HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
	p.Signal(t, syscall.SIGTERM)
	p.Signal(t, syscall.SIGTERM)
	p.Exit(t)
}

func TestDevLeavesNothing(t *testing.T) {
	n := testkit.NewDev(t, nil)
	home, tmp, cwd := t.TempDir(), t.TempDir(), t.TempDir()
	for _, end := range []func(*testkit.Process){func(p *testkit.Process) { p.Stop(t) }, func(p *testkit.Process) { p.Kill(t) }} {
		cmd := n.Command()
		cmd.Dir = cwd
		cmd.Env = []string{"HOME=" + home, "TMPDIR=" + tmp, "PATH=" + os.Getenv("PATH")}
		p := n.Begin(t, cmd)
		p.Log.Wait(t, "agent: ready: ")
		p.Put(t, "/v1/agent/service/register", `{"Name": "web", "Check": {"TTL": "1m"}}`)
		p.Put(t, "/v1/kv/key", "value")
		snapshot := p.Get(t, "/v1/snapshot").Body
		p.Do(t, http.MethodPut, "/v1/snapshot", snapshot).Want(t, http.StatusOK)
		p.Do(t, http.MethodPut, "/v1/snapshot", snapshot[:len(snapshot)/2])
		end(p)
		for _, dir := range []string{home, tmp, cwd, n.Dir} {
			for name := range modes(t, dir) {
				if name != "." && name != filepath.Base(n.Config()) {
					t.Errorf("left behind: %s/%s", dir, name)
				}
			}
		}
	}
}
