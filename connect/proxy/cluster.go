package proxy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
)

// cluster is what is kept of a target from one snapshot to the next: how its endpoints do, what it is burdened with.
type cluster struct {
	key     clusterKey
	proxy   *Proxy
	pool    *balance.Pool
	limits  *balance.Limits
	budget  *balance.Budget
	breaker atomic.Pointer[balance.Breaker] // nil for none
	freed   chan struct{}                   // a place for a connection, while some wait for one

	ejections, overflows, unbudgeted atomic.Uint64
	warned                           scarce

	// Guarded by Proxy.mu: what it was told last.
	members []balance.Member
	policy  balance.Policy
	opens   balance.BreakerPolicy
}

// clusterKey tells clusters apart: another identity is another service.
type clusterKey struct {
	listener, target       string
	certs                  Certs
	identities, serverName string
}

// Of the requests of the last ten seconds so many percent may be retried, and so many a second more.
const (
	budgetPercent   = 20
	budgetPerSecond = 10
)

func newCluster(p *Proxy, key clusterKey) *cluster {
	c := &cluster{
		key: key, proxy: p, limits: balance.NewLimits(0, 0, 0, 0), budget: balance.NewBudget(budgetPercent, budgetPerSecond),
		freed: make(chan struct{}, 1),
	}
	c.pool = balance.New(key.target, c.policy, p.clock(), c.observe)
	return c
}

// update tells the cluster what a target says now. Proxy.mu is held.
func (c *cluster) update(t *Target, now time.Duration) {
	if c.policy != t.Balance {
		c.policy = t.Balance
		c.pool.SetPolicy(t.Balance, now)
	}
	members := make([]balance.Member, 0, len(t.Endpoints))
	for i, e := range t.Endpoints {
		key := e.Address
		if e.Network != "tcp" {
			key = e.Network + ":" + e.Address
		}
		members = append(members, balance.Member{Key: key, Weight: e.Weight, Level: e.Level, Unhealthy: e.Unhealthy, Silent: t.hosts[i].silence.Load() != nil, Registered: e.Registered, Value: t.hosts[i]})
	}
	if !slices.Equal(members, c.members) {
		c.members = members
		c.pool.Update(members, now)
	}
	c.limits.Connections.Set(or(t.Limits.Connections, defaultLimit))
	c.limits.Pending.Set(or(t.Limits.Pending, defaultLimit))
	c.limits.Requests.Set(or(t.Limits.Requests, defaultLimit))
	switch {
	case t.Breaker == nil:
		c.breaker.Store(nil)
	case c.breaker.Load() == nil || c.opens != *t.Breaker:
		c.opens = *t.Breaker
		c.breaker.Store(balance.NewBreaker(c.opens))
	}
}

// event is something that a balancer did, to be logged.
type event struct {
	balance.Event
	of *cluster
}

// maxEvents is how many wait to be logged. There is no room for more only while the log is stuck.
const maxEvents = 256

// observe passes on what the pool does. It is called with the pool locked.
func (c *cluster) observe(e balance.Event) {
	if e.Kind == balance.Ejected {
		c.ejections.Add(1)
	}
	select {
	case c.proxy.events <- event{e, c}:
	default:
	}
}

func (e event) log(l *slog.Logger) {
	l = l.With("listener", e.of.key.listener, "target", e.of.key.target)
	switch e.Kind {
	case balance.Ejected:
		l.Warn("endpoint taken out of service", "endpoint", e.Key, "reason", e.Reason, "for", e.For)
	case balance.Returned:
		l.Info("endpoint back in service", "endpoint", e.Key)
	case balance.PanicBegins:
		l.Warn("too few endpoints are in service, all get traffic")
	case balance.PanicEnds:
		l.Info("enough endpoints are in service again")
	case breakerOpens:
		l.Warn("circuit breaker opened", "reason", e.Reason)
	case breakerCloses:
		l.Info("circuit breaker closed")
	}
}

// warn says what goes wrong with requests, once in a while: there may be thousands a second.
func (c *cluster) warn(text string, err error) {
	if others, say := c.warned.again(c.proxy.clock()); say {
		c.proxy.Log.Warn(text, "listener", c.key.listener, "target", c.key.target, "err", err, "others", others)
	}
}

// Kinds of events beside the pool's own.
const (
	breakerOpens balance.EventKind = 100 + iota
	breakerCloses
)

// ready is what balance.Pool.Ready says of the endpoints of a target.
func (t *Target) ready() (ready, some bool) { return t.cluster.pool.Ready(t.cluster.proxy.clock()) }

// await waits for an endpoint as long as the target wants it, unless there has been none for that long. It reports whether there
// is one.
func (t *Target) await(ctx context.Context) bool {
	c, patience := t.cluster, or(t.Patience, defaultPatience)
	if patience < 0 || !c.limits.Pending.Enter() {
		return false
	}
	defer c.limits.Pending.Leave()
	return c.pool.Wait(ctx, c.proxy.clock, patience) == nil
}

