//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
	"github.com/curia-mesh/curia/scripts/report"
)

// scenario is one way to break a cluster, and what has to hold meanwhile and afterwards.
type scenario struct {
	name string
	// rounds is how often it happens: in a run of a merge, and in a long one. With 0 a merge leaves it out, unless it is
	// asked for.
	rounds, long int
	// root says that it needs a lab with networks and disks.
	root bool
	// least is how many calls a second must be answered: with fewer the judge's verdict means nothing.
	least int
	run   func(context.Context, *run) error
	// own says what it needs that others do not have; a scenario with a cluster of its own comes last.
	own
}

// own is what is particular about a scenario's cluster and its clients. The zero value is what most have.
type own struct {
	clock  bool // servers whose clocks can be set
	alone  bool // one server
	power  bool // servers whose power can be cut
	groups int  // how many groups of clients use it, 0 for one; each group has its objects
	far    bool // three datacenters; the clients use the primary one
	quiet  bool // no clients
}

// sites are where the hosts stand: servers, and at the end of each the host of clients.
func (o own) sites() (all []lab.Site) {
	sites, prefix := []lab.Site{{}}, ""
	if o.far {
		sites = []lab.Site{{Name: "dc1"}, {Name: "dc2"}, {Name: "dc3"}}
	}
	for _, s := range sites {
		if s.Name != "" {
			prefix = s.Name + "-"
		}
		for i := range o.servers() {
			s.Hosts = append(s.Hosts, fmt.Sprintf("%ss%d", prefix, i+1))
		}
		s.Hosts = append(s.Hosts, prefix+"client")
		all = append(all, s)
	}
	return all
}

// between is how far datacenters are from one another.
func (o own) between() (l lab.Link) {
	if o.far {
		l.Delay = roundTrip / 2
	}
	return l
}

func (o own) servers() int {
	if o.alone {
		return 1
	}
	return 3
}

var scenarios = []scenario{
	{"leader-kill", 4, 100, false, 40, leaderKill, own{}},
	{"leader-exit", 4, 50, false, 40, leaderExit, own{}},
	{"leader-cut", 2, 30, true, 40, leaderCut, own{}},
	{"leader-deaf", 1, 15, true, 40, leaderDeaf, own{}},
	{"leader-mute", 1, 15, true, 40, leaderMute, own{}},
	{"leader-stop", 1, 15, false, 40, leaderStop, own{}},
	{"bad-network", 1, 5, true, 10, badNetwork, own{}},
	{"slow-disk", 1, 5, true, 10, slowDisk, own{}},
	{"full-disk", 1, 5, true, 40, fullDisk, own{}},
	{"failed-sync", 1, 5, true, 40, failedSync, own{}},
	{"rolling-restart", 1, 30, false, 40, rollingRestart, own{}},
	{"rolling-upgrade", 0, 5, false, 40, rollingUpgrade, own{}},
	{"rolling-reboot", 1, 30, false, 20, rollingReboot, own{}},
	{"no-quorum", 1, 1, false, 0, noQuorum, own{}},
	{"mixed", 1, 1, false, 167, mixed, own{groups: 3}},
	{"all-kill", 2, 300, false, 3, allKill, own{}},
	{"lone-kill", 25, 1000, false, 20, loneKill, own{alone: true}},
	{"lone-power", 0, 200, true, 10, lonePower, own{alone: true, power: true}},
	{"all-power", 0, 50, true, 3, allPower, own{power: true}},
	{"clock-jump", 0, 10, false, 40, clockJump, own{clock: true}},
	{"far-read", 0, 1, true, 0, farRead, own{far: true, quiet: true}},
	{"far-wait", 0, 1, true, 0, farWait, own{far: true, quiet: true}},
	{"far-cut", 0, 1, true, 10, farCut, own{far: true}},
	{"far-flap", 0, 1, true, 10, farFlap, own{far: true}},
	{"far-mesh", 0, 1, true, 0, farMesh, own{far: true, quiet: true}},
	{"far-service", 0, 1, true, 0, farService, own{far: true, quiet: true}},
}

// run is one scenario on one cluster.
type run struct {
	*cluster
	rounds int
	long   bool
	load   *load
	rows   *[]row
	failed bool
	name   string
	older  string          // the binary of the release before
	healed []time.Duration // from the end of each fault until all servers took part again
}

// row is one figure beside its goal.
type row struct {
	scenario, what, got, goal, met string
	failed                         bool // the run fails with it
}

// check adds a row that the run stands or falls with.
func (r *run) check(ok bool, what, goal, got string, args ...any) {
	r.failed = r.failed || !ok
	r.add(ok, !ok, what, goal, fmt.Sprintf(got, args...))
}

