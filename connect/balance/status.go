package balance

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// State is an endpoint as it stands.
type State struct {
	Key     string
	State   string // in service, silent, ejected, unhealthy or on trial
	Reason  string // why it is ejected
	For     time.Duration
	Left    time.Duration // until it comes back
	Level   uint8
	Weight  uint32
	Active  int64
	Latency time.Duration // by the moving average, 0 when it has not answered
}

// Status is a pool as it stands.
type Status struct {
	Name      string
	Empty     string // why there are no endpoints, as far as it is known
	Panics    bool   // endpoints get traffic that should not
	Endpoints []State
}

// Status returns how the pool and its endpoints stand.
func (p *Pool) Status(now time.Duration) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Name: p.name, Empty: p.policy.Empty, Panics: p.view.Load().panics}
	for _, m := range p.members {
		e := p.endpoints[m.Key]
		s := State{Key: m.Key, State: "in service", Level: m.Level, Weight: max(m.Weight, 1), Active: e.Active(), For: now - e.health.since}
		if e.cost.packed.Load() != 0 {
			s.Latency = time.Duration(e.cost.at(now, float64(p.policy.Decay), 0))
		}
		switch {
		case m.Silent:
			s.State = "silent"
		case e.health.until != 0:
			s.State, s.Reason, s.Left = "ejected", e.health.reason, max(0, e.health.until-now)
		case m.Unhealthy:
			s.State = "unhealthy"
		case e.health.probe.Load() != probeNone:
			s.State = "on trial"
		}
		st.Endpoints = append(st.Endpoints, s)
	}
	return st
}

// Unavailable is the error when no endpoint can be picked. It says of each why not.
type Unavailable struct {
	Status Status
}

// named is how many endpoints an error names.
const named = 5

// Error implements error.
func (u *Unavailable) Error() string {
	all := u.Status.Endpoints
	if len(all) == 0 {
		text := u.Status.Name + " has no endpoints"
		if why := u.Status.Empty; why != "" {
			text += ": " + why
		}
		return text
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s has no endpoint in service: ", u.Status.Name)
	for i, s := range all {
		if i == named {
			fmt.Fprintf(&b, " and %d more", len(all)-named)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s for %v", s.Key, s.State, s.For.Round(100*time.Millisecond))
		if s.Reason != "" {
			fmt.Fprintf(&b, " (%s)", s.Reason)
		}
	}
	return b.String()
}

func (p *Pool) unavailable(now time.Duration) error { return &Unavailable{p.Status(now)} }

// Wait blocks while the pool has no endpoint that can be picked: until there is one, ctx ends, or there has been none
// for patience. Who comes after that is not kept waiting: the pool fails fast until an endpoint is back. now is the
// clock of the other methods.
func (p *Pool) Wait(ctx context.Context, now func() time.Duration, patience time.Duration) error {
	for {
		if at := now(); at >= time.Duration(p.due.Load()) {
			p.tick(at)
		}
		p.mu.Lock()
		ready, changed, since := len(p.view.Load().levels) > 0, p.changed, p.unready
		p.mu.Unlock()
		if ready {
			return nil
		}
		at := now()
		left := since + patience - at
		if left <= 0 {
			return p.unavailable(at)
		}
		timer := time.NewTimer(min(left, max(time.Duration(p.due.Load())-at, time.Millisecond)))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}
