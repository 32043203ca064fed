package frontdoor_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// onSmallDisk runs the node's agent with its data directory on a disk of its own, in a mount namespace
// of its own, which needs no rights where users may make namespaces. Once the agent has ended, each line
// written to proceed makes room and runs it again.
const onSmallDisk = `
mount --make-rprivate / && mkdir -p "$DATA" && mount -t tmpfs -o size=24m,mode=0700 none "$DATA" || exit 99
head -c 12000000 /dev/zero > "$DATA/filler"
"$@"
echo "ended with code $?."
read go
rm "$DATA/filler"
exec "$@"
`

func TestFullDisk(t *testing.T) {
	n := testkit.New(t, testkit.Settings{"raft_logstore": testkit.Settings{"wal": testkit.Settings{"segment_size_mb": 1}}})
	cmd := n.Command()
	cmd.Args = append([]string{"sh", "-c", onSmallDisk, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, "DATA="+n.Data())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	proceed, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := n.Begin(t, cmd)
	p.Log.Wait(t, "agent: ready: ")
	value := strings.Repeat("v", 100<<10)
	acknowledged, refused := 0, 0
	for refused == 0 {
		path := fmt.Sprintf("/v1/kv/%d", acknowledged)
		r, err := p.Ask(t.Context(), http.MethodPut, path, value)
		switch {
		case err == nil && r.Status == http.StatusOK:
			acknowledged++
		case err == nil && !strings.Contains(r.Body, "no space left on device"):
			t.Errorf("a write to a full disk: status %d %s", r.Status, r.Body)
			fallthrough
		default:
			refused++
		}
		if acknowledged > 500 {
			t.Fatal("the disk does not get full")
		}
	}
	// It cannot go on: what it holds must not differ from what is on disk.
	if end := p.Log.Wait(t, "Error: "); !strings.Contains(end, "no space left on device") || !strings.Contains(end, n.Data()) {
		t.Errorf("the last words do not say what is full: %s", end)
	}
	if end := p.Log.Wait(t, "ended with code "); strings.Contains(end, " 0.") {
		t.Error("exit code 0")
	}
	fmt.Fprintln(proceed, "go")
	p.Log.Wait(t, "agent: ready: ")
	for i := range acknowledged {
		if got := p.Get(t, fmt.Sprintf("/v1/kv/%d?raw", i)); got.Body != value {
			t.Fatalf("acknowledged write %d of %d is lost", i, acknowledged)
		}
	}
	p.Put(t, "/v1/kv/after", "room")
	p.Stop(t)
}

func TestDataDirInUse(t *testing.T) {
	n := testkit.New(t, nil)
	p := n.Spawn(t)
	p.Put(t, "/v1/agent/service/register", `{"Name": "web"}`)
	other := testkit.New(t, testkit.Settings{"data_dir": n.Data(), "node_name": "n2"})
	p.Suspend(t) // it makes segments of its log in advance, and writes what it knows of others, whenever it likes
	before := contents(t, n.Data())
	refuses(t, other, "a data directory of another process", n.Data(), "in use by another process")
	if after := contents(t, n.Data()); !maps.Equal(after, before) {
		t.Errorf("the second process changed what is in the directory: %v, and before %v", after, before)
	}
	p.Signal(t, syscall.SIGCONT)
	p.Put(t, "/v1/kv/x", "the first lives on")
	p.Kill(t)
	other.Spawn(t) // a crash gives the directory back
}