// figure adds a row about a time. A machine that is busy with other things misses its goal too, so it fails nothing.
func (r *run) figure(ok bool, what, goal, got string, args ...any) {
	r.add(ok, false, what, goal, fmt.Sprintf(got, args...))
}

func (r *run) add(ok, failed bool, what, goal, got string) {
	met := "yes"
	if !ok {
		met = "**no**"
	}
	*r.rows = append(*r.rows, row{r.name, what, got, goal, met, failed})
	progress("%s: %s: %s (goal %s): %s", r.name, what, got, goal, met)
}

func (r *run) show(what, got string, args ...any) {
	*r.rows = append(*r.rows, row{r.name, what, fmt.Sprintf(got, args...), "", "-", false})
	progress("%s: %s: %s", r.name, what, fmt.Sprintf(got, args...))
}

// gaps checks the times without a write against the goals of a median and a 99th percentile; 0 asks nothing.
func (r *run) gaps(what string, all []time.Duration, median, p99 time.Duration) {
	slices.Sort(all)
	var goals []string
	if median > 0 {
		goals = append(goals, fmt.Sprintf("p50 ≤ %s", median))
	}
	if p99 > 0 {
		goals = append(goals, fmt.Sprintf("p99 ≤ %s", p99))
	}
	ok := (median == 0 || report.Quantile(all, 0.5) <= median) && (p99 == 0 || report.Quantile(all, 0.99) <= p99)
	r.figure(ok, what, strings.Join(goals, ", "), "p50 %s, p99 %s of %d", short(report.Quantile(all, 0.5)), short(report.Quantile(all, 0.99)), len(all))
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }

// longest is how long the worst fault may keep everybody from writing before the run gives up.
const longest = 45 * time.Second

// during probes while a fault is made and until writes are acknowledged again. It returns how long none was, and the
// probe. avoid are servers that clients cannot be expected to ask.
func (r *run) during(ctx context.Context, fault func() error, avoid ...*server) (time.Duration, *probe, error) {
	p := startProbe(ctx, r.cluster, fmt.Sprintf("probe/%s/%d", r.name, time.Now().UnixNano()), avoid...)
	for end := time.Now().Add(5 * time.Second); !p.acknowledged(time.Time{}) && time.Now().Before(end); {
		pause(ctx, beat)
	}
	pause(ctx, 500*time.Millisecond)
	from := time.Now()
	err := fault()
	// One acknowledgement may be of a write that was on its way: the fault has to be over for a while.
	for end := from.Add(longest); err == nil && ctx.Err() == nil; pause(ctx, beat) {
		if time.Since(from) > time.Second && p.steady() {
			break
		}
		if time.Now().After(end) {
			err = fmt.Errorf("nothing is written %s after the fault", longest)
		}
	}
	p.end()
	return p.gap(from), p, err
}

// again heals everything, starts who is down and waits for a whole cluster. It also looks for what was acknowledged.
func (r *run) again(ctx context.Context, probes ...*probe) error {
	start := time.Now()
	if err := r.lab.Heal(); err != nil {
		return err
	}
	for _, s := range r.servers {
		if !s.host.Running() {
			if err := s.host.Start(); err != nil {
				return err
			}
		}
	}
	if err := r.ready(ctx, settled); err != nil {
		return err
	}
	r.healed = append(r.healed, time.Since(start))
	lost, total := []string{}, 0
	for _, p := range probes {
		gone, err := p.lost(ctx)
		if err != nil {
			return err
		}
		lost, total = append(lost, gone...), total+len(p.acked)
	}
	if len(lost) > 0 {
		r.check(false, "acknowledged writes lost", "0", "%d of %d: %q", len(lost), total, lost[:min(len(lost), 3)])
	}
	return nil
}

// leaderKill is R6: kill -9 of the leader.
func leaderKill(ctx context.Context, r *run) error {
	var gaps []time.Duration
	for range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		gap, p, err := r.during(ctx, leader.host.Kill, leader)
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
		if err := r.again(ctx, p); err != nil {
			return err
		}
	}
	r.gaps("R6 nobody can write after kill -9 of the leader", gaps, 2*time.Second, 4*time.Second)
	return nil
}

// leaderExit is R8: the leader is asked to end.
func leaderExit(ctx context.Context, r *run) error {
	var gaps []time.Duration
	for range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		gap, p, err := r.during(ctx, func() error { return leader.host.Stop(30 * time.Second) }, leader)
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
		if err := r.again(ctx, p); err != nil {
			return err
		}
	}
	r.gaps("R8 nobody can write after SIGTERM of the leader", gaps, 0, 500*time.Millisecond)
	return nil
}

