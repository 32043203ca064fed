package server_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// What a killed process leaves is what its files hold at that moment.
func TestAcknowledgedWritesSurviveAKill(t *testing.T) {
	for _, backend := range []string{"wal", "boltdb"} {
		dir, killed := t.TempDir(), filepath.Join(t.TempDir(), "killed")
		use := func(c *server.Config) { c.LogStore.Backend = backend }
		s, _ := start(t, dir, use)
		const before = 20
		for i := range before {
			put(t, s, fmt.Sprint("k", i), "1")
		}
		var writer sync.WaitGroup
		if backend == "wal" { // whose end may be torn; pages of the other are copied while none is written
			writer.Go(func() {
				for i := range 300 {
					req := &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: fmt.Sprint("beside", i)}}
					if _, _, err := api.KVApply.Call(t.Context(), s.Caller(), rpc.Header{}, req); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		writer.Wait()
		s, _ = start(t, killed, use)
		for i := range before {
			if got, _ := get(t, s, fmt.Sprint("k", i)); got != "1" {
				t.Errorf("%s: k%d is lost", backend, i)
			}
		}
	}
}

func TestLogMovesBetweenBackendsWithoutLoss(t *testing.T) {
	dir := t.TempDir()
	for i, backend := range []string{"wal", "boltdb", "wal", ""} {
		s, stop := start(t, dir, func(c *server.Config) { c.LogStore.Backend = backend })
		for j := range i {
			if got, _ := get(t, s, fmt.Sprint("k", j)); got != "1" {
				t.Errorf("step %d (%s): k%d is lost", i, backend, j)
			}
		}
		put(t, s, fmt.Sprint("k", i), "1")
		if i == 1 {
			save(t, s) // what is in a snapshot moves too
		}
		stop()
	}
}

// open opens a server that must fail to, and checks that nothing of it is left.
func open(t *testing.T, cfg server.Config) string {
	t.Helper()
	before := goleak.IgnoreCurrent()
	s, err := server.Open(cfg)
	if err == nil {
		s.Close()
		t.Fatal("it opened")
	}
	goleak.VerifyNone(t, before)
	if again, err := net.Listen("tcp", cfg.Bind); err != nil && !strings.HasSuffix(cfg.Bind, ":0") {
		t.Error("its port is still taken:", err)
	} else if err == nil {
		again.Close()
	}
	return err.Error()
}

// freePort returns an address that nobody listens at, nor will: others on this machine take ports of 127.0.0.1.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// nowhere is an address at which nobody listens, nor comes to while the test runs: a connection to elsewhere holds it.
func nowhere(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	c, err := from.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().String()
}

func TestFailedStartLeavesNothingOpen(t *testing.T) {
	want := func(what, got, part string) {
		t.Helper()
		if !strings.Contains(got, part) {
			t.Errorf("%s: error %q does not say %q", what, got, part)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	cfg := config(file)
	cfg.Bind = freePort(t)
	want("data directory is a file", open(t, cfg), file)

	dir := t.TempDir()
	_, stop := start(t, dir)
	cfg = config(dir)
	cfg.Bind = freePort(t)
	want("data directory in use", open(t, cfg), "in use by another process")
	stop()

	os.RemoveAll(filepath.Join(dir, "raft", "snapshots"))
	os.WriteFile(filepath.Join(dir, "raft", "snapshots"), nil, 0o600)
	want("snapshots cannot be kept", open(t, cfg), "snapshots")
	os.Remove(filepath.Join(dir, "raft", "snapshots"))
	start(t, dir) // and the log was given back each time
}

// newest returns the file of the newest snapshot's state.
func newest(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "*", "state.bin"))
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	last := found[0]
	for _, f := range found {
		a, _ := os.Stat(f)
		if b, _ := os.Stat(last); a.ModTime().After(b.ModTime()) {
			last = f
		}
	}
	return last
}

// A damaged snapshot is made up for by the log, if that reaches back; else the start is refused: an older
// state must not pass for the present one.
func TestDamagedSnapshotIsNeverPassedOver(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, dir)
	put(t, s, "old", "1")
	save(t, s)
	put(t, s, "new", "1")
	saved, _ := save(t, s)
	stop()
	if err := os.WriteFile(newest(t, dir), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, stop = start(t, dir)
	if got, _ := get(t, s, "new"); got != "1" {
		t.Error("what the log still has is lost")
	}
	put(t, s, "newer", "1")
	save(t, s)
	if err := restore(t, s, saved); err != nil { // after which there is no log behind the snapshot
		t.Fatal(err)
	}
	stop()
	if err := os.WriteFile(newest(t, dir), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, config(dir)); !strings.Contains(got, "is damaged: it has 7 bytes") {
		t.Errorf("the start failed because of %q", got)
	}
}

func TestLostNodeIDIsNamedAsTheReasonForNoLeader(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, dir)
	stop()
	cfg := config(dir)
	cfg.NodeID = "9e0e0bd1-0000-4000-8000-0000000000ff"
	s, err := server.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Plight(); !strings.Contains(got, cfg.NodeID) || !strings.Contains(got, "node-id") {
		t.Errorf("no leader because %q", got)
	}
}

func TestStall(t *testing.T) {
	f := func(want time.Duration, millis ...int) {
		t.Helper()
		var looks []time.Duration
		for _, m := range millis {
			looks = append(looks, time.Duration(m)*time.Millisecond)
		}
		if got := server.Stalled(looks...); got != want {
			t.Errorf("looks %v: %v, want %v", millis, got, want)
		}
	}
	f(0)
	f(0, 300)
	f(2*time.Second, 300, 1300, 2300)
	f(0, 300, 1300, 0)
	f(0, 900, 100, 700, 3)     // others each time
	f(time.Second, 10, 60_000) // the machine slept: one look, however long
	f(0, 60_000)
}

func TestServerTellsItsFigures(t *testing.T) {
	s, _ := start(t, t.TempDir())
	put(t, s, "a", "1")
	stats := s.RaftStats()
	if stats["state"] != "Leader" || stats["num_peers"] != "0" || s.LeaderAddr() != s.Addr().String() {
		t.Errorf("leader %q, stats %v", s.LeaderAddr(), stats)
	}
	usage, _, err := api.UsageRead.Call(t.Context(), s.Caller(), rpc.Header{}, &api.Nothing{})
	if err != nil || (*usage)["dc1"].Nodes != 1 {
		t.Errorf("usage %v, %v", usage, err)
	}
	health, _, err := api.AutopilotHealth.Call(t.Context(), s.Caller(), rpc.Header{}, &api.Nothing{})
	if err != nil || !health.Healthy || health.FailureTolerance != 0 || len(health.Servers) != 1 {
		t.Errorf("health %+v, %v", health, err)
	}
}
