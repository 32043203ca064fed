package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A lease counts from when a quorum was spoken to, in one term, and not while another server may be elected.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		others := []raft.ServerID{"b", "c", "d", "e"}
		l := newLease(time.Second, func() []raft.ServerID { return others })
		want := func(what string, holds bool) {
			t.Helper()
			if l.holds() != holds {
				t.Errorf("%s: the lease holds: %t", what, !holds)
			}
		}
		want("of nobody", false)
		time.Sleep(time.Minute)
		at := l.now()
		l.answered("b", 1, at)
		want("of two of five", false)
		l.answered("x", 1, at)
		want("of two voters and a stranger", false)
		time.Sleep(500 * time.Millisecond) // an answer that took long
		l.answered("c", 1, at)
		want("of three of five", true)
		l.answered("c", 1, l.now())
		time.Sleep(500 * time.Millisecond)
		want("a second after the quorum was spoken to", false)
		l.answered("b", 1, l.now())
		want("after one more of the quorum", true)
		l.answered("d", 2, l.now())
		want("of another term", false)
		l.answered("e", 1, l.now())
		want("of the term before", false)
		l.answered("e", 2, l.now())
		want("of three in the new term", true)
		l.bar(500 * time.Millisecond)
		want("while another was told to stand", false)
		l.answered("e", 2, l.now())
		want("then too", false)
		time.Sleep(500 * time.Millisecond)
		want("afterwards", true)
		others = nil
		time.Sleep(time.Second)
		want("alone, unconfirmed", false)
		l.confirmed(l.now())
		want("alone, confirmed", true)
		l.confirmed(0)
		want("by an older word", true)
	})
}
