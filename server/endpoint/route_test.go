package endpoint_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
)

// recorder is another server, which remembers what it was asked.
type recorder struct {
	calls []rpc.Call
	then  rpc.Caller // nil answers
}

func (r *recorder) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	r.calls = append(r.calls, *call)
	if r.then != nil {
		return r.then.Call(ctx, call)
	}
	return rpc.Answer{Body: rpc.NewBody(rpc.Raw("answer"), nil)}, nil
}

// TestRoute: who answers, by verb, header and what this server is.
func TestRoute(t *testing.T) {
	f := func(what, method, want string, h rpc.Header, set func(*host)) {
		t.Helper()
		s := newHost()
		if set != nil {
			set(s)
		}
		leader, remote := &recorder{}, &recorder{}
		s.elsewhere["leader"], s.elsewhere["dc2"] = leader, remote
		body, _ := rpc.Encode(&asked{"k"})
		if method == put.Name {
			body, _ = rpc.Encode(&catalog.KVPair{Key: "k"})
		}
		h.Token = "k"
		_, err := s.Call(t.Context(), &rpc.Call{Method: method, Header: h, Body: rpc.Raw(body)})
		got := "here"
		for name, r := range map[string]*recorder{"leader": leader, "dc2": remote} {
			if len(r.calls) == 0 {
				continue
			}
			got = name
			call := r.calls[0]
			if raw, ok := call.Body.(rpc.Raw); !ok || !bytes.Equal(raw, body) || call.Header.Forwarded != h.Forwarded+1 || call.Header.Token != "k" || call.Method != method {
				t.Errorf("%s: forwarded as %+v", what, call)
			}
		}
		if err != nil {
			got = string(catalog.CodeOf(err))
		}
		if got != want {
			t.Errorf("%s: answered by %s, want %s (%v)", what, got, want, err)
		}
	}
	follow := func(s *host) { s.follows = true }
	heard := func(ago time.Duration, known bool) func(*host) {
		return func(s *host) { s.follows, s.contact, s.known = true, ago, known }
	}
	f("leader", get.Name, "here", rpc.Header{}, nil)
	f("own datacenter by name", get.Name, "here", rpc.Header{Datacenter: "dc1"}, nil)
	f("other datacenter", get.Name, "dc2", rpc.Header{Datacenter: "dc2", Consistency: rpc.Stale}, nil)
	f("write of other datacenter", put.Name, "dc2", rpc.Header{Datacenter: "dc2"}, follow)
	f("unknown datacenter", get.Name, "no_path", rpc.Header{Datacenter: "dc3"}, nil)
	f("follower", get.Name, "leader", rpc.Header{}, follow)
	f("follower, consistent", get.Name, "leader", rpc.Header{Consistency: rpc.Consistent}, follow)
	f("follower, stale", get.Name, "here", rpc.Header{Consistency: rpc.Stale}, follow)
	f("follower, stale, just started", get.Name, "leader", rpc.Header{Consistency: rpc.Stale}, func(h *host) { follow(h); h.behind = true })
	f("follower, stale enough", get.Name, "here", rpc.Header{Consistency: rpc.Stale, MaxStale: time.Second}, heard(time.Second, true))
	f("follower, too stale", get.Name, "leader", rpc.Header{Consistency: rpc.Stale, MaxStale: time.Second}, heard(2*time.Second, true))
	f("follower, leader just lost", get.Name, "here", rpc.Header{Consistency: rpc.Stale, MaxStale: time.Second}, heard(time.Millisecond, false))
	f("follower that never had a leader", get.Name, "leader", rpc.Header{Consistency: rpc.Stale, MaxStale: time.Hour}, heard(0, false))
	f("write", put.Name, "here", rpc.Header{}, nil)
	f("write at a follower", put.Name, "leader", rpc.Header{}, follow)
	f("stale write at a follower", put.Name, "leader", rpc.Header{Consistency: rpc.Stale}, follow)
	f("action at a follower", act.Name, "leader", rpc.Header{}, follow)
	f("stale action at a follower", act.Name, "leader", rpc.Header{Consistency: rpc.Stale}, follow)
	f("stale action that may be", old.Name, "here", rpc.Header{Consistency: rpc.Stale}, follow)
	f("action that may be stale", old.Name, "leader", rpc.Header{}, follow)
	f("action anywhere", here.Name, "here", rpc.Header{}, follow)
	f("four hops", get.Name, "leader", rpc.Header{Forwarded: 4}, follow)
	f("five hops", get.Name, "internal", rpc.Header{Forwarded: 5}, follow)
	f("unknown verb", "Test.None", "not_found", rpc.Header{}, nil)
}

// TestBeforeTokensAreKnown: what needs nothing of the token, and any server answers, is answered before the server knows the
// tokens: servers ask it before there is a cluster. Everything else waits for them.
func TestBeforeTokensAreKnown(t *testing.T) {
	h := newHost()
	h.behind = true
	for _, m := range []rpc.Method[asked, string]{here, act} {
		_, _, err := m.Call(t.Context(), h, rpc.Header{}, &asked{Key: "k"})
		if m.Name == here.Name && err != nil {
			t.Errorf("%s waits for the tokens: %v", m.Name, err)
		} else if m.Name == act.Name {
			code(t, m.Name, err, catalog.Unavailable)
		}
	}
	_, _, err := h.call(t.Context(), "k", rpc.Header{})
	code(t, "a query", err, catalog.Unavailable)
	h.behind = false
	_, _, err = here.Call(t.Context(), h, rpc.Header{Token: "unknown"}, &asked{Key: "k"})
	code(t, "a token that is none", err, catalog.Denied)
}

