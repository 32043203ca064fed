//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ejectedBy is the goal of P2: no request goes to an instance that has died for so long.
const ejectedBy = time.Second

// ejects is how many failures in a row take an instance out of service.
const ejects = 5

// watched is for how long after a death it is looked whether requests still go to who has died.
const watched = 3 * time.Second

// stopped is for how long an instance is stopped: longer than anybody waits for it.
const stopped = patience + 5*time.Second

// victims are three instances of which one after the other dies. The sidecars of the first two are the node's, those of the last
// die with it.
type victims struct {
	*mesh
	all        []*victim
	page, line string // where the sidecar of web takes what is for them
}

// deaths is what was seen of one way to die.
type deaths struct {
	what    string
	n       int
	failed  map[*kind]int64 // of one client after one death, at most
	total   int64
	ejected time.Duration // until the last request went to who had died, at least
	apart   time.Duration // two looks were, at most: it may have gone so much later
	late    int           // attempts to reach one after twice the time that is the goal, at most
}

// bearable reports whether no client lost more than it may.
func (d *deaths) bearable() bool {
	for k, n := range d.failed {
		if n > k.mayLose {
			return false
		}
	}
	return true
}

// by is what a client of each kind lost.
func (d *deaths) by() string {
	var all []string
	for k, n := range d.failed {
		all = append(all, fmt.Sprintf("%s %d", k.what, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// newVictims starts them. Two of their services are upstreams of web.
func (m *mesh) newVictims(ctx context.Context) (*victims, error) {
	p, err := ports(2 * 3)
	if err != nil {
		return nil, err
	}
	v := &victims{mesh: m, page: m.page, line: m.line}
	for _, e := range []map[string]any{{"Kind": "service-defaults", "Name": "page", "Protocol": "http"}, allow("page", false), allow("line", false)} {
		if err := m.put(ctx, m.server, "/v1/config", e); err != nil {
			return nil, err
		}
	}
	for i := range 3 {
		one := &victim{id: fmt.Sprint("-", i+1), ports: [2]int{p[2*i], p[2*i+1]}, alone: i == 2}
		v.all = append(v.all, one)
		m.dying = append(m.dying, one)
		if err := v.back(ctx, one); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// back starts a victim and waits until it takes requests.
func (v *victims) back(ctx context.Context, one *victim) error {
	if err := one.start(ctx, v.mesh); err != nil {
		return err
	}
	for i, name := range names {
		if err := v.listed(ctx, name, name+one.id, true); err != nil {
			return err
		}
		if err := until(ctx, name+one.id+" is in service", func() error { return v.inService(ctx, one.ports[i], true) }); err != nil {
			return err
		}
	}
	return nil
}

// inService fails unless an endpoint of web's upstreams is in service, or is not.
func (v *victims) inService(ctx context.Context, port int, wanted bool) error {
	var all []struct{ Address, State string }
	if err := v.get(ctx, v.client, "/v1/agent/connect/proxy/endpoints", &all); err != nil {
		return err
	}
	state := "unknown"
	for _, e := range all {
		if strings.HasSuffix(e.Address, ":"+strconv.Itoa(port)) {
			state = e.State
		}
	}
	if (state == "in service") != wanted {
		return fmt.Errorf("it is %s", state)
	}
	return nil
}

// clients use the victims, each over a connection of its own. Of connections of TCP a client may lose two: the one that was open,
// and one by which a sidecar finds that its application is gone.
func (v *victims) clients() []*kind {
	return []*kind{
		{what: "HTTP/1.1", clients: 8, beat: 10 * time.Millisecond, serve: requests("http://"+v.page, stays), mayLose: 1},
		{what: "HTTP/2", clients: 8, beat: 10 * time.Millisecond, serve: requests("http://"+v.page, http2), mayLose: 1},
		{what: "TCP", clients: 6, beat: 10 * time.Millisecond, serve: talks(v.line), mayLose: 2},
		{what: "TCP, new connections", clients: 4, beat: 20 * time.Millisecond, serve: calls(v.line), mayLose: 2},
	}
}

// run kills each victim so often.
func (v *victims) run(ctx context.Context, rounds int) (all []*deaths, err error) {
	l := startLoad(v.clients())
	defer l.end()
	app := &deaths{what: "an application is killed", failed: map[*kind]int64{}}
	both := &deaths{what: "an application is killed with its sidecar", failed: map[*kind]int64{}}
	for range rounds {
		for _, one := range v.all {
			pause(ctx, time.Second)
			d := app
			if one.alone {
				d = both
			}
			if err := v.die(ctx, l, d, one); err != nil {
				return nil, fmt.Errorf("%s: %w", d.what, err)
			}
			if err := errors.Join(one.remove(ctx, v.mesh), v.back(ctx, one)); err != nil {
				return nil, err
			}
		}
	}
	return []*deaths{app, both}, ctx.Err()
}

// die kills one and looks what becomes of the requests.
func (v *victims) die(ctx context.Context, l *load, d *deaths, one *victim) error {
	before := map[*client]int64{}
	for _, k := range l.kinds {
		for _, c := range k.all {
			before[c] = c.failed.Load()
		}
	}
	tried, err := v.refusals(ctx)
	if err != nil {
		return err
	}
	at, last, first := time.Now(), time.Duration(0), tried
	if err := one.kill(); err != nil {
		return err
	}
	late, looked := 0, time.Duration(0)
	for time.Since(at) < watched && ctx.Err() == nil {
		n, err := v.refusals(ctx)
		if err != nil {
			return err
		}
		if n != tried {
			if last = looked; last > 2*ejectedBy {
				late += n - tried
			}
			tried = n
		}
		now := time.Since(at)
		d.apart, looked = max(d.apart, now-looked), now
		pause(ctx, 10*time.Millisecond)
	}
	d.n++
	d.ejected, d.late = max(d.ejected, last), max(d.late, late)
	lost := int64(0)
	for _, k := range l.kinds {
		for _, c := range k.all {
			n := c.failed.Load() - before[c]
			lost += n
			d.failed[k] = max(d.failed[k], n)
		}
	}
	d.total += lost
	progress("%s: %d requests failed, %d attempts to reach it, the last after %s", d.what, lost, tried-first, short(last))
	if lost == 0 && tried == first {
		return errors.New("nobody noticed: the load is too little")
	}
	return ctx.Err()
}

// refusals is how often a sidecar of the node could not connect, to another or to its application: nothing else is gone. What the
// sidecars of line count of their application is left out: they also look whether it is there when the agent's check of their port comes.
func (v *victims) refusals(ctx context.Context) (n int, err error) {
	err = v.metric(ctx, v.metrics+"/metrics", "curia_proxy_connect_failures_total", func(labels string, value int) {
		if !strings.HasPrefix(labels, `{listener="line`) {
			n += value
		}
	})
	return n, err
}

// stop stops processes (SIGSTOP) and has them go on after longer than anybody waits: the first one's application, then the last
// one's with its sidecars.
func (v *victims) stop(ctx context.Context) (all []*deaths, err error) {
	for _, one := range []*victim{v.all[0], v.all[2]} {
		l := startLoad(v.clients())
		d := &deaths{what: "an application is stopped (SIGSTOP)", n: 1, failed: map[*kind]int64{}}
		if one.alone {
			d.what = "an application is stopped with its sidecar"
		}
		pause(ctx, time.Second)
		if err := one.signal(syscall.SIGSTOP); err != nil {
			return nil, err
		}
		at := time.Now()
		d.ejected = stopped
		for time.Since(at) < stopped && ctx.Err() == nil {
			if d.ejected == stopped && v.inService(ctx, one.ports[0], false) == nil {
				d.ejected = time.Since(at)
			}
			pause(ctx, 50*time.Millisecond)
		}
		if err := one.signal(syscall.SIGCONT); err != nil {
			return nil, err
		}
		l.end()
		for _, k := range l.kinds {
			for _, c := range k.all {
				d.failed[k] = max(d.failed[k], c.failed.Load())
			}
			d.total += k.failed.Load()
		}
		progress("%s: %d requests failed; out of service after %s", d.what, d.total, short(d.ejected))
		all = append(all, d)
	}
	return all, ctx.Err()
}

// killed reports what was seen of victims that were killed.
func (r *results) killed(d *deaths) {
	r.check(d.bearable(), fmt.Sprintf("P2 failed requests of one client each time %s, %d times", d.what, d.n), "≤ 1 for a connection", "%s at most; %d in all", d.by(), d.total)
	r.figure(d.ejected <= ejectedBy, fmt.Sprintf("P2 requests still go to it, %s", d.what), fmt.Sprint("≤ ", ejectedBy), "%s at most, as seen by looks up to %s apart", short(d.ejected), short(d.apart))
	r.check(d.late <= ejects, fmt.Sprintf("P2 of which after %s, %s", 2*ejectedBy, d.what), fmt.Sprint("≤ ", ejects), "%d at most", d.late)
}

// stopped reports what was seen of one that was stopped: it has not died, so these are figures.
func (r *results) stopped(d *deaths) {
	r.figure(true, "failed requests of one client when "+d.what, "-", "%s at most; %d in all", d.by(), d.total)
	after := "after " + short(d.ejected)
	if d.ejected == stopped {
		after = "not in " + short(stopped)
	}
	r.figure(true, "it is out of service, "+d.what, "-", "%s", after)
}
