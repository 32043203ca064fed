package server

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// catchUp is when a server that was started knows what was acknowledged before. Raft applies the log only up to where
// somebody says that it is committed, and what a leader says of that may have been on its way before this server was
// started. So the leader is asked, and until what it names is applied, the store may be older than what this server has
// answered already. Stale reads wait for that, or go to the leader: a service that seems to have no instances is worse
// than an answer that is late.
type catchUp struct {
	leader rpc.Caller // the registry, which holds the question until there is one
	shown  func() uint64
	by     time.Time // when what there is has to do: there may be no leader for long

	target atomic.Pointer[uint64] // what the leader named
	over   atomic.Bool
}

// catchUpPause is after what time it is looked again whether a server has caught up, by whoever cannot ask the leader.
const catchUpPause = 10 * time.Millisecond

// learn asks the leader until it has answered, or what there is has to do.
func (c *catchUp) learn(ctx context.Context) error {
	ctx, stop := context.WithDeadline(ctx, c.by)
	defer stop()
	for {
		index, _, err := api.StatusCommitted.Call(ctx, c.leader, rpc.Header{}, &api.Nothing{})
		if err == nil {
			c.target.Store(index)
		}
		if err == nil || !pause.For(ctx, lostRetry) {
			return nil
		}
	}
}

// done reports whether reads may be answered from the store, and then always does.
func (c *catchUp) done() bool {
	if c.over.Load() {
		return true
	}
	if target := c.target.Load(); (target == nil || c.shown() < *target) && time.Now().Before(c.by) {
		return false
	}
	c.over.Store(true)
	return true
}