// pick returns an endpoint, which counts as busy until done. When there is none it waits for one, where no other target
// stands in. Those to avoid come last, and before them, where last is set, those that are out of service. It also tells when
// that was, where it is told when it was asked.
func (t *Target) pick(now time.Time, hash uint64, alone, last bool, avoid ...*balance.Endpoint) (*balance.Endpoint, time.Time, error) {
	c := t.cluster
	e, err := c.pool.Pick(c.proxy.at(now), hash, avoid...)
	if err != nil {
		if !alone || !t.await(context.Background()) {
			return nil, now, err
		}
		now = time.Now()
		if e, err = c.pool.Pick(c.proxy.at(now), hash, avoid...); err != nil {
			return nil, now, err
		}
	}
	if last && slices.Contains(avoid, e) {
		e = or(c.pool.Resting(avoid...), e)
	}
	e.Begin()
	return e, now, nil
}

// done says how it went with an endpoint that was picked, and how long it took.
func (c *cluster) done(e *balance.Endpoint, took time.Duration, out balance.Outcome) {
	c.pool.Done(e, c.proxy.clock(), took, out)
}

// retry reports whether the budget allows another attempt.
func (c *cluster) retry() bool {
	if c.budget.Retry(c.proxy.clock()) {
		return true
	}
	c.unbudgeted.Add(1)
	return false
}

// retryAfter is retry after a connection that could not be made. The budget keeps attempts from adding to the load of those
// who bear it: who refuses a connection, or has heard nothing of it, has been burdened with nothing.
func (c *cluster) retryAfter(err error) bool {
	return turnedAway(err) || errors.Is(err, errSilent) || c.retry()
}

// kept is what is kept of an endpoint.
func kept(e *balance.Endpoint) *host { return e.Value().(*host) }

// overflow is why something is turned away that a limit leaves no room for.
type overflow struct{ target, what string }

// Error implements error.
func (o overflow) Error() string { return o.target + " has its limit of " + o.what + " at a time" }

// enter takes a place for a request, and for a connection where it needs one of its own, which it may have to wait for.
// An error is an overflow. Otherwise leave follows.
func (c *cluster) enter(t *Target) error {
	if !c.limits.Requests.Enter() {
		c.overflows.Add(1)
		return overflow{c.key.target, "requests"}
	}
	if err := c.connect(t); err != nil {
		c.limits.Requests.Leave()
		return err
	}
	return nil
}

func (c *cluster) leave() {
	c.disconnect()
	c.limits.Requests.Leave()
}

// connect takes a place for a connection.
func (c *cluster) connect(t *Target) error {
	if c.limits.Connections.Enter() {
		return nil
	}
	if !c.limits.Pending.Enter() {
		c.overflows.Add(1)
		return overflow{c.key.target, "connections and of requests that wait for one"}
	}
	defer c.limits.Pending.Leave()
	late := time.NewTimer(or(t.ConnectTimeout, defaultConnectTimeout))
	defer late.Stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for !c.limits.Connections.Enter() {
		select {
		case <-c.freed:
		case <-again.C: // two who do not fit may each have been in the way of the other
		case <-late.C:
			c.overflows.Add(1)
			return overflow{c.key.target, "connections, and none ended in time,"}
		}
	}
	c.wake() // there may be room for another
	return nil
}

const lookAgain = 20 * time.Millisecond

func (c *cluster) disconnect() {
	c.limits.Connections.Leave()
	c.wake()
}

// wake has one of those who wait look whether there is room.
func (c *cluster) wake() {
	if c.limits.Pending.Inside() == 0 {
		return
	}
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// allow asks the breaker, and report tells it.
func (c *cluster) allow() (balance.Pass, error) {
	if b := c.breaker.Load(); b != nil {
		return b.Allow(c.proxy.clock())
	}
	return false, nil
}

func (c *cluster) report(pass balance.Pass, out balance.Outcome) {
	b := c.breaker.Load()
	if b == nil {
		return
	}
	before := b.Open()
	b.Report(c.proxy.clock(), pass, out)
	if after := b.Open(); after != before {
		kind := breakerCloses
		if after {
			kind = breakerOpens
		}
		c.observe(balance.Event{Kind: kind, Reason: b.Reason()})
	}
}

// Cluster is how a target stands.
type Cluster struct {
	Listener string
	balance.Status
	Connections, Pending, Requests   int // at present
	Ejections, Overflows, Unbudgeted uint64
	BreakerOpen                      bool
	BreakerReason                    string
}

// Clusters is how the targets stand, in no order.
func (p *Proxy) Clusters() []Cluster {
	p.mu.Lock()
	all := make([]*cluster, 0, len(p.clusters))
	for _, c := range p.clusters {
		all = append(all, c)
	}
	p.mu.Unlock()
	states := make([]Cluster, 0, len(all))
	for _, c := range all {
		s := Cluster{
			Listener: c.key.listener, Status: c.pool.Status(p.clock()),
			Connections: c.limits.Connections.Inside(), Pending: c.limits.Pending.Inside(), Requests: c.limits.Requests.Inside(),
			Ejections: c.ejections.Load(), Overflows: c.overflows.Load(), Unbudgeted: c.unbudgeted.Load(),
		}
		if b := c.breaker.Load(); b != nil {
			s.BreakerOpen, s.BreakerReason = b.Open(), b.Reason()
		}
		states = append(states, s)
	}
	return states
}
