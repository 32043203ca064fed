package server

import (
	"context"
	"fmt"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/raft"
)

const (
	// stallLook is how often the write in progress is looked at.
	stallLook = time.Second
	// A write that takes stallWarn is told of; after stallEnd a server that others can stand in for ends. Its
	// heartbeats would keep them from electing another leader, while nothing can be written.
	stallWarn = 2 * time.Second
	stallEnd  = 6 * time.Second
)

// watchdog ends the server when its disk has failed: what cannot be written must not be acknowledged. It
// tells of a disk that hangs.
func (n *raftNode) watchdog(ctx context.Context) error {
	if n.disk == nil {
		return nil
	}
	tick := time.NewTicker(stallLook)
	defer tick.Stop()
	s := stall{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.disk.Failed():
			return fmt.Errorf("raft log in %s: %w; free or replace the disk and start again", n.cfg.DataDir, n.disk.Err())
		case <-tick.C:
		}
		was := s.lasts
		switch s.look(n.disk.Stats().Writing); {
		case was < stallWarn && s.lasts >= stallWarn:
			metrics.IncrCounter([]string{"raft", "logstore", "stalled"}, 1)
			n.cfg.Log.Error("a write to the raft log hangs: is the disk slow or frozen?", "path", n.cfg.DataDir, "for", s.lasts)
		case was >= stallWarn && s.lasts == 0:
			n.cfg.Log.Warn("the raft log can be written again", "path", n.cfg.DataDir, "hung", was)
		case s.lasts >= stallEnd && n.replaceable():
			n.port.cutOff() // Raft waits for the disk, and its heartbeats go on
			return fmt.Errorf("raft log in %s: a write has hung for %v; this server ends so that another one can lead: replace the disk and start again", n.cfg.DataDir, s.lasts)
		}
	}
}

// stall measures how long one write has been hanging in looks at it, one each stallLook: by the clock, a
// machine that slept would have a disk that hung.
type stall struct{ last, lasts time.Duration }

func (s *stall) look(writing time.Duration) {
	switch {
	case writing == 0:
		*s = stall{}
	case s.last > 0 && writing > s.last+stallLook/2: // the same one
		s.last, s.lasts = writing, s.lasts+stallLook
	default:
		*s = stall{last: writing}
	}
}

// replaceable reports whether this server leads others that could.
func (n *raftNode) replaceable() bool {
	return n.State() == raft.Leader && n.voters() > 1
}
