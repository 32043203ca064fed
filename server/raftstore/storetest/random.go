package storetest

import (
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// Subject is a store that can be stopped.
type Subject interface {
	// Store returns the open store.
	Store() Store
	// Restart stops the store in one of several ways and opens it again.
	Restart(t *rapid.T)
	// Interrupt starts op, stops everything within it or after it, opens what
	// is left, and says whether op had succeeded.
	Interrupt(t *rapid.T, op Operation) bool
	// Quiesce waits until nothing happens in the background, which keeps runs
	// the same for shrinking.
	Quiesce()
}

// Random compares stores with a plain map under random operations and stops.
func Random(t *testing.T, start func(*rapid.T) Subject) {
	rapid.Check(t, func(t *rapid.T) {
		r := &random{s: start(t), m: NewModel()}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if err := r.m.Differs(r.s.Store()); err != nil {
					t.Fatal(err)
				}
			},
			"append":    func(t *rapid.T) { r.apply(t, r.append(t)) },
			"operation": func(t *rapid.T) { r.apply(t, r.operation(t)) },
			"stop":      func(t *rapid.T) { r.s.Restart(t) },
			"fault": func(t *rapid.T) {
				op := r.operation(t)
				if r.s.Interrupt(t, op) {
					op.May = op.May[len(op.May)-1:]
				}
				var err error
				if r.m, err = op.Settle(r.s.Store()); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

type random struct {
	s    Subject
	m    Model
	term uint64
}

func (r *random) apply(t *rapid.T, op Operation) {
	if err := op.Call(r.s.Store()); err != nil {
		t.Fatal(op.Name, err)
	}
	r.m = op.Done()
	r.s.Quiesce()
}

func (r *random) append(t *rapid.T) Operation {
	r.term++
	next := r.m.Last + 1
	if r.m.Last == 0 {
		next = rapid.Uint64Range(1, 40).Draw(t, "first")
	}
	var logs []*raft.Log
	for range rapid.SampledFrom([]int{1, 2, 3, 5}).Draw(t, "entries") {
		logs = append(logs, Entry(next, r.term, rapid.SampledFrom([]int{0, 1, 90, 470, 1200, 5000}).Draw(t, "size")))
		next++
	}
	return Append(r.m, logs)
}

// operation draws any operation. rapid's ranges prefer small numbers; an even
// choice needs SampledFrom.
func (r *random) operation(t *rapid.T) Operation {
	m := r.m
	// below returns n less a number up to max, at least 0.
	below := func(n, max uint64, name string) uint64 { return n - min(n, rapid.Uint64Range(0, max).Draw(t, name)) }
	switch rapid.SampledFrom([]string{"append", "append", "conflict", "conflict", "compact", "restore", "set"}).Draw(t, "op") {
	case "conflict":
		return Delete(m, below(m.Last, 5, "n"), m.Last+rapid.Uint64Range(0, 1).Draw(t, "over"))
	case "compact":
		return Delete(m, below(m.First, 1, "under"), below(m.Last, 9, "keep"))
	case "restore":
		return Delete(m, m.First, m.Last)
	case "set":
		return Set(m, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), rapid.StringN(0, 8, -1).Draw(t, "val"))
	}
	return r.append(t)
}
