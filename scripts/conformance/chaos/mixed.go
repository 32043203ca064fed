//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// fault is one thing that happens to a leader.
type fault struct {
	name string
	root bool // it needs a lab with networks
	// reached says that clients can still expect an answer of the leader.
	reached bool
	make    func(*run, *server) error
}

var faults = []fault{
	{"kill -9", false, false, func(_ *run, s *server) error { return s.host.Kill() }},
	{"SIGTERM", false, false, func(_ *run, s *server) error { return s.host.Stop(30 * time.Second) }},
	{"SIGSTOP", false, false, func(_ *run, s *server) error { return s.host.Freeze() }},
	{"cut off", true, false, func(r *run, s *server) error { return r.links(s, r.cut) }},
	{"deaf", true, false, func(r *run, s *server) error { return r.links(s, r.deafen) }},
	{"mute", true, false, func(r *run, s *server) error { return r.links(s, r.silence) }},
	{"50±20 ms and 5 % loss", true, true, func(r *run, s *server) error { return r.links(s, r.worsen) }},
}

// links does something to each link between a server and another one.
func (r *run) links(s *server, do func(s, other *server) error) error {
	var errs []error
	for _, o := range r.others(s) {
		errs = append(errs, do(s, o))
	}
	return errors.Join(errs...)
}

// What a link can suffer: it carries nothing, nothing to the server or nothing from it, or all of it late and not everything.
func (r *run) cut(s, other *server) error     { return r.lab.SetLinks(s.host, other.host, lab.Cut) }
func (r *run) deafen(s, other *server) error  { return r.lab.SetLink(other.host, s.host, lab.Cut) }
func (r *run) silence(s, other *server) error { return r.lab.SetLink(s.host, other.host, lab.Cut) }
func (r *run) worsen(s, other *server) error {
	return r.lab.SetLinks(s.host, other.host, func(l *lab.Link) {
		l.Delay, l.Jitter, l.Loss = 30*time.Millisecond, 40*time.Millisecond, 0.05
	})
}

// mixed is R1 at its full size: one fault after the other, in an order by chance, while three times as many clients as
// otherwise use the cluster.
func mixed(ctx context.Context, r *run) error {
	length := 2 * time.Minute
	if r.long {
		length = 30 * time.Minute
	}
	counts := map[string]int{}
	made, total := 0, 0
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; {
		f := faults[rand.IntN(len(faults))]
		if f.root && !r.lab.Root {
			continue
		}
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		avoid := []*server{leader}
		if f.reached {
			avoid = nil
		}
		_, p, err := r.during(ctx, func() error { return f.make(r, leader) }, avoid...)
		if err == nil {
			pause(ctx, rand.N(8*time.Second)) // a frozen server wakes before, or after, it is thought dead
			if leader.host.Running() {
				err = leader.host.Thaw()
			}
		}
		if err == nil {
			err = r.again(ctx, p)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		counts[f.name]++
		made, total = made+1, total+len(p.acked)
		pause(ctx, rand.N(2*time.Second))
	}
	r.show("faults in "+short(length), "%d: %v", made, counts)
	r.show("acknowledged writes that were looked for", "%d, all there", total)
	return nil
}

// loneKill is R3 with one server: it is killed again and again, at moments that chance picks, while clients write.
func loneKill(ctx context.Context, r *run) error {
	return r.kills(ctx, (*lab.Host).Kill, "kills", "R3 acknowledged writes lost when the only server is killed", 25)
}

// allKill is R3 with three: all are killed at once, and begin again with what is on their disks.
func allKill(ctx context.Context, r *run) error {
	return r.kills(ctx, (*lab.Host).Kill, "kills", "R3 acknowledged writes lost when all servers are killed at once", 5)
}

// lonePower is R3 with one server, whose machine loses its power: what it has not synced is gone.
func lonePower(ctx context.Context, r *run) error {
	return r.kills(ctx, (*lab.Host).CutPower, "power cuts", "R3 acknowledged writes lost when the only server loses its power", 10)
}

// allPower is the same for three servers at once.
func allPower(ctx context.Context, r *run) error {
	return r.kills(ctx, (*lab.Host).CutPower, "power cuts", "R3 acknowledged writes lost when all servers lose their power at once", 5)
}

// kills ends all servers at once in some way, as often as the run has rounds, and looks for what was acknowledged after
// every few.
func (r *run) kills(ctx context.Context, end func(*lab.Host) error, ends, what string, few int) error {
	looked := 0
	for done := 0; done < r.rounds; {
		p := startProbe(ctx, r.cluster, fmt.Sprintf("probe/%s/%d", r.name, done))
		var err error
		for n := 0; n < few && done < r.rounds && err == nil; n++ {
			pause(ctx, rand.N(300*time.Millisecond))
			err = r.killAll(ctx, end, p)
			done++
		}
		p.end()
		if err = errors.Join(err, r.again(ctx, p)); err != nil {
			return fmt.Errorf("after %d %s: %w", done, ends, err)
		}
		looked += len(p.acked)
		for _, s := range r.servers {
			if _, err := r.api.ask(ctx, s, "DELETE", "/v1/kv/"+p.prefix+"/?recurse", nil); err == nil {
				break // what was found need not be found again
			}
		}
	}
	r.check(!r.failed, what, "0", "0 of %d in %d %s", looked, r.rounds, ends)
	return nil
}

// killAll ends all servers, starts them again, and waits until a write is acknowledged.
func (r *run) killAll(ctx context.Context, end func(*lab.Host) error, p *probe) error {
	var errs []error
	for _, s := range r.servers {
		errs = append(errs, end(s.host))
	}
	for _, s := range r.servers {
		errs = append(errs, s.host.Start())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	start := time.Now()
	for ; !p.acknowledged(start); pause(ctx, beat) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(start) > longest {
			return fmt.Errorf("nothing is written %s after all servers began again", longest)
		}
	}
	return nil
}
