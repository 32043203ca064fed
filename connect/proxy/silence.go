package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
)

// When a network lets nothing through, nothing says so: what is sent is sent again and again, and whoever waits for an answer
// waits. So connections in use are looked at twice a second. One whose bytes nobody acknowledges, or whose peer does not answer
// when it is asked whether it is there, is in doubt; then another connection is tried with the endpoint. When nothing answers
// that either, the endpoint is silent: it is out of service, connections that are in doubt are given up, and it is tried again and
// again until it answers. An application that takes nothing is not silent: its machine acknowledges what fits, and says each time
// it is asked that no more does.
const (
	doubtAfter = 500 * time.Millisecond // without an acknowledgement, with what was sent repeated
	aliveFor   = time.Second            // after something came, it cannot be silent
	askAfter   = time.Second            // that an HTTP/2 peer says nothing with exchanges under way, it is asked
	muteAfter  = time.Second            // without an answer to that, it is in doubt
	openWithin = 2 * time.Second        // an attempt to connect is answered, the second time it is made at the latest
	tryWithin  = 3 * time.Second        // a connection is there, with its handshake where the peer is one that was asked
	loseAfter  = 2 * time.Second        // without an acknowledgement, a connection with a silent endpoint is given up
	muteLose   = 3 * time.Second        // without an answer, as well
	strayAfter = 10 * time.Second       // without an acknowledgement, one is given up whose endpoint is well: its way lost it
	calmAfter  = 5 * time.Second        // that an endpoint answered, it is tried again on account of the same doubts
	firstTry   = time.Second            // between attempts with a silent endpoint, at most; then twice as long each time
	lastTry    = 4 * time.Second
	repeats    = 2 // times that something is sent again before it counts
)

// errSilent is what a silentError is.
var errSilent = errors.New("no answer at all")

// silentError says that nothing comes from an endpoint any more.
type silentError struct {
	at   string
	long time.Duration
}

// Error implements error.
func (e *silentError) Error() string {
	return fmt.Sprintf("%s has not answered for %v: what is sent there is lost on the way, or its machine is down", e.at, e.long.Round(100*time.Millisecond))
}

// Is implements the interface of package errors.
func (e *silentError) Is(target error) bool { return target == errSilent }

// carrier is what uses a connection.
type carrier interface {
	// inUse reports whether something is under way. The host's lock is held.
	inUse() bool
	// mute is for how long the peer has not answered whether it is there. It asks.
	mute() time.Duration
	// lose gives the connection up.
	lose(why *silentError)
}

// fate is why a connection was given up.
type fate struct{ why atomic.Pointer[silentError] }

