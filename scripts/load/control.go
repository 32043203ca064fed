//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// benchControl measures the control plane: all sections, each with servers of its own.
func benchControl(ctx context.Context, r report.Report, o options) error {
	r.Line("- peers: %s; %s", peerVersion(ctx, "etcd", o.etcd, "--version"), peerVersion(ctx, "Consul", o.consul, "version"))
	var failed []string
	sections := []struct {
		name string
		run  func(context.Context, report.Report, options) error
	}{
		{"requests", benchRequests}, {"watchers", benchWatchers}, {"catalog", benchCatalog}, {"start and idle", benchLifecycle},
	}
	for _, s := range sections {
		if err := s.run(ctx, r, o); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			progress("%s: %v", s.name, err)
			r.Line("\n%s: not measured: %v", s.name, err)
			failed = append(failed, s.name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not measured: %s", strings.Join(failed, ", "))
	}
	return nil
}

// peerVersion names a peer with its version, or says that it is missing.
func peerVersion(ctx context.Context, name, path string, args ...string) string {
	if path == "" {
		return name + " is missing, its cells are \"-\" or recorded ones"
	}
	if v := version(ctx, path, args...); !strings.Contains(strings.ToLower(v), strings.ToLower(name)) {
		return name + " " + v
	} else {
		return v
	}
}

// server is one of those that the rows of requests compare.
type server struct {
	name   string
	proc   running
	at     netip.AddrPort
	behind netip.AddrPort // of a follower, where there are several servers
	wire   func(request) func(i, n int) wire
}

// to is where a row's requests go.
func (s server) to(q request) netip.AddrPort {
	if q.follower {
		return s.behind
	}
	return s.at
}

// benchRequests writes the table of requests.
func benchRequests(ctx context.Context, r report.Report, o options) error {
	var rows []request
	for _, q := range requests() {
		if o.wanted(q.key()) {
			rows = append(rows, q)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	servers, curia, stop, err := startServers(ctx, o)
	defer stop()
	if err != nil {
		return err
	}
	shown := map[string]figure{}
	var table, generator, checked [][]string
	var drift []string
	var crowd []float64
	var failed error
	for _, q := range rows {
		got, err := alternate(ctx, o, q, servers)
		if err == nil {
			err = profileRequest(ctx, o, curia, q)
		}
		if err != nil { // the other rows count all the same
			if failed = errors.Join(failed, fmt.Errorf("%s: %w", q.key(), err)); ctx.Err() != nil {
				return failed
			}
			progress("%s: %v", q.key(), err)
			continue
		}
		ours, etcd := got["Curia"], got["etcd"]
		shown[q.key()] = ours
		consul := got["Consul"].String()
		if !got["Consul"].known() {
			got["Consul"] = q.consul
			consul = recordedMark + q.consul.String()
		}
		if etcd.known() {
			drift = append(drift, fmt.Sprintf("%s %s the rate, %s the CPU", q.key(), times(over(etcd, q.etcdRec)),
				times(float64(etcd.cpu)/float64(q.etcdRec.cpu))))
		}
		table = append(table, []string{q.name, fmt.Sprint(q.clients), ours.String(), etcd.String(), times(over(ours, etcd)), consul,
			times(over(ours, got["Consul"])), q.goal.text, q.goal.verdict(ours, got, shown)})
		if o.acl {
			checked = append(checked, costOfACL(q, got))
		}
		crowd = append(crowd, ours.others)
		generator = append(generator, []string{q.key(), busy(ours), busy(etcd)})
	}
	r.Heading("Requests: a persistent server, fsync of every write")
	r.Table([]string{"request", "clients", "Curia", "etcd", "× etcd", "Consul", "× Consul", "goal", "met"}, table)
	if o.acl {
		showACL(r, checked)
	}
	if len(drift) > 0 {
		r.Line("\nThis machine in this run against the recorded one, by etcd: %s. The ratios to recorded figures are off by as much.", strings.Join(drift, "; "))
	}
	costs(r, []string{"request", "against Curia", "against etcd"}, generator, crowd)
	return failed
}

func over(a, b figure) float64 {
	if !a.known() || !b.known() {
		return 0
	}
	return a.rate / b.rate
}

// busy is what the generator took of one core (near 100 % it is the limit and not the server), and what
// others took.
func busy(f figure) string {
	if !f.known() {
		return "-"
	}
	return fmt.Sprintf("%s µs, %.0f %%; %.0f %%", report.Short(micros(f.own)), f.rate*f.own.Seconds()*100, f.others*100)
}

// startServers starts Curia and the peers there are, with data in them for the reads. stop is never nil.
func startServers(ctx context.Context, o options) (servers []server, curia *agent, stop func(), err error) {
	var started []*process
	stop = func() {
		for _, p := range started {
			p.stop()
		}
	}
	checks := ""
	if o.acl {
		checks = o.curia
	}
	for _, b := range []struct {
		name, path string
		more       map[string]any
	}{{"Curia", o.curia, nil}, {withACL, checks, checking()}, {"Consul", o.consul, nil}} {
		if b.path == "" {
			continue
		}
		a, err := newAgent(b.name, b.path, o.dir, true, o.profiles != "", b.more)
		if err != nil {
			return nil, nil, stop, err
		}
		if err = a.up(ctx); err == nil {
			started = append(started, a.process)
		}
		if err == nil {
			err = prepare(ctx, a)
		}
		if err == nil && b.name == withACL {
			err = confine(ctx, a)
		}
		if err != nil {
			return nil, nil, stop, err
		}
		if curia == nil {
			curia = a
		}
		servers = append(servers, server{name: b.name, proc: a.process, at: a.http, wire: onAgent})
	}
	if o.etcd != "" {
		p, at, err := startEtcd(ctx, o.etcd, o.dir)
		if err != nil {
			return nil, nil, stop, err
		}
		started = append(started, p)
		servers = append(servers, server{name: "etcd", proc: p, at: at, wire: onEtcd})
	}
	return servers, curia, stop, firstKeys(ctx, servers)
}

func onAgent(q request) func(i, n int) wire { return q.agent }
func onEtcd(q request) func(i, n int) wire  { return q.etcd }

// firstKeys gives every key its value, before anything is read.
func firstKeys(ctx context.Context, servers []server) error {
	for _, s := range servers {
		e, err := dial("tcp", s.at, 16, func(i int) wire { return s.wire(request{agent: kvPut, etcd: etcdPut})(i, 16) })
		if err == nil {
			_, _, err = loop(ctx, e, time.Minute, 2*keys, new(histogram))
			if n := e.failures(); err == nil && n > 0 {
				err = fmt.Errorf("%d writes of %d failed: %s", n, 2*keys, e.reason())
			}
			e.close()
		}
		if err != nil {
			return fmt.Errorf("write the first keys to %s: %w", s.name, err)
		}
	}
	return nil
}

// prepare registers the services that are read.
func prepare(ctx context.Context, a *agent) error {
	for _, n := range []int{1, 10, 100} {
		for i := range n {
			if err := a.put(ctx, "/v1/catalog/register", instance(serviceOf(n), i, 8080)); err != nil {
				return fmt.Errorf("register an instance: %w", err)
			}
		}
	}
	return nil
}

// alternate measures one row on each server in turn, as often as asked, and returns the medians.
func alternate(ctx context.Context, o options, q request, servers []server) (map[string]figure, error) {
	runs := map[string][]figure{}
	for run := range o.runs {
		for _, s := range servers {
			wires := s.wire(q)
			if wires == nil {
				continue
			}
			e, err := dial("tcp", s.to(q), q.clients, func(i int) wire { return wires(i, q.clients) })
			if err != nil {
				return nil, err
			}
			f, err := measure(ctx, s.proc, e, o.warm, o.length)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			progress("%s, %s, run %d: %s, generator %s", q.key(), s.name, run+1, f, busy(f))
			runs[s.name] = append(runs[s.name], f)
		}
	}
	got := map[string]figure{}
	for name, all := range runs {
		got[name] = medianOf(all)
	}
	return got, nil
}
