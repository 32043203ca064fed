package server_test

import (
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

func shortTTL(c *server.Config) { c.MinSessionTTL = time.Millisecond }

// session makes one on the server's own node.
func session(t *testing.T, s *server.Server, ttl time.Duration) string {
	t.Helper()
	req := &api.SessionWrite{Op: api.SessionCreate, Session: catalog.Session{Node: "one", TTL: ttl.String(), Behavior: "delete"}}
	id, _, err := api.SessionApply.Call(t.Context(), s.Caller(), rpc.Header{}, req)
	if err != nil {
		t.Fatal("session:", err)
	}
	return *id
}

// awaitEnd blocks until a session is gone.
func awaitEnd(t *testing.T, s *server.Server, id string) {
	t.Helper()
	for index := uint64(0); ; {
		found, meta, err := api.SessionRead.Call(t.Context(), s.Caller(), rpc.Header{MinIndex: index}, &api.SessionQuery{ID: id})
		if err != nil {
			t.Fatal("session:", err)
		}
		if len(*found) == 0 {
			return
		}
		index = meta.Index
	}
}

func TestSessionEndsWithItsKeyBetweenOneAndTwoTTLs(t *testing.T) {
	s, _ := start(t, "", shortTTL)
	ttl := 300 * time.Millisecond
	var begin time.Time
	var id string
	for {
		begin = time.Now()
		id = session(t, s, ttl)
		lock := &api.KVWrite{Op: api.KVLock, Pair: catalog.KVPair{Key: "leader", Value: []byte("me"), Session: id}}
		ok, _, err := api.KVApply.Call(t.Context(), s.Caller(), rpc.Header{}, lock)
		if err == nil && *ok {
			break
		}
		if took := time.Since(begin); took < ttl {
			t.Fatalf("no lock %v after the session was made, within its TTL: %v", took, err)
		}
		ttl *= 2 // this machine is slower than the session
	}
	awaitEnd(t, s, id)
	if took := time.Since(begin); took < ttl {
		t.Errorf("ended after %v, before its TTL of %v", took, ttl)
	}
	if got, _ := get(t, s, "leader"); got != "" {
		t.Errorf("its key is still %q", got)
	}
	if n := s.Timers(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

func TestRenewedSessionLives(t *testing.T) {
	s, _ := start(t, "", shortTTL)
	const ttl = 200 * time.Millisecond
	renewed := time.Now()
	id, other := session(t, s, ttl), session(t, s, 5*ttl)
	tick := time.NewTicker(ttl / 2)
	defer tick.Stop()
	ended := make(chan struct{})
	go func() { defer close(ended); awaitEnd(t, s, other) }()
	for {
		select {
		case <-tick.C:
			asked := time.Now()
			found, _, err := api.SessionRenew.Call(t.Context(), s.Caller(), rpc.Header{}, &api.SessionQuery{ID: id})
			if err != nil {
				t.Fatal("renew:", err)
			}
			if len(*found) == 0 {
				if lasted := time.Since(renewed); lasted < ttl {
					t.Fatalf("it is gone %v after it was renewed", lasted)
				}
				id = session(t, s, ttl) // this machine was slower than the session
			}
			renewed = asked
			continue
		case <-ended:
		}
		break
	}
	awaitEnd(t, s, id)
}

func TestSessionTimeIsKeptAfterRestartRestoreAndAnotherTerm(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, dir, shortTTL)
	id := session(t, s, time.Hour)
	stop()
	s, _ = start(t, dir, shortTTL)
	if s.Timers() != 1 {
		t.Fatalf("after a restart the time of %d sessions is kept, want 1", s.Timers())
	}
	brief := session(t, s, 400*time.Millisecond)
	saved, _ := save(t, s)
	awaitEnd(t, s, brief)
	if err := restore(t, s, saved); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, s, brief) // it is back, and ends again

	brief = session(t, s, 400*time.Millisecond)
	s.Notice(false)
	s.Notice(true)
	awaitEnd(t, s, brief)
	found, _, err := api.SessionRead.Call(t.Context(), s.Caller(), rpc.Header{}, &api.SessionQuery{ID: id})
	if err != nil || len(*found) != 1 {
		t.Errorf("a session of an hour is gone: %v", err)
	}
}
