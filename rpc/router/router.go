// Package router knows which server to try next: those of the own datacenter that gossip holds for alive, in an
// order of its own on each agent, so that the agents spread over the servers.
package router

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
)

// NoServers is what a call says that there is no server to send to. Clients know the words.
const NoServers = "No known Consul servers"

// Options configure a Router. A zero field means its default.
type Options struct {
	// Pool makes the connections. Required.
	Pool *rpc.Pool
	// Datacenter is whose servers are used. Required.
	Datacenter string
	// Hold is for how long after its first failure a call is tried again; default 7 s.
	Hold time.Duration
	// Decode makes the errors of the router itself, as in rpc.PoolOptions.
	Decode rpc.DecodeError
	// Reads reports whether a method changes nothing, so that it can be asked again when it is not known whether
	// a server has acted on it. Nil is that none does.
	Reads func(method string) bool
	// Elsewhere reports whether another server may answer a read that one has answered with this error. Nil is
	// that none may.
	Elsewhere func(error) bool
	// Reached hears when a server answers for the first time, and again after none could be reached. Nil is nobody.
	Reached func()
	// Abroad is whether Datacenter is another one than the agent's: then what becomes of calls is not counted among
	// those to the agent's own servers, nor told.
	Abroad bool
	// Key is by what the pool connects to a server; nil is its address.
	Key func(gossip.Server) string
	// Nodes is how many nodes the pool has: the more, the rarer the rebalancing. Nil is one.
	Nodes func() int
	// Log may be nil.
	Log *slog.Logger
}

// defaultHold is longer than an election takes.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general (rpc_hold_timeout)
const defaultHold = 7 * time.Second

// Router is the rpc.Caller of an agent that runs no server. Its methods may be called from any goroutine.
type Router struct {
	o    Options
	list list
	// away is why no server can be reached; empty while one can be, or before one was.
	away  atomic.Pointer[string]
	begun atomic.Bool // a server has answered
}

// New returns a router that knows no servers: see SetMembers.
func New(o Options) *Router {
	if o.Hold == 0 {
		o.Hold = defaultHold
	}
	if o.Reads == nil {
		o.Reads = func(string) bool { return false }
	}
	if o.Elsewhere == nil {
		o.Elsewhere = func(error) bool { return false }
	}
	if o.Reached == nil {
		o.Reached = func() {}
	}
	if o.Nodes == nil {
		o.Nodes = func() int { return 1 }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Key == nil {
		o.Key = func(s gossip.Server) string { return s.Addr.String() }
	}
	return &Router{o: o, list: newList(o.Key)}
}

// Call sends a call to the server in use, and to the others when that fails, until one answers. A call that a
// server may have acted on is sent again only when it reads. When all have failed it waits for a moment and
// begins anew, for the time of Options.Hold.
func (r *Router) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	return attempt(ctx, r, call, r.o.Hold, func(to *rpc.Target, call *rpc.Call) (rpc.Answer, error) { return to.Call(ctx, call) })
}

// Once is a way to the servers that tries each of them once and holds nothing: for those who can do without an
// answer, or try again by themselves.
func (r *Router) Once() rpc.Caller { return once{r} }

type once struct{ *Router }

// Call implements rpc.Caller.
func (o once) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	return attempt(ctx, o.Router, call, 0, func(to *rpc.Target, call *rpc.Call) (rpc.Answer, error) { return to.Call(ctx, call) })
}

// Open makes a call that a stream answers, at the first server that can be reached.
func (r *Router) Open(ctx context.Context, call *rpc.Call) (*rpc.Stream, error) {
	return attempt(ctx, r, call, r.o.Hold, func(to *rpc.Target, call *rpc.Call) (*rpc.Stream, error) { return to.Open(ctx, call) })
}