func (f *fate) lost() error {
	if why := f.why.Load(); why != nil {
		return why
	}
	return nil
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

// watched is how a host is watched.
type watched struct {
	silence atomic.Pointer[time.Time] // since when the endpoint is silent; nil while it is not

	// The host's lock guards these:
	lines  []*line
	trying context.CancelFunc // while it is tried whether the endpoint answers
	calm   time.Time          // until then it is not, as it has just answered

	looking sync.Mutex
	looked  []*line
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

// watch looks at the connections in use, and does what follows from how they do.
func (h *host) watch(p *Proxy, now time.Time) {
	h.looking.Lock()
	defer h.looking.Unlock()
	since := h.silence.Load()
	doubt, mute := false, false
	for _, l := range h.inUse() {
		var quiet time.Duration
		if beat, ok := pulseOf(l.raw); ok {
			quiet = l.unacknowledged(beat, now)
		}
		unanswered := l.of.mute()
		doubt, mute = doubt || quiet >= doubtAfter, mute || unanswered >= muteAfter
		switch {
		case quiet >= strayAfter, since != nil && quiet >= loseAfter, since != nil && unanswered >= muteLose:
			l.of.lose(&silentError{h.key.Address, max(quiet, unanswered)})
		}
	}
	clear(h.looked)
	if doubt || mute {
		h.try(p, now, mute && !doubt)
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

// silent is why nothing is sent to the endpoint, nil where something is.
func (h *host) silent() error {
	if since := h.silence.Load(); since != nil {
		return &silentError{h.key.Address, time.Since(*since)}
	}
	return nil
}

// call connects. When nobody answers at all it gives up before its time.
func (h *host) call(ctx context.Context) (net.Conn, error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var socket atomic.Pointer[syscall.RawConn]
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		socket.Store(&c)
		return nil
	}}
	begun := time.Now()
	late := time.AfterFunc(openWithin, func() {
		if c := socket.Load(); c != nil {
			if beat, ok := pulseOf(*c); ok && beat.opening && beat.repeats > 0 && !h.heard() {
				giveUp(errSilent)
			}
		}
	})
	defer late.Stop()
	conn, err := d.DialContext(ctx, h.key.Network, h.key.Address)
	if err != nil && context.Cause(ctx) == errSilent {
		err = &silentError{h.key.Address, time.Since(begun)}
	}
	return conn, err
}

// unanswered draws conclusions from why a connection could not be made.
func (h *host) unanswered(p *Proxy, err error) {
	switch {
	case errors.Is(err, errSilent):
		h.hush(p, openWithin, nil)
		h.try(p, time.Now(), false)
	case silence(err):
		h.try(p, time.Now(), false)
	}
}

// silence reports whether an error means that nobody has answered.
func silence(err error) bool {
	return errors.Is(err, errSilent) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// try begins to try whether the endpoint answers, with a handshake where whole is set, unless that goes on already.
func (h *host) try(p *Proxy, now time.Time, whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.retired || h.trying != nil || now.Before(h.calm) {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	h.trying = stop
	p.carried.Add(1)
	go func() { // ends when the endpoint answers, or no target has it any more
		defer p.carried.Done()
		defer stop()
		h.tryOn(ctx, p, whole)
	}()
}

// tryOn tries it until it does, or ctx ends.
func (h *host) tryOn(ctx context.Context, p *Proxy, whole bool) {
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		err := h.once(ctx, p, whole)
		if ctx.Err() != nil {
			return
		}
		if !silence(err) {
			h.sound(ctx, p)
			return
		}
		h.hush(p, tryWithin, ctx)
		wait := time.NewTimer(pause - rand.N(pause/4)) // not all at once who lost it at once
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// once makes a connection for nothing else.
func (h *host) once(ctx context.Context, p *Proxy, whole bool) error {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	conn, err := h.call(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if !whole || h.key.certs == nil {
		return nil
	}
	return p.shake(ctx, tls.Client(conn, h.tls(false)))
}

// hush takes the endpoint for silent, which it has been for so long, and gives up the connections that are in doubt. Where something
// does come it does not.
func (h *host) hush(p *Proxy, long time.Duration, trying context.Context) {
	if h.heard() {
		return
	}
	now := time.Now()
	since := now.Add(-long)
	h.mu.Lock()
	if h.retired || trying != nil && trying.Err() != nil || !h.silence.CompareAndSwap(nil, &since) {
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	p.Log.Warn("an endpoint does not answer", "endpoint", h.key.Address)
	p.tell(h)
	h.watch(p, now)
}

// sound takes it for one that answers.
func (h *host) sound(trying context.Context, p *Proxy) {
	h.mu.Lock()
	if trying.Err() != nil {
		h.mu.Unlock()
		return
	}
	h.trying, h.calm = nil, time.Now().Add(calmAfter)
	since := h.silence.Swap(nil)
	h.mu.Unlock()
	if since != nil {
		p.Log.Info("an endpoint answers again", "endpoint", h.key.Address, "silent", time.Since(*since).Round(100*time.Millisecond))
		p.tell(h)
	}
}

// rest ends all that: no target has the endpoint any more. The lock is held.
func (h *host) rest() {
	if h.trying != nil {
		h.trying()
		h.trying = nil
	}
	h.silence.Store(nil)
}

// tell has the balancers know whether an endpoint is silent.
func (p *Proxy) tell(h *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := h.silence.Load() != nil
	for _, c := range p.clusters {
		i := slices.IndexFunc(c.members, func(m balance.Member) bool { return m.Value == any(h) })
		if i < 0 || c.members[i].Silent == silent {
			continue
		}
		c.members = slices.Clone(c.members)
		c.members[i].Silent = silent
		c.pool.Update(c.members, p.clock())
	}
}
