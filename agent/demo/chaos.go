package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
)

// teller tells those who watch.
type teller func(format string, args ...any)

// How long the traffic is watched after something broke, and after it was healed; and how long any of it may take.
const (
	watchTime = 3 * time.Second
	healTime  = 30 * time.Second
)

// havoc breaks one thing after the other, says what it does to the traffic, and heals each. What is broken is healed too
// when ctx ends.
func (d *Demo) havoc(ctx context.Context, say teller) error {
	steps := []func(context.Context, teller) error{d.killInstance, d.killInstances, d.killServer}
	if d.Datacenters > 1 {
		steps = append(steps, d.cutDatacenter)
	}
	before := d.mesh.stats()
	for i, step := range steps {
		if i > 0 {
			say("")
		}
		if err := step(ctx, say); err != nil {
			return err
		}
	}
	total := 0
	failed := 0
	for i, f := range d.mesh.stats() {
		of := f.since(before[i])
		total, failed = total+of.Requests, failed+of.Failed
	}
	say("\nEverything is as it was. %s.", requests(total, failed))
	return nil
}

func requests(total, failed int) string {
	switch failed {
	case 0:
		return fmt.Sprintf("%d requests meanwhile, none failed", total)
	case 1:
		return fmt.Sprintf("%d requests meanwhile, 1 failed", total)
	}
	return fmt.Sprintf("%d requests meanwhile, %d failed", total, failed)
}

// killInstance kills one of the instances of api in the first datacenter.
func (d *Demo) killInstance(ctx context.Context, say teller) error {
	flow, apis := d.mesh.flows[0], d.mesh.apis[d.datacenters()[0]]
	say("1. One of %d instances of api in dc1 is killed.", len(apis))
	before := flow.again()
	apis[0].down()
	err := pause(ctx, watchTime)
	say("   %s: %s asks the other one at once.", outcome(flow, before), "the sidecar of web")
	if up := apis[0].up(); err == nil {
		err = up
	}
	if err == nil {
		say("   It is back.")
	}
	return err
}

// killInstances kills all instances of api in the first datacenter.
func (d *Demo) killInstances(ctx context.Context, say teller) error {
	flow, apis := d.mesh.flows[0], d.mesh.apis[d.datacenters()[0]]
	say("2. All %d instances of api in dc1 are killed.", len(apis))
	before := flow.again()
	for _, a := range apis {
		a.down()
	}
	err := pause(ctx, watchTime)
	say("   %s.", outcome(flow, before))
	before = flow.again()
	for _, a := range apis {
		if up := a.up(); up != nil {
			return up
		}
	}
	began := time.Now()
	say("   They are back.")
	if err == nil {
		err = flow.until(ctx, func(f Flow) bool { return f.LastBy == "dc1" && f.since(before).AnsweredBy["dc1"] > 0 })
	}
	if err != nil {
		return err
	}
	say("   dc1 answers again after %s.", short(time.Since(began)))
	return nil
}

// killServer kills the server that leads the first datacenter, and starts it again.
func (d *Demo) killServer(ctx context.Context, say teller) error {
	dc := d.datacenters()[0]
	servers, flow := d.in(dc, true), d.mesh.flows[0]
	leader, err := d.leader(ctx, servers[0], nil)
	if err != nil {
		return err
	}
	before := flow.again()
	began := time.Now()
	if len(servers) < 3 {
		say("3. The server %s is killed. There is no other that could lead, so nothing can be written; the mesh goes on with what it knows.", leader.Name)
		d.crash(leader)
		err = pause(ctx, watchTime)
	} else {
		say("3. The server %s, which leads dc1, is killed.", leader.Name)
		d.crash(leader)
		i := slices.IndexFunc(servers, func(s *place) bool { return s != leader })
		var next *place
		if next, err = d.leader(ctx, servers[i], leader); err == nil {
			say("   %s leads after %s.", next.Name, short(time.Since(began)))
			err = pause(ctx, watchTime)
		}
	}
	say("   %s.", outcome(flow, before))
	began = time.Now()
	if launched := d.launch(leader); launched != nil {
		return launched
	}
	late, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	if awaited := d.await(late, leader); err == nil {
		err = awaited
	}
	if err == nil {
		say("   %s is back after %s, with all it knew.", leader.Name, short(time.Since(began)))
	}
	return err
}

