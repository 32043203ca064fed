package server

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// catchUp is when a server that was started knows again what it knew before. Raft applies the log only up to
// where somebody says that it is committed. Until a leader with a committed entry of its own has been heard of,
// and what is before that entry is applied, the store is older than what this server has answered already. Stale
// reads wait for that, or go to the leader: a service that seems to have no instances is worse than an answer that
// is late.
type catchUp struct {
	raft  *raftNode
	shown func() uint64
	by    time.Time // when what there is has to do: there may be no leader for long

	over   atomic.Bool
	target atomic.Uint64 // what was committed when that was first heard of
}

// catchUpPause is after what time it is looked again whether a server has caught up, by whoever cannot ask the leader.
const catchUpPause = 10 * time.Millisecond

// done reports whether reads may be answered from the store, and then always does.
func (c *catchUp) done() bool {
	if c.over.Load() {
		return true
	}
	if !c.reached() && time.Now().Before(c.by) {
		return false
	}
	c.over.Store(true)
	return true
}

func (c *catchUp) reached() bool {
	target := c.target.Load()
	if target == 0 {
		commit := c.raft.CommitIndex()
		if !c.raft.isOfThisTerm(commit) {
			return false // a new leader does not know yet how much of what it has is committed
		}
		c.target.CompareAndSwap(0, commit)
		target = c.target.Load()
	}
	return c.shown() >= c.raft.lastCommand(target)
}

// isOfThisTerm reports whether the log has an entry of the present term at an index.
func (n *raftNode) isOfThisTerm(index uint64) bool {
	var entry raft.Log
	return index > 0 && n.logs.GetLog(index, &entry) == nil && entry.Term == n.CurrentTerm()
}

// lastCommand is the newest entry up to an index that changes the store, 0 when all such are in a snapshot.
func (n *raftNode) lastCommand(index uint64) uint64 {
	for ; index > 0; index-- {
		var entry raft.Log
		if n.logs.GetLog(index, &entry) != nil {
			return 0
		}
		if entry.Type == raft.LogCommand {
			return index
		}
	}
	return 0
}
