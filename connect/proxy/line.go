package proxy

import (
	"net"
	"slices"
	"syscall"
	"time"
)

// carrier is what uses a connection.
type carrier interface {
	// inUse reports whether something is under way. The host's lock is held.
	inUse() bool
	// mute is for how long the peer has not answered whether it is there. It asks.
	mute() time.Duration
	// lose gives the connection up.
	lose(why *silentError)
}

// line is a connection as it is watched.
type line struct {
	of  carrier
	raw syscall.RawConn // of its socket
	at  int             // among its host's, beginning with 1

	since   time.Time // that nothing is acknowledged; zero while it is
	repeats int       // of its pulse when it was looked at last
}

// pulse is what the kernel knows of a connection.
type pulse struct {
	opening bool          // the peer has not answered yet
	repeats int           // how often in a row something was sent again without an answer, be it data or whether the peer takes any
	wait    time.Duration // until that is done once more: twice as long as the time before
	heard   time.Duration // since an acknowledgement came last
}

// unacknowledged is for how long nothing new has been, by what the kernel says now, as far as it is certain. That something comes
// does not count: it may be what the peer sends again, who hears nothing either.
func (l *line) unacknowledged(p pulse, now time.Time) time.Duration {
	if p.repeats == 0 || p.repeats < l.repeats { // it is, or was since it was looked at
		l.since = time.Time{}
	}
	if l.repeats = p.repeats; p.repeats == 0 {
		return 0
	}
	first := p.wait >> min(p.repeats, 30)
	if l.since.IsZero() {
		l.since = now.Add(first - p.wait)
	}
	if p.repeats < repeats {
		return 0
	}
	return min(now.Sub(l.since), 2*p.wait-first) // by then it would have been sent once more
}

// join has a connection watched, where the system tells how it does.
func (h *host) join(l *line, of carrier, conn net.Conn) {
	if h.key.Network != "tcp" {
		return
	}
	l.of, l.raw = of, socketOf(conn)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, l)
	l.at = len(h.lines)
}

// part has it watched no more.
func (h *host) part(l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(l)
}

// leave is part with the lock held.
func (h *host) leave(l *line) {
	if l.at == 0 {
		return
	}
	n := len(h.lines) - 1
	last := h.lines[n]
	h.lines[l.at-1], last.at = last, l.at
	h.lines[n] = nil
	h.lines, l.at = h.lines[:n], 0
}

// socketOf is the socket under a connection, nil where there is none.
func socketOf(c net.Conn) syscall.RawConn {
	for {
		if s, ok := c.(syscall.Conn); ok {
			raw, err := s.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		}
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = over.NetConn()
	}
}

// inUse are the connections something is under way over.
func (h *host) inUse() []*line {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looked = h.looked[:0]
	for _, l := range h.lines {
		if l.of.inUse() {
			h.looked = append(h.looked, l)
		} else {
			l.since = time.Time{}
		}
	}
	return h.looked
}

// heard reports whether anything has come from the endpoint lately, over any connection that is not in doubt. Then it is there, and
// has too much to do to take another.
func (h *host) heard() bool {
	h.mu.Lock()
	lines := slices.Clone(h.lines)
	h.mu.Unlock()
	return slices.ContainsFunc(lines, func(l *line) bool {
		beat, ok := pulseOf(l.raw)
		return ok && !beat.opening && beat.repeats == 0 && beat.heard < aliveFor
	})
}
