package check_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// states is a source of alias states that a test changes.
type states struct {
	mu      sync.Mutex
	state   check.AliasState
	err     error
	asked   []check.AliasTarget
	changed chan struct{}
}

func (s *states) AliasState(_ context.Context, target check.AliasTarget) (check.AliasState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, target)
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	state := s.state
	state.Changed = s.changed
	return state, s.err
}

func (s *states) set(found bool, err error, checks ...*catalog.Check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.err = check.AliasState{Found: found, Checks: checks}, err
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = nil
}

func TestAlias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, src := &recorder{}, &states{}
		s := check.NewSet(check.Deps{Reporter: rec, Aliased: src, Node: "n1"}, check.Policy{}, nil)
		service := func(id string, status catalog.Status) *catalog.Check {
			return &catalog.Check{CheckID: id, ServiceID: "web", Status: status, Output: "out of " + id, Type: "tcp"}
		}
		node := func(id string, status catalog.Status) *catalog.Check {
			return &catalog.Check{CheckID: id, Status: status}
		}
		expect := func(status catalog.Status, output string) {
			t.Helper()
			synctest.Wait()
			got := rec.take()
			if len(got) != 1 || got[0].status != status || got[0].output != output {
				t.Errorf("got reports %v, want one: %s %q", got, status, output)
			}
		}
		add(t, s, define(catalog.CheckDefinition{AliasService: "web"}))
		run(t, s)
		expect(catalog.Critical, `service "web" is not registered`)
		src.set(true, nil)
		expect(catalog.Passing, `service "web" has no checks`)
		src.set(true, nil, service("a", catalog.Passing), service("b", catalog.Passing), node("other", catalog.Critical))
		expect(catalog.Passing, `All 2 checks of service "web" are passing`)
		src.set(true, nil, service("b", catalog.Warning), service("a", catalog.Passing), service("a2", catalog.Warning), service("d", catalog.Critical))
		src.set(true, nil, service("b", catalog.Warning), service("a", catalog.Passing), service("a2", catalog.Warning))
		synctest.Wait()
		if got := rec.take(); len(got) == 0 || got[len(got)-1].output != `Check "a2" of service "web" is warning: out of a2` {
			t.Errorf("got %v", got)
		}
		src.set(true, nil, service("z", catalog.Critical), service("a", catalog.Warning))
		expect(catalog.Critical, `Check "z" of service "web" is critical: out of z`)
		src.set(true, nil, service("z", catalog.Critical), service("a", catalog.Warning), service("d", catalog.Critical), service("y", catalog.Passing))
		expect(catalog.Critical, `Check "d" of service "web" is critical: out of d`)
		src.set(true, nil, service("z", catalog.Critical), service("d", catalog.Critical))
		pass(time.Hour) // nothing new, so nothing is said and nobody polls
		if got, asked := rec.take(), len(src.asked); len(got) != 0 || asked > 8 {
			t.Errorf("got %v after %d questions", got, asked)
		}
		s.Remove("c")

		// A node's own checks, here those of this very node, of which the alias is one.
		src.set(true, nil, node("c", catalog.Critical), node("mem", catalog.Passing), service("a", catalog.Critical))
		add(t, s, define(catalog.CheckDefinition{AliasNode: "n1"}))
		expect(catalog.Passing, `All 1 checks of node "n1" are passing`)

		// Another node: errors are told and asked again later and later, or when something changes.
		s.Remove("c")
		synctest.Wait()
		src.set(false, errors.New("no servers"))
		src.mu.Lock()
		src.asked = nil
		src.mu.Unlock()
		def := define(catalog.CheckDefinition{AliasNode: "n2", AliasService: "web"})
		def.Token = "secret"
		add(t, s, def)
		expect(catalog.Critical, `Alias of service "web" on node "n2": no servers`)
		pass(10 * time.Minute)
		src.mu.Lock()
		asked := src.asked
		src.mu.Unlock()
		if len(asked) < 8 || len(asked) > 40 || asked[0] != (check.AliasTarget{Node: "n2", ServiceID: "web", Token: "secret"}) {
			t.Errorf("asked %d times, first for %v", len(asked), asked[0])
		}
		src.set(true, nil, &catalog.Check{CheckID: "s", ServiceID: "web", Status: catalog.Critical, Output: "Check ...", Type: "alias"})
		pass(90 * time.Second)
		expect(catalog.Critical, `Check "s" of service "web" on node "n2" is critical`)
	})
}
