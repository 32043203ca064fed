package server_test

import (
	"context"
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

// start runs a lone server in dir, or in memory, until the test ends or stop is called.
func start(t *testing.T, dir string) (s *server.Server, stop func()) {
	t.Helper()
	me := gossip.Member{
		Name: "one", Addr: netip.MustParseAddr("127.0.0.1"), Status: gossip.StatusAlive,
		Tags: map[string]string{"role": "consul", "id": "9e0e0bd1-0000-4000-8000-000000000001", "port": "8300"},
	}
	s, err := server.Open(server.Config{
		Datacenter: "dc1", NodeName: "one", NodeID: me.Tags["id"], DataDir: dir, Bootstrap: true, Bind: "127.0.0.1:0",
		Members:        func() []gossip.Member { return []gossip.Member{me} },
		WANCoordinates: func() []*catalog.NodeCoordinate { return nil },
		Log:            slog.New(slog.DiscardHandler), RaftLog: hclog.NewNullLogger(),
	})
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