// leaderCut is R7: the leader loses the other servers, and its clients do not lose it.
func leaderCut(ctx context.Context, r *run) error {
	return r.partition(ctx, "R7 nobody can write after the leader was cut off", r.cut)
}

// leaderDeaf and leaderMute are the two halves of it: the leader hears nobody, or nobody hears it.
func leaderDeaf(ctx context.Context, r *run) error {
	return r.partition(ctx, "R7 after the leader hears nobody", r.deafen)
}

func leaderMute(ctx context.Context, r *run) error {
	return r.partition(ctx, "R7 after nobody hears the leader", r.silence)
}

func (r *run) partition(ctx context.Context, what string, cut func(leader, other *server) error) error {
	var gaps, reads, writes []time.Duration
	for range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		old := r.watchOld(leader)
		gap, p, err := r.during(ctx, func() error {
			old.begin()
			return r.links(leader, cut)
		}, leader)
		last, longestWrite := old.end()
		if err != nil {
			return err
		}
		gaps, reads, writes = append(gaps, gap), append(reads, last), append(writes, longestWrite)
		if err := r.again(ctx, p); err != nil {
			return err
		}
	}
	slices.Sort(reads)
	slices.Sort(writes)
	r.gaps(what, gaps, 2500*time.Millisecond, 4500*time.Millisecond)
	r.figure(report.Quantile(reads, 1) <= 600*time.Millisecond, "R7 the old leader answers default reads for", "≤ 600ms", "%s at most", short(report.Quantile(reads, 1)))
	r.check(report.Quantile(writes, 1) < wait+5*time.Second, "R7 the old leader answers a write after", "an error, no hang", "%s at most", short(report.Quantile(writes, 1)))
	return nil
}

// oldLeader asks a leader that was cut off.
type oldLeader struct {
	r      *run
	s      *server
	start  time.Time
	cancel context.CancelFunc
	done   chan struct{}
	last   time.Duration // when the last default read was answered
	write  time.Duration // how long a write took to be refused
}

func (r *run) watchOld(s *server) *oldLeader {
	return &oldLeader{r: r, s: s, done: make(chan struct{})}
}

// begin is called when the cut is made.
func (o *oldLeader) begin() {
	ctx, cancel := context.WithCancel(context.Background()) // ended by end
	o.start, o.cancel = time.Now(), cancel
	written := make(chan struct{})
	go func() { // ends with the answer
		defer close(written)
		ctx, stop := context.WithTimeout(context.Background(), wait+5*time.Second)
		defer stop()
		pause(ctx, 100*time.Millisecond)
		sent := time.Now()
		o.r.api.do(ctx, o.s, "PUT", "/v1/kv/old", []byte("x"))
		o.write = time.Since(sent)
	}()
	go func() { // ends with ctx
		defer close(o.done)
		for ctx.Err() == nil {
			one, stop := context.WithTimeout(ctx, 2*time.Second)
			a, err := o.r.api.do(one, o.s, "GET", "/v1/kv/ready/?recurse", nil)
			if stop(); err == nil && a.status == http.StatusOK {
				o.last = time.Since(o.start)
			}
			pause(ctx, 10*time.Millisecond)
		}
		<-written
	}()
}

func (o *oldLeader) end() (lastRead, write time.Duration) {
	if o.cancel == nil {
		return 0, 0
	}
	o.cancel()
	<-o.done
	return o.last, o.write
}

// leaderStop freezes the leader for 10 s, as a hung machine does.
func leaderStop(ctx context.Context, r *run) error {
	var gaps []time.Duration
	for range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		gap, p, err := r.during(ctx, leader.host.Freeze, leader)
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
		pause(ctx, max(0, 10*time.Second-gap))
		if err := leader.host.Thaw(); err != nil {
			return err
		}
		if err := r.again(ctx, p); err != nil {
			return err
		}
	}
	r.gaps("nobody can write after SIGSTOP of the leader", gaps, 2500*time.Millisecond, 4500*time.Millisecond)
	return nil
}

