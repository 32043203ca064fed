package frontdoor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// limited runs the node's agent with a largest size of files, in units of 512 bytes.
func limited(t *testing.T, n *testkit.Node, blocks int) *testkit.Process {
	t.Helper()
	cmd := n.Command()
	cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -f %d && exec "$@"`, blocks), "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	return n.Begin(t, cmd)
}

// endsFor wants the process's last words to say which file is too large, and exit code 1: not the signal's.
func endsFor(t *testing.T, p *testkit.Process, n *testkit.Node) {
	t.Helper()
	if end := p.Log.Wait(t, "Error: "); !strings.Contains(end, "file too large") || !strings.Contains(end, n.Data()+"/raft/") {
		t.Errorf("the last words do not say which file is too large: %s", end)
	}
	if code := p.Exit(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// A limit of the size of files (ulimit -f) is a disk that is full for one file.
func TestFileSizeLimit(t *testing.T) {
	n := testkit.New(t, nil)
	endsFor(t, limited(t, n, 1<<10), n) // no segment of the log has room
	n.Spawn(t).Stop(t)

	n = testkit.New(t, testkit.Settings{"raft_logstore": testkit.Settings{"backend": "boltdb"}}) // whose file grows
	p := limited(t, n, 48<<10)
	p.Log.Wait(t, "agent: ready: ")
	value := strings.Repeat("v", 500<<10)
	acknowledged, refused := 0, false
	for ; !refused && acknowledged < 200; acknowledged++ {
		r, err := p.Ask(t.Context(), http.MethodPut, fmt.Sprintf("/v1/kv/%d", acknowledged), value)
		refused = err != nil || r.Status != http.StatusOK
	}
	if !refused {
		t.Fatal("the file does not get too large")
	}
	endsFor(t, p, n)
	p = n.Spawn(t)
	for i := range acknowledged - 1 {
		if got := p.Get(t, fmt.Sprintf("/v1/kv/%d?raw", i)); got.Body != value {
			t.Fatalf("acknowledged write %d of %d is lost", i, acknowledged-1)
		}
	}
	p.Stop(t)
}
