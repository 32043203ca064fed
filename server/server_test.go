package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is an agent in gossip; the one named "one" is the server of these tests.
func member(name string, status gossip.Status) gossip.Member {
	tags := map[string]string{"role": "node", "id": fmt.Sprintf("9e0e0bd1-0000-4000-8000-%012d", 100+len(name))}
	if name == "one" {
		tags = map[string]string{"role": "consul", "id": "9e0e0bd1-0000-4000-8000-000000000001", "port": "8300"}
	}
	return gossip.Member{Name: name, Addr: netip.MustParseAddr("127.0.0.1"), Status: status, Tags: tags}
}

// config is that of a lone server in dir, or in memory.
func config(dir string) server.Config {
	me := member("one", gossip.StatusAlive)
	return server.Config{
		Datacenter: "dc1", NodeName: me.Name, NodeID: me.Tags["id"], DataDir: dir, Expect: 1, Bind: "127.0.0.1:0",
		Members: func() []gossip.Member { return []gossip.Member{me} },
		Log:     slog.New(slog.DiscardHandler), RaftLog: hclog.NewNullLogger(),
	}
}

// start runs a lone server in dir, or in memory, until the test ends or stop is called.
func start(t *testing.T, dir string, changes ...func(*server.Config)) (s *server.Server, stop func()) {
	t.Helper()
	cfg := config(dir)
	for _, change := range changes {
		change(&cfg)
	}
	s, err := server.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		for _, wrong := range s.Store().Check() {
			t.Error("invariant:", wrong)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error("run:", err)
		}
	}
	t.Cleanup(stop)
	s.WaitLeading(ctx)
	return s, stop
}

func put(t *testing.T, s *server.Server, key, value string) {
	t.Helper()
	req := &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: key, Value: []byte(value)}}
	if ok, _, err := api.KVApply.Call(t.Context(), s.Caller(), rpc.Header{}, req); err != nil || !*ok {
		t.Fatalf("put %s: %v, %v", key, ok, err)
	}
}

// write is put for other goroutines, and for writes that may fail.
func write(s *server.Server, key, value string) error {
	req := &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: key, Value: []byte(value)}}
	_, _, err := api.KVApply.Call(context.Background(), s.Caller(), rpc.Header{}, req)
	return err
}

func get(t *testing.T, s *server.Server, key string) (string, uint64) {
	t.Helper()
	pairs, meta, err := api.KVRead.Call(t.Context(), s.Caller(), rpc.Header{}, &api.KVQuery{Key: key})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(*pairs) == 0 {
		return "", meta.Index
	}
	return string((*pairs)[0].Value), meta.Index
}

func TestAcknowledgedWritesSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, dir)
	put(t, s, "a", "1")
	put(t, s, "b", "2")
	stop()
	s, _ = start(t, dir)
	for key, want := range map[string]string{"a": "1", "b": "2"} {
		if got, _ := get(t, s, key); got != want {
			t.Errorf("%s = %q after the restart, want %q", key, got, want)
		}
	}
}

func TestLoneServerLeadsAtOnce(t *testing.T) {
	begin := time.Now()
	start(t, "")
	t.Logf("leading after %v", time.Since(begin))
	nodes, _, err := func() (*[]*catalog.Node, rpc.Meta, error) {
		s, _ := start(t, t.TempDir())
		return api.Nodes.Call(t.Context(), s.Caller(), rpc.Header{}, &api.NodeQuery{})
	}()
	if err != nil || len(*nodes) != 1 || (*nodes)[0].Node != "one" {
		t.Fatalf("nodes = %v, %v, want the server itself", nodes, err)
	}
}

func TestBlockingReadWakesOnlyForItsKey(t *testing.T) {
	s, _ := start(t, "")
	put(t, s, "watched", "1")
	_, index := get(t, s, "watched")
	woke := make(chan uint64, 1)
	go func() {
		_, meta, err := api.KVRead.Call(t.Context(), s.Caller(), rpc.Header{MinIndex: index}, &api.KVQuery{Key: "watched"})
		if err != nil {
			t.Error(err)
		}
		woke <- meta.Index
	}()
	for range 100 {
		put(t, s, "other", time.Now().String())
	}
	select {
	case i := <-woke:
		t.Fatalf("woke at index %d for writes of another key", i)
	default:
	}
	put(t, s, "watched", "2")
	if i := <-woke; i <= index {
		t.Fatalf("woke with index %d, want more than %d", i, index)
	}
}
