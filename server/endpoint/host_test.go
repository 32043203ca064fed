package endpoint_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/endpoint"
)

// host is a server of one, whose log is the call of Propose.
type host struct {
	*endpoint.Registry
	store    *state.Store
	index    uint64
	reads    atomic.Int64
	fails    atomic.Int64 // how many of the next reads fail
	follows  bool
	behind   bool
	contact  time.Duration
	known    bool
	confirms int
	expired  bool // its lease
	// elsewhere are the other servers: the leader, and those of datacenters.
	elsewhere map[string]rpc.Caller
}

type asked struct{ Key string }

var (
	get   = rpc.Method[asked, []*catalog.KVPair]{Name: "Test.Get", From: rpc.FromAgents}
	keys  = rpc.Method[asked, []*catalog.KVPair]{Name: "Test.Keys", From: rpc.FromAgents}
	plain = rpc.Method[asked, []*catalog.KVPair]{Name: "Test.Plain", From: rpc.FromAgents}
	put   = rpc.Method[catalog.KVPair, bool]{Name: "Test.Put", From: rpc.FromAgents}
	act   = rpc.Method[asked, string]{Name: "Test.Act", From: rpc.FromAgents}
	here  = rpc.Method[asked, string]{Name: "Test.Here", From: rpc.FromAgents}
	old   = rpc.Method[asked, string]{Name: "Test.Old", From: rpc.FromAgents}
)

func newHost() *host {
	h := &host{store: state.New(), index: 10, known: true, elsewhere: map[string]rpc.Caller{}}
	h.Registry = endpoint.New(h, h.store)
	read := func(tx *state.Txn, w *state.Watch, q *asked) (*[]*catalog.KVPair, uint64, error) {
		h.reads.Add(1)
		if h.fails.Add(-1) >= 0 {
			return nil, 0, catalog.Errorf(catalog.Unavailable, "broken")
		}
		found, index := state.KVList(tx, w, q.Key)
		state.KVGet(tx, w, "noise") // wakes without a change of the result
		return &found, index, nil
	}
	needs := func(q *asked) []acl.Need { return []acl.Need{{Resource: acl.Key, Name: q.Key, Access: acl.Read}} }
	endpoint.AddQuery(h.Registry, endpoint.Query[asked, []*catalog.KVPair]{Method: get, Needs: needs, Read: read, Filter: filter.List[*catalog.KVPair]})
	endpoint.AddQuery(h.Registry, endpoint.Query[asked, []*catalog.KVPair]{Method: keys, Open: "a test", Read: read})
	endpoint.AddQuery(h.Registry, endpoint.Query[asked, []*catalog.KVPair]{Method: plain, Open: "a test", Plain: true, Read: read})
	endpoint.AddCommand(h.Registry, endpoint.Command[catalog.KVPair, bool]{
		Method: put, Open: "a test",
		Prepare: func(_ context.Context, p *catalog.KVPair) (*catalog.KVPair, error) {
			return p, catalog.ValidateKey(p.Key)
		},
		Apply: func(tx *state.Txn, p *catalog.KVPair) (*bool, error) {
			done := true
			if p.Flags == 99 {
				return nil, &rejected{}
			}
			state.KVSet(tx, p)
			return &done, nil
		},
	})
	do := func(_ context.Context, _ rpc.Header, q *asked) (*string, rpc.Meta, error) {
		return &q.Key, rpc.Meta{}, nil
	}
	endpoint.AddAction(h.Registry, endpoint.Action[asked, string]{Method: act, Open: "a test", Do: do})
	endpoint.AddAction(h.Registry, endpoint.Action[asked, string]{Method: here, Open: "a test", Do: do, Anywhere: true})
	endpoint.AddAction(h.Registry, endpoint.Action[asked, string]{Method: old, Open: "a test", Do: do, Stale: true})
	return h
}

// rejected is an error of Apply with a reply.
type rejected struct{}

func (*rejected) Error() string  { return "rejected" }
func (*rejected) Rejection() any { return new(bool) }

// set writes a key at the next index.
func (h *host) set(key, value string) {
	h.index++
	tx := h.store.Write(h.index)
	state.KVSet(tx, &catalog.KVPair{Key: key, Value: []byte(value)})
	tx.Commit()
}

// restore replaces the store by an empty one with one key at an index.
func (h *host) restore(key string, index uint64) {
	l := h.store.Load()
	l.Row("kv", &catalog.KVPair{Key: key, CreateIndex: index, ModifyIndex: index})
	h.index = max(h.index, index)
	l.Finish()
}

func (h *host) Datacenter() string                                       { return "dc1" }
func (h *host) Primary() string                                          { return h.Datacenter() }
func (h *host) Leading() bool                                            { return !h.follows }
func (h *host) Leader() (rpc.Caller, error)                              { return h.way("leader", catalog.NoLeader) }
func (h *host) AwaitLeader(context.Context, rpc.Caller, time.Time) error { return nil }
func (h *host) Remote(dc string) (rpc.Caller, error)                     { return h.way(dc, catalog.NoPath) }
func (h *host) Contact() (time.Duration, bool)                           { return h.contact, h.known }
func (h *host) CaughtUp() bool                                           { return !h.behind }
func (h *host) Applied() uint64                                          { return h.index }

func (h *host) way(to string, code catalog.Code) (rpc.Caller, error) {
	if c := h.elsewhere[to]; c != nil {
		return c, nil
	}
	return nil, catalog.Errorf(code, "no way to %s", to)
}

func (h *host) Leased() bool { return !h.expired }

func (h *host) Confirm(context.Context) error {
	h.confirms++
	if h.follows {
		return errors.New("leads no more")
	}
	return nil
}

func (h *host) Propose(_ context.Context, entry []byte) (any, error) {
	h.index++
	tx := h.store.Write(h.index)
	reply, err := h.Apply(tx, entry)
	if err != nil {
		tx.Abort()
		return nil, err
	}
	tx.Commit()
	return reply, nil
}

func (h *host) Authorize(_ context.Context, token string) (acl.Authorizer, error) {
	if h.behind {
		return nil, catalog.Errorf(catalog.Unavailable, "no token is known yet")
	}
	switch token {
	case "unknown":
		return nil, catalog.Errorf(catalog.Denied, "token is unknown")
	case "":
		return acl.AllowAll(), nil
	}
	return may{token}, nil
}

// may is an authorizer that allows what has its token for a name.
type may struct{ token string }

func (m may) Allows(n acl.Need) bool { return n.Name == m.token }
func (m may) View() string           { return m.token }

// call asks for the keys under one.
func (h *host) call(ctx context.Context, key string, header rpc.Header) (int, rpc.Answer, error) {
	answer, err := get.Ask(ctx, h, header, &asked{key})
	if err != nil {
		return 0, answer, err
	}
	return len(*answer.Value().(*[]*catalog.KVPair)), answer, nil
}

func code(t testing.TB, what string, err error, want catalog.Code) {
	t.Helper()
	if err == nil || catalog.CodeOf(err) != want {
		t.Errorf("%s: error %v, want code %s", what, err, want)
	}
}

func key(i int) string { return fmt.Sprintf("k/%06d", i) }