// TestLoop: servers that take one another for the leader give up.
func TestLoop(t *testing.T) {
	a, b := newHost(), newHost()
	a.follows, b.follows = true, true
	seen := &recorder{then: a}
	a.elsewhere["leader"], b.elsewhere["leader"] = b, seen
	_, _, err := a.call(t.Context(), "k", rpc.Header{})
	code(t, "loop", err, catalog.Internal)
	if len(seen.calls) != 2 {
		t.Errorf("the call came back %d times", len(seen.calls))
	}
}

func TestConsistent(t *testing.T) {
	h := newHost()
	if _, answer, err := h.call(t.Context(), "k", rpc.Header{Consistency: rpc.Consistent}); err != nil || h.confirms != 1 || answer.Meta.Consistency != rpc.Consistent || !answer.Meta.KnownLeader {
		t.Errorf("confirmed %d times: %+v %v", h.confirms, answer.Meta, err)
	}
	h.call(t.Context(), "k", rpc.Header{})
	if h.confirms != 1 {
		t.Error("a default read was confirmed")
	}
	h.expired = true
	if _, _, err := h.call(t.Context(), "k", rpc.Header{}); err != nil || h.confirms != 2 {
		t.Errorf("a default read after the lease: confirmed %d times, %v", h.confirms-1, err)
	}
	h.call(t.Context(), "k", rpc.Header{Consistency: rpc.Stale})
	if h.confirms != 2 {
		t.Error("a stale read was confirmed")
	}
}

// TestDenied: a token that may not read learns nothing, and those that see different things share no
// answers.
func TestDenied(t *testing.T) {
	h := newHost()
	h.set("a", "1")
	_, _, err := h.call(t.Context(), "a", rpc.Header{Token: "b"})
	code(t, "other key", err, catalog.Denied)
	_, _, err = h.call(t.Context(), "a", rpc.Header{Token: "unknown"})
	code(t, "unknown token", err, catalog.Denied)
	if h.reads.Load() != 0 {
		t.Error("the store was read for tokens that may not")
	}
	h.call(t.Context(), "a", rpc.Header{Token: "a"})
	h.call(t.Context(), "a", rpc.Header{})
	h.call(t.Context(), "a", rpc.Header{Token: "a"})
	keys.Call(t.Context(), h, rpc.Header{}, &asked{"a"})
	if n := h.reads.Load(); n != 3 {
		t.Errorf("two views and another verb took %d reads", n)
	}
}

func TestFilter(t *testing.T) {
	h := newHost()
	h.set("a/1", "x")
	h.set("a/2", "y")
	n, _, err := h.call(t.Context(), "a/", rpc.Header{Filter: `Key == "a/1"`})
	if all, _, _ := h.call(t.Context(), "a/", rpc.Header{}); n != 1 || all != 2 || err != nil {
		t.Errorf("filtered %d of %d: %v", n, all, err)
	}
	for _, bad := range []string{`Key ==`, `None == 1`} {
		_, _, err := h.call(t.Context(), "a/", rpc.Header{Filter: bad})
		code(t, bad, err, catalog.Invalid)
	}
}

// TestBodies: requests come typed from this process and raw from others.
func TestBodies(t *testing.T) {
	h := newHost()
	_, err := h.Call(t.Context(), &rpc.Call{Method: get.Name, Body: rpc.Raw("\xdf\xff\xff\xff\xff")})
	code(t, "malformed", err, catalog.Invalid)
	_, err = h.Call(t.Context(), &rpc.Call{Method: get.Name, Body: &catalog.KVPair{}})
	code(t, "another type", err, catalog.Internal)
	if _, err = h.Call(t.Context(), &rpc.Call{Method: get.Name, Body: rpc.Raw(nil)}); err != nil {
		t.Error("no body at all:", err)
	}
	if h.NewRequest("Test.None") != nil || h.NewRequest(put.Name).(*catalog.KVPair) == nil {
		t.Error("blank requests have other types")
	}
	if got := strings.Join(h.Methods(), " "); got != "Test.Act Test.Get Test.Here Test.Keys Test.Old Test.Plain Test.Put" {
		t.Errorf("methods are %s", got)
	}
}

// TestCommand: what is refused is not proposed, what is rejected has a reply and leaves nothing.
func TestCommand(t *testing.T) {
	h := newHost()
	_, _, err := put.Call(t.Context(), h, rpc.Header{}, &catalog.KVPair{Key: "/bad"})
	if code(t, "refused", err, catalog.Invalid); h.index != 10 {
		t.Error("a bad request was proposed")
	}
	if done, _, err := put.Call(t.Context(), h, rpc.Header{}, &catalog.KVPair{Key: "k"}); err != nil || !*done {
		t.Errorf("put: %v", err)
	}
	if done, _, err := put.Call(t.Context(), h, rpc.Header{}, &catalog.KVPair{Key: "other", Flags: 99}); err != nil || *done {
		t.Errorf("rejected put: %v", err)
	}
	if all, _ := state.KVList(h.store.Read(), nil, ""); len(all) != 1 || all[0].ModifyIndex != 11 {
		t.Errorf("the store holds %+v", all)
	}
}

// TestPlain: plain queries do not wait.
func TestPlain(t *testing.T) {
	h := newHost()
	h.set("k", "1")
	for range 2 {
		if _, meta, err := plain.Call(t.Context(), h, rpc.Header{MinIndex: h.index}, &asked{"k"}); err != nil || meta.Index == 0 {
			t.Errorf("%+v %v", meta, err)
		}
	}
	if n := h.reads.Load(); n != 2 {
		t.Errorf("two plain queries took %d reads", n)
	}
}
