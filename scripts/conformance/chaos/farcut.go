//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// quick is how soon somebody has to know who asks a datacenter that cannot be reached.
const quick = 2 * time.Second

// farCut cuts a secondary datacenter off, for 30 s, or 10 min in a long run.
func farCut(ctx context.Context, r *run) error {
	length := 30 * time.Second
	if r.long {
		length = 10 * time.Minute
	}
	cut := r.world.dcs[1]
	var from, to time.Time
	t, err := r.broken(ctx, cut, func() error {
		if err := r.world.cutOff(cut); err != nil {
			return err
		}
		from = time.Now()
		pause(ctx, length)
		to = time.Now()
		return r.world.mend(cut)
	})
	if err != nil {
		return err
	}
	r.figure(t.remote.longest(from, to) <= quick, "calls to or from who is cut off for "+length.String()+" are answered", "≤ "+quick.String(), "%s at most, %d of %d with an error",
		short(t.remote.longest(from, to)), t.remote.failures(from, to), t.remote.sent(from, to))
	r.figure(t.query.longest(from, to) <= quick, "a prepared query is answered by the next datacenter", "≤ "+quick.String(), "%s at most, the first after %s",
		short(t.query.longest(from, to)), short(t.query.next(from, "dc3")))
	r.show("calls to and from it are well again after", "%s", short(t.remote.well(to)))
	return nil
}

// farFlap cuts the links of a secondary datacenter and mends them, 20 times, or 1,000 in a long run: each lasts between 50
// and 600 ms.
func farFlap(ctx context.Context, r *run) error {
	times := 20
	if r.long {
		times = 1000
	}
	span := func() time.Duration { return 50*time.Millisecond + rand.N(550*time.Millisecond) }
	cut := r.world.dcs[1]
	from := time.Now()
	t, err := r.broken(ctx, cut, func() error {
		for n := range times {
			if err := r.world.cutOff(cut); err != nil {
				return err
			}
			pause(ctx, span())
			if err := r.world.mend(cut); err != nil {
				return err
			}
			pause(ctx, span())
			if n%100 == 99 {
				progress("%d flaps", n+1)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	to := time.Now()
	r.show(fmt.Sprintf("calls over a link that flaps %d times", times), "%d of %d with an error, %s at most", t.remote.failures(from, to), t.remote.sent(from, to), short(t.remote.longest(from, to)))
	r.figure(t.query.longest(from, to) <= quick, "a prepared query is answered", "≤ "+quick.String(), "%s at most", short(t.query.longest(from, to)))
	return nil
}

// broken uses all datacenters while the links of one are broken by fault, and a while longer, and checks what has to hold:
// nobody at home notices, and nothing that is copied is lost.
func (r *run) broken(ctx context.Context, cut *cluster, fault func() error) (*traffic, error) {
	if err := r.world.far(ctx); err != nil {
		return nil, err
	}
	t := startTraffic(ctx, r.world, cut)
	defer t.end()
	pause(ctx, 2*time.Second)
	start := time.Now()
	if err := fault(); err != nil {
		return nil, err
	}
	healed, last := time.Now(), t.newest()
	err := eventually(ctx, settled, func(ctx context.Context) error {
		_, err := cut.api.ask(ctx, cut.agent, "GET", "/v1/acl/policy/"+last+"?token="+management, nil)
		return err
	})
	r.figure(err == nil && time.Since(healed) <= 10*time.Second, "what was written meanwhile is copied after", "≤ 10s", "%s%s", short(time.Since(healed)), because(err))
	pause(ctx, 5*time.Second)
	t.stop()
	if err := r.world.ready(ctx); err != nil {
		return nil, err
	}
	t.end()
	length := time.Since(start)
	for _, k := range t.local {
		least := int(length/(50*time.Millisecond)) * 8 / 10
		r.check(k.failed == 0 && k.count >= least, "calls "+k.what+" that failed", fmt.Sprintf("0 of ≥ %d", least), "%d of %d%s", k.failed, k.count, k.reason())
	}
	r.check(t.leaves.failed == 0 && t.leaves.count > 0, "certificates of who was cut off that failed", "0", "%d of %d%s", t.leaves.failed, t.leaves.count, t.leaves.reason())
	r.check(t.query.failed == 0 && t.query.count > 0, "prepared queries that failed", "0", "%d of %d%s", t.query.failed, t.query.count, t.query.reason())
	bad, total, err := t.lost(ctx)
	if err != nil {
		return nil, err
	}
	r.check(t.writes.failed == 0 && total > 0, "writes of what is copied that failed", "0", "%d of %d%s", t.writes.failed, t.writes.count, t.writes.reason())
	r.check(len(bad) == 0, "policies, tokens and config entries lost, back again, or there twice", "0", "%d of %d %q", len(bad), total, bad[:min(len(bad), 3)])
	lag := 0.0
	err = eventually(ctx, settled, func(ctx context.Context) error { // it is told every 10 s
		if lag, err = cut.lag(ctx); err == nil && lag > 60 {
			err = fmt.Errorf("its copies were last found so %.0f s ago", lag)
		}
		return err
	})
	r.check(err == nil && lag <= 60, "its copies were found to be as the primary's", "≤ 1m ago", "%.1f s ago%s", lag, because(err))
	return t, nil
}

// between are the calls that were sent or under way between two times.
func (k *calls) between(from, to time.Time) (some []call) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.all {
		if c.sent.Before(to) && c.sent.Add(c.took).After(from) {
			some = append(some, c)
		}
	}
	return some
}

// longest is how long a call of between took, after from.
func (k *calls) longest(from, to time.Time) (d time.Duration) {
	for _, c := range k.between(from, to) {
		d = max(d, min(c.took, c.sent.Add(c.took).Sub(from)))
	}
	return d
}

func (k *calls) sent(from, to time.Time) int { return len(k.between(from, to)) }

func (k *calls) failures(from, to time.Time) (n int) {
	for _, c := range k.between(from, to) {
		if c.err != nil {
			n++
		}
	}
	return n
}

// next is when after from somebody answered the first time.
func (k *calls) next(from time.Time, who string) time.Duration {
	d := time.Hour
	for _, c := range k.between(from, time.Now()) {
		if end := c.sent.Add(c.took).Sub(from); c.err == nil && c.from == who && end < d {
			d = end
		}
	}
	return d
}

// well is when the last call failed after a time, 0 if none has.
func (k *calls) well(after time.Time) (d time.Duration) {
	for _, c := range k.between(after, time.Now()) {
		if c.err != nil {
			d = max(d, c.sent.Add(c.took).Sub(after))
		}
	}
	return d
}

// sorted are the times of those that succeeded.
func (k *calls) sorted() (all []time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.all {
		if c.err == nil {
			all = append(all, c.took)
		}
	}
	slices.Sort(all)
	return all
}

func (k *calls) reason() string { return because(k.first) }
