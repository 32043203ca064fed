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
	"github.com/curia-mesh/curia/rpc/pause"
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

// fate is why a connection was given up.
type fate struct{ why atomic.Pointer[silentError] }

func (f *fate) lost() error {
	if why := f.why.Load(); why != nil {
		return why
	}
	return nil
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
	switch {
	case err == nil:
		return directly(conn), nil
	case context.Cause(ctx) == errSilent:
		err = &silentError{h.key.Address, time.Since(begun)}
	}
	return nil, err
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
	for rest := firstTry; ; rest = min(2*rest, lastTry) {
		err := h.once(ctx, p, whole)
		if ctx.Err() != nil {
			return
		}
		if !silence(err) {
			h.sound(ctx, p)
			return
		}
		h.hush(p, tryWithin, ctx)
		if !pause.For(ctx, rest-rand.N(rest/4)) { // not all at once who lost it at once
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
