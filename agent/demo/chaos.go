package demo

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/rpc/pause"
)

// havoc breaks things, one after the other, tells what that does to the traffic, and heals them.
type havoc struct {
	*Demo
	say   func(format string, args ...any)
	watch time.Duration // how long the traffic is watched after something broke
}

// maxWatch bounds how long the traffic is watched, and healTime how long anything that is waited for may take.
const (
	maxWatch = 10 * time.Minute
	healTime = 30 * time.Second
)

// run does all of it. What is broken is healed too when ctx ends.
func (d *havoc) run(ctx context.Context) error {
	steps := []func(context.Context) error{d.killInstance, d.killInstances, d.killServer}
	if d.Datacenters > 1 {
		steps = append(steps, d.cutDatacenter)
	}
	before := d.mesh.stats()
	for i, step := range steps {
		if i > 0 {
			d.say("")
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	total := 0
	failed := 0
	for i, f := range d.mesh.stats() {
		of := f.since(before[i])
		total, failed = total+of.Requests, failed+of.Failed
	}
	d.say("\nEverything is as it was. %s.", requests(total, failed))
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
func (d *havoc) killInstance(ctx context.Context) error {
	flow, apis := d.mesh.flows[0], d.mesh.apis[d.datacenters()[0]]
	d.say("1. One of %d instances of api in dc1 is killed. What its sidecar cannot hand to it, web's sidecar asks the other one.", len(apis))
	if err := d.settled(ctx, d.datacenters()[0]); err != nil {
		return err
	}
	before := flow.again()
	apis[0].down()
	err := d.observe(ctx)
	d.say("   %s.", outcome(flow, before))
	if up := apis[0].up(); err == nil {
		err = up
	}
	if err == nil {
		d.say("   It is back.")
	}
	return err
}

// settled blocks until web's sidecar in a datacenter has all instances of api there in service.
func (d *havoc) settled(ctx context.Context, dc string) error {
	api, err := d.ask(d.home(dc))
	if err != nil {
		return err
	}
	defer api.Close()
	for index := uint64(0); ; {
		var known []struct{ Target, ID, State string }
		meta, err := api.Do(ctx, http.MethodGet, "/v1/agent/connect/proxy/endpoints", client.Query{Index: index}, nil, &known)
		if err != nil {
			return err
		}
		ready := map[string]bool{}
		for _, e := range known {
			if strings.HasPrefix(e.Target, "api.default.default."+dc) && e.State == "in service" {
				ready[e.ID] = true
			}
		}
		if len(ready) >= apiInstances {
			return nil
		}
		index = meta.Index
	}
}

// killInstances kills all instances of api in the first datacenter.
func (d *havoc) killInstances(ctx context.Context) error {
	flow, apis := d.mesh.flows[0], d.mesh.apis[d.datacenters()[0]]
	d.say("2. All %d instances of api in dc1 are killed. %s", len(apis), d.standIn())
	before := flow.again()
	for _, a := range apis {
		a.down()
	}
	err := d.observe(ctx)
	d.say("   %s.", outcome(flow, before))
	before = flow.again()
	for _, a := range apis {
		if up := a.up(); up != nil {
			return up
		}
	}
	began := time.Now()
	d.say("   They are back.")
	if err == nil {
		err = flow.until(ctx, func(f Flow) bool { return f.LastBy == "dc1" && f.since(before).AnsweredBy["dc1"] > 0 })
	}
	if err != nil {
		return err
	}
	d.say("   dc1 answers again after %s.", short(time.Since(began)))
	return nil
}

// standIn says who is asked when a datacenter has no instance of api.
func (d *havoc) standIn() string {
	if d.Datacenters == 1 {
		return "There is nobody else: requests wait 3 s for one, and fail."
	}
	return "Other datacenters stand in."
}

// killServer kills the server that leads the first datacenter, and starts it again.
func (d *havoc) killServer(ctx context.Context) error {
	dc := d.datacenters()[0]
	servers, flow := d.in(dc, true), d.mesh.flows[0]
	if len(servers) >= 3 {
		if err := d.tolerant(ctx, servers[0]); err != nil {
			return err
		}
	}
	leader, err := d.leader(ctx, servers[0], nil)
	if err != nil {
		return err
	}
	before := flow.again()
	began := time.Now()
	if len(servers) < 3 {
		d.say("3. The server %s is killed. There is no other that could lead, so nothing can be written; the mesh goes on with what it knows.", leader.Name)
		d.crash(leader)
		err = d.observe(ctx)
	} else {
		d.say("3. The server %s, which leads dc1, is killed.", leader.Name)
		d.crash(leader)
		i := slices.IndexFunc(servers, func(s *place) bool { return s != leader })
		var next *place
		if next, err = d.leader(ctx, servers[i], leader); err == nil {
			d.say("   %s leads after %s.", next.Name, short(time.Since(began)))
			err = d.observe(ctx)
		}
	}
	d.say("   %s.", outcome(flow, before))
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
		d.say("   %s is back after %s, with all it knew.", leader.Name, short(time.Since(began)))
	}
	return err
}

// cutDatacenter freezes every agent of the second datacenter.
func (d *havoc) cutDatacenter(ctx context.Context) (err error) {
	dc := d.datacenters()[1]
	agents := append(d.in(dc, true), d.in(dc, false)...)
	flow := d.mesh.flows[0]
	d.say("4. %s is cut off: all its agents are frozen, so that nobody hears of them.", dc)
	before, farBefore := flow.again(), d.mesh.far[0].again()
	for _, a := range agents {
		if err = d.process(a).freeze(); err != nil {
			break
		}
	}
	if err == nil {
		if err = d.observe(ctx); err == nil {
			err = d.cutOff(ctx, dc)
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
	d.say("   From dc1 to its own api: %s.", outcome(flow, before))
	d.say("   From dc1 to api of %s: %s.", dc, outcome(d.mesh.far[0], farBefore))
	began := time.Now()
	far := d.mesh.flows[1]
	then := far.again()
	if err := far.until(ctx, func(f Flow) bool { return f.since(then).Requests > f.since(then).Failed }); err != nil {
		return err
	}
	d.say("   %s goes on; its web is answered after %s.", dc, short(time.Since(began)))
	return nil
}

// cutOff asks the first datacenter what it knows of one that cannot be reached.
func (d *havoc) cutOff(ctx context.Context, dc string) error {
	api, err := d.ask(d.in(d.datacenters()[0], true)[0])
	if err != nil {
		return err
	}
	defer api.Close()
	began := time.Now()
	if _, _, err = api.Catalog().Nodes(ctx, client.Query{}); err != nil {
		return err
	}
	d.say("   dc1 answers for itself in %s.", short(time.Since(began)))
	return nil
}

// crash kills an agent.
func (d *havoc) crash(a *place) {
	d.mu.Lock()
	p := d.running[a.Name]
	delete(d.running, a.Name) // so that nobody takes it for a fault
	d.mu.Unlock()
	p.kill()
}

// tolerant waits until the servers of a datacenter can do without one.
func (d *havoc) tolerant(ctx context.Context, ask *place) error {
	return d.poll(ctx, ask, "the servers cannot do without one yet", func(ctx context.Context, api *client.Client) (bool, error) {
		var health struct{ FailureTolerance int }
		_, err := api.Do(ctx, http.MethodGet, "/v1/operator/autopilot/state", client.Query{}, nil, &health)
		return health.FailureTolerance > 0, err
	})
}

// leader waits until a server says that one leads who is not the one before, and returns that.
func (d *havoc) leader(ctx context.Context, ask, before *place) (leader *place, err error) {
	err = d.poll(ctx, ask, "no server leads", func(ctx context.Context, api *client.Client) (bool, error) {
		var at string
		_, err := api.Do(ctx, http.MethodGet, "/v1/status/leader", client.Query{}, nil, &at)
		for _, a := range d.in(ask.Datacenter, true) {
			if a != before && a.address(serverPort) == at {
				leader = a
			}
		}
		return leader != nil, err
	})
	return leader, err
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
	if of.Requests == 0 {
		return "no request has come to its end meanwhile"
	}
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

// observe lets the traffic go on while something is broken.
func (d *havoc) observe(ctx context.Context) error {
	pause.For(ctx, d.watch)
	return ctx.Err()
}