// cutDatacenter freezes every agent of the second datacenter.
func (d *Demo) cutDatacenter(ctx context.Context, say teller) (err error) {
	dc := d.datacenters()[1]
	agents := append(d.in(dc, true), d.in(dc, false)...)
	flow := d.mesh.flows[0]
	say("4. %s is cut off: all its agents are frozen, so that nobody hears of them.", dc)
	before := flow.again()
	for _, a := range agents {
		if err = d.process(a).freeze(); err != nil {
			break
		}
	}
	if err == nil {
		if err = pause(ctx, watchTime); err == nil {
			err = d.cutOff(ctx, dc, say)
		}
	}
	for _, a := range agents {
		if thawed := d.process(a).thaw(); err == nil {
			err = thawed
		}
	}
	if err != nil {
		return err
	}
	say("   dc1: %s.", outcome(flow, before))
	began := time.Now()
	far := d.mesh.flows[1]
	then := far.again()
	if err := far.until(ctx, func(f Flow) bool { return f.since(then).Requests > f.since(then).Failed }); err != nil {
		return err
	}
	say("   %s goes on; its web is answered after %s.", dc, short(time.Since(began)))
	return nil
}

// cutOff asks the first datacenter what it knows of one that cannot be reached.
func (d *Demo) cutOff(ctx context.Context, dc string, say teller) error {
	api, err := d.ask(d.in(d.datacenters()[0], true)[0])
	if err != nil {
		return err
	}
	defer api.Close()
	began := time.Now()
	if _, _, err = api.Catalog().Nodes(ctx, client.Query{}); err != nil {
		return err
	}
	say("   dc1 answers for itself in %s.", short(time.Since(began)))
	return nil
}

// crash kills an agent.
func (d *Demo) crash(a *place) {
	d.mu.Lock()
	p := d.running[a.Name]
	delete(d.running, a.Name) // so that nobody takes it for a fault
	d.mu.Unlock()
	p.kill()
}

// leader waits until a server says that one leads who is not the one before, and returns that.
func (d *Demo) leader(ctx context.Context, ask, before *place) (*place, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, healTime, fmt.Errorf("no server leads after %v", healTime))
	defer cancel()
	api, err := d.ask(ask)
	if err != nil {
		return nil, err
	}
	defer api.Close()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		var at string
		if _, err := api.Do(ctx, "GET", "/v1/status/leader", client.Query{}, nil, &at); err != nil {
			return nil, because(ctx, err)
		}
		for _, a := range d.in(ask.Datacenter, true) {
			if a != before && a.address(serverPort) == at {
				return a, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// until waits until the traffic is as wanted.
func (f *flow) until(ctx context.Context, wanted func(Flow) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, healTime, fmt.Errorf("the traffic is not well after %v", healTime))
	defer cancel()
	for {
		now, changed := f.look()
		if wanted(now) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// outcome says what became of the traffic since before.
func outcome(f *flow, before Flow) string {
	now, _ := f.look()
	of := now.since(before)
	by := "nobody"
	if len(of.AnsweredBy) > 0 {
		var parts []string
		for _, dc := range slices.Sorted(maps.Keys(of.AnsweredBy)) {
			parts = append(parts, fmt.Sprintf("%s (%d)", dc, of.AnsweredBy[dc]))
		}
		by = strings.Join(parts, " and ")
	}
	text := fmt.Sprintf("%s; answered by %s, the slowest within %s", requests(of.Requests, of.Failed), by, short(time.Duration(now.Slowest*float64(time.Second))))
	if of.Failed > 0 {
		text += fmt.Sprintf("; the last failure: %.200s", now.LastError)
	}
	return text
}

func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
