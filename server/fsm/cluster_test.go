package fsm_test

import (
	"context"
	"log/slog"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/handler"
)

// failer is what tests, benchmarks and properties have in common.
type failer interface {
	Helper()
	Error(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// cluster is a state machine with all commands and, instead of Raft, a host that hands over what it is
// to propose.
type cluster struct {
	store    *state.Store
	registry *endpoint.Registry
	fsm      *fsm.FSM
	index    uint64
	proposed []byte
}

func newCluster() *cluster {
	c := &cluster{store: state.New()}
	c.registry = endpoint.New(c, c.store)
	handler.Register(c.registry, handler.Deps{Datacenter: "dc1", Store: c.store, Sessions: noTimers{}})
	c.fsm = fsm.New(c.store, c.registry, slog.New(slog.DiscardHandler))
	return c
}

type noTimers struct{}

func (noTimers) Start(*catalog.Session) <-chan struct{} { return nil }
func (noTimers) Stop(string)                            {}

// entry returns the log entry that a call proposes.
func (c *cluster) entry(t failer, method string, req any) []byte {
	c.proposed = nil
	answer, err := c.registry.Call(context.Background(), &rpc.Call{Method: method, Body: req})
	if err != nil || c.proposed == nil {
		t.Fatalf("%s: nothing was proposed: %v %v", method, answer.Body, err)
	}
	return c.proposed
}

// logged is a log entry with a request just as it is, whoever would have refused or changed it.
func (c *cluster) logged(t failer, method string, req any) []byte {
	handle := &codec.MsgpackHandle{}
	handle.Canonical = true
	entry := append([]byte{1, byte(len(method))}, method...)
	var body []byte
	if err := codec.NewEncoderBytes(&body, handle).Encode(req); err != nil {
		t.Fatal(err)
	}
	return append(entry, body...)
}

// batch applies entries as one batch at the next indexes.
func (c *cluster) batch(t failer, entries [][]byte) []any {
	logs := make([]*raft.Log, len(entries))
	for i, e := range entries {
		c.index++
		logs[i] = &raft.Log{Index: c.index, Data: e}
	}
	return c.fsm.ApplyBatch(logs)
}

// wipe removes all keys.
func (c *cluster) wipe(failer) {
	c.index++
	tx := c.store.Write(c.index)
	state.KVDeleteTree(tx, "")
	state.ReapGraves(tx, c.index)
	tx.Commit()
}

func (c *cluster) Datacenter() string                                       { return "dc1" }
func (c *cluster) Primary() string                                          { return c.Datacenter() }
func (c *cluster) Leading() bool                                            { return true }
func (c *cluster) Leader() (rpc.Caller, error)                              { return nil, nil }
func (c *cluster) AwaitLeader(context.Context, rpc.Caller, time.Time) error { return nil }
func (c *cluster) Remote(string) (rpc.Caller, error)                        { return nil, nil }
func (c *cluster) Confirm(context.Context) error                            { return nil }
func (c *cluster) Leased() bool                                             { return true }
func (c *cluster) Contact() (time.Duration, bool)                           { return 0, true }
func (c *cluster) CaughtUp() bool                                           { return true }
func (c *cluster) Applied() uint64                                          { return c.fsm.Applied() }
func (c *cluster) Authorize(context.Context, string) (acl.Authorizer, error) {
	return acl.AllowAll(), nil
}

// Propose keeps the entry for whoever called; the reply must only have the right type where it is used.
func (c *cluster) Propose(_ context.Context, entry []byte) (any, error) {
	c.proposed = entry
	id := ""
	return &id, nil
}