// badNetwork delays and loses what servers send one another.
func badNetwork(ctx context.Context, r *run) error {
	for range r.rounds {
		gap, p, err := r.during(ctx, func() error {
			for i, a := range r.servers {
				for _, b := range r.servers[i+1:] {
					if err := r.worsen(a, b); err != nil {
						return err
					}
				}
			}
			pause(ctx, 15*time.Second)
			return nil
		})
		if err != nil {
			return err
		}
		r.show("nobody can write at 50±20 ms and 5 % loss for", "%s at most; %d probes acknowledged", short(gap), len(p.acked))
		if err := r.again(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// slowDisk makes each sync of the leader take 200 ms longer.
func slowDisk(ctx context.Context, r *run) error {
	for range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		gap, p, err := r.during(ctx, func() error {
			if err := leader.host.SetDisk(lab.Disk{Slow: 200 * time.Millisecond}); err != nil {
				return err
			}
			pause(ctx, 8*time.Second)
			return nil
		})
		if err != nil {
			return err
		}
		r.show("nobody can write while the leader's disk takes 200 ms more a sync", "%s at most; %d probes acknowledged", short(gap), len(p.acked))
		if err := r.again(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// fullDisk and failedSync are R4.
func fullDisk(ctx context.Context, r *run) error {
	return r.badDisk(ctx, "R4 nobody can write after the leader's disk is full", lab.Disk{Full: true})
}

func failedSync(ctx context.Context, r *run) error {
	return r.badDisk(ctx, "R4 nobody can write after the leader's disk fails to sync", lab.Disk{FailSync: true})
}

func (r *run) badDisk(ctx context.Context, what string, d lab.Disk) error {
	var gaps []time.Duration
	for range r.rounds {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		gap, p, err := r.during(ctx, func() error { return leader.host.SetDisk(d) }, leader)
		if err != nil {
			return err
		}
		gaps = append(gaps, gap)
		now, err := r.leader(ctx)
		if err != nil {
			return err
		}
		r.check(now != leader, "R4 a server with such a disk steps down", "yes", "%t", now != leader)
		if err := leader.host.AwaitExit(20 * time.Second); err == nil {
			r.show("the server with such a disk", "has ended")
		} else {
			r.show("the server with such a disk", "runs on")
		}
		if err := r.again(ctx, p); err != nil {
			return err
		}
	}
	r.gaps(what, gaps, 2*time.Second, 4*time.Second)
	return nil
}

// rollingRestart is R9: one server after the other is restarted, and each time the gate is our own answer
// that the cluster is whole.
func rollingRestart(ctx context.Context, r *run) error {
	for range r.rounds {
		if err := r.roll(ctx, "during three planned restarts", func(*server) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// rollingUpgrade is R9 with two releases: each server is restarted as the older one, and then as the newer one again.
func rollingUpgrade(ctx context.Context, r *run) error {
	for range r.rounds {
		for _, binary := range []string{r.older, r.binary} {
			what := "during three planned upgrades"
			if binary == r.older {
				what = "during three planned downgrades"
			}
			if err := r.roll(ctx, what, func(s *server) error { return r.launch(s, binary) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// roll ends one server after the other as planned, the leader last, and starts it by do, or as it was.
func (r *run) roll(ctx context.Context, when string, do func(*server) error) error {
	leader, err := r.leader(ctx)
	if err != nil {
		return err
	}
	reads := startReads(ctx, r.cluster)
	var total time.Duration
	for _, s := range append(r.others(leader), leader) {
		reads.without(s)
		gap, p, err := r.during(ctx, func() error { return s.host.Stop(30 * time.Second) }, s)
		if err == nil {
			err = do(s)
		}
		if err == nil {
			err = r.again(ctx, p)
		}
		if err != nil {
			reads.end()
			return err
		}
		total += gap
	}
	reads.end()
	r.figure(total <= 1500*time.Millisecond, "R9 nobody can write "+when, "≤ 1.5s", "%s in all", short(total))
	r.check(reads.failed == 0 && reads.count >= 100, "R9 stale reads that failed "+when, "0 of ≥ 100", "%d of %d%s", reads.failed, reads.count, reads.reason())
	r.check(reads.dnsFailed == 0 && reads.dns >= 100, "R9 DNS answers that failed "+when, "0 of ≥ 100", "%d of %d%s", reads.dnsFailed, reads.dns, reads.reason())
	return nil
}

// noQuorum is R11: two of three servers are down.
func noQuorum(ctx context.Context, r *run) error {
	length := 10 * time.Second
	if r.long {
		length = time.Minute
	}
	survivor := r.servers[0]
	for _, s := range r.others(survivor) {
		if err := s.host.Kill(); err != nil {
			return err
		}
	}
	reads := startReads(ctx, r.cluster)
	reads.only(survivor)
	pause(ctx, length)
	reads.end()
	r.check(reads.failed == 0 && reads.count >= 50, "R11 stale reads without a quorum that failed", "0 of ≥ 50", "%d of %d%s", reads.failed, reads.count, reads.reason())
	r.figure(report.Quantile(reads.took, 0.99) <= 20*time.Millisecond, "R11 their latency", "p99 ≤ 20ms", "p50 %s, p99 %s", reads.at(0.5), reads.at(0.99))
	return r.again(ctx)
}
