package server

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// lease is for how long no other server can lead, as far as this one can know: followers that have heard of their leader
// vote for nobody else until their election timeout is over, which is twice as long. It counts from when they were
// spoken to, on a clock that goes on while the process is stopped, and not by Raft's timers, which a process that was
// stopped finds due only after it has answered others.
//
// Source: Raft, "Consensus: Bridging Theory and Practice", 6.4.1
type lease struct {
	length time.Duration
	epoch  time.Time
	voters func() []raft.ServerID // without this server
	until  atomic.Int64           // since epoch
	barred atomic.Int64           // since epoch: before it nothing is trusted, since a leader was told to stand

	mu    sync.Mutex
	term  uint64
	heard map[raft.ServerID]time.Duration // when those were spoken to that have answered in that term
}

func newLease(length time.Duration, voters func() []raft.ServerID) *lease {
	return &lease{length: length, epoch: time.Now(), voters: voters, heard: map[raft.ServerID]time.Duration{}}
}

func (l *lease) now() time.Duration { return time.Since(l.epoch) }

// holds reports whether the lease is not over. It says nothing of whether this server leads.
func (l *lease) holds() bool {
	now := int64(l.now())
	return now < l.until.Load() && now >= l.barred.Load()
}

// answered takes note of a follower that was spoken to at a time and has followed in a term.
func (l *lease) answered(id raft.ServerID, term uint64, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term < l.term {
		return
	}
	if term > l.term {
		l.term = term
		clear(l.heard)
		l.until.Store(0)
	}
	l.heard[id] = max(at, l.heard[id])
	voters := l.voters()
	var times []time.Duration
	for _, v := range voters {
		if at, ok := l.heard[v]; ok {
			times = append(times, at)
		}
	}
	// With this server they are voters+1, of which more than half are (voters+1)/2 others and itself.
	if need := (len(voters) + 1) / 2; need > 0 && len(times) >= need {
		slices.Sort(times)
		l.extend(times[len(times)-need])
	}
}

// confirmed takes note of a quorum that was asked after a time and agreed.
func (l *lease) confirmed(at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.extend(at)
}

func (l *lease) extend(from time.Duration) {
	l.until.Store(max(l.until.Load(), int64(from+l.length)))
}

// bar has nothing trusted for a while, since a server was asked to stand for election: others vote for it though they have
// just heard of their leader.
func (l *lease) bar(d time.Duration) { l.barred.Store(int64(l.now() + d)) }