// attempt runs do with one server after the other until it succeeds, fails for good, or has failed for as long
// as hold, and with each server.
func attempt[T any](ctx context.Context, r *Router, call *rpc.Call, hold time.Duration, do func(*rpc.Target, *rpc.Call) (T, error)) (T, error) {
	var zero T
	start := time.Now()
	var failing time.Time      // since when
	tried := map[string]bool{} // in this round, by address
	var last error             // of a server
	r.count(calls)
	for {
		to, changed, any := r.list.next(tried)
		if to == "" {
			if !any && last == nil {
				last = r.make("unavailable", NoServers)
				r.lost(last)
				return zero, last
			}
			if link := (*rpc.LinkError)(nil); errors.As(last, &link) {
				r.lost(last)
			}
			if !r.rest(ctx, changed, failing, hold) {
				return zero, last
			}
			clear(tried)
			continue
		}
		v, err := do(r.o.Pool.To(to), shortened(call, start))
		link := (*rpc.LinkError)(nil)
		if ctx.Err() == nil && !errors.As(err, &link) {
			r.found()
		}
		if err == nil || ctx.Err() != nil {
			return v, err
		}
		r.count(failures)
		if failing.IsZero() {
			failing = time.Now()
		}
		tried[to], last = true, err
		switch {
		case link != nil:
			if r.list.demote(to) {
				r.o.Log.Debug("server moved to the back of the list", "addr", to, "err", err)
			}
			if link.Sent && !r.o.Reads(call.Method) {
				return zero, err
			}
		case !r.o.Reads(call.Method) || !r.o.Elsewhere(err) || time.Since(start) >= r.o.Hold:
			return zero, err // a server has held it already
		}
	}
}

// Names of the metrics, as Consul's dashboards know them; the last one is our own.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/telemetry
var (
	calls     = []string{"client", "rpc"}
	failures  = []string{"client", "rpc", "failed"}
	reachable = []string{"client", "servers_reachable"}
)

func (r *Router) count(name []string) {
	if !r.o.Abroad {
		metrics.IncrCounter(name, 1)
	}
}

// lost notes that no server can be reached, and says so once.
func (r *Router) lost(err error) {
	if r.o.Abroad {
		return
	}
	why := err.Error()
	if r.begun.Load() && r.away.CompareAndSwap(nil, &why) {
		metrics.SetGauge(reachable, 0)
		r.o.Log.Warn("no server can be reached: what was asked before is answered as it was last known, and changes wait until a server is back", "err", err)
	}
}

// found notes that a server answers, and tells whoever waited for that.
func (r *Router) found() {
	if r.o.Abroad || r.begun.Load() && r.away.Load() == nil {
		return
	}
	first := r.begun.CompareAndSwap(false, true)
	if !first && r.away.Swap(nil) == nil {
		return // another call was first
	}
	metrics.SetGauge(reachable, 1)
	if !first {
		r.o.Log.Info("the servers can be reached again")
	}
	r.o.Reached()
}

func (r *Router) make(code, msg string) error {
	if r.o.Decode == nil {
		return &rpc.RemoteError{Code: code, Msg: msg}
	}
	return r.o.Decode(code, msg)
}

// rest waits before another round, for a moment or until there are other servers. It reports whether there is to
// be one.
func (r *Router) rest(ctx context.Context, changed <-chan struct{}, failing time.Time, hold time.Duration) bool {
	if hold == 0 || time.Since(failing) >= hold {
		return false
	}
	pause := time.NewTimer(hold/restShare + rand.N(hold/restShare+1)) // many agents must not come back at once
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-changed:
	case <-ctx.Done():
		return false
	}
	return true
}

// restShare of the hold is the shortest pause between two rounds; the longest is twice as long.
const restShare = 32

// shortened is a call that waits for a change no longer than is left of its wait.
func shortened(call *rpc.Call, start time.Time) *rpc.Call {
	spent := time.Since(start)
	if call.Header.MaxWait == 0 || spent < time.Second {
		return call
	}
	c := *call
	c.Header.MaxWait = max(c.Header.MaxWait-spent, time.Millisecond)
	return &c
}
