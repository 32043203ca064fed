//go:build linux

// Command churn changes everything around a mesh of real agents while clients use it, and counts what they notice. Nothing
// is the goal: no failed request, no cut stream. scripts/churn builds the program and calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// size is how much happens.
type size struct {
	changes   int // of config entries and intentions
	rotations int // of the root, and with it of every leaf certificate
	restarts  int // of each instance of the application
	agents    int // restarts of the node's agent
	away      time.Duration
	requests  int  // that are asked at least
	denials   int  // of both applications, when nobody else uses them
	kills     int  // of each victim
	stops     bool // victims are stopped too
	soak      time.Duration
	leaf      time.Duration // life of a certificate
}

var sizes = map[bool]size{
	false: {changes: 60, rotations: 4, restarts: 1, agents: 1, away: 5 * time.Second, requests: 5000, denials: 10, kills: 2, leaf: time.Hour},
	true:  {changes: 1000, rotations: 100, restarts: 25, agents: 5, away: 20 * time.Minute, requests: 200000, denials: 100, kills: 20, stops: true, soak: 30 * time.Minute, leaf: time.Hour},
}

func progress(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "churn: %s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, a...)...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	curia := flag.String("curia", "", "path of the program")
	dir := flag.String("dir", "", "directory for data")
	out := flag.String("o", "", "also write the report to this file")
	command := flag.String("command", "churn", "command to report")
	long := flag.Bool("long", false, "as much of everything as the goals want")
	if len(os.Args) == 2 && os.Args[1] == victimWord {
		fmt.Fprintln(os.Stderr, "churn:", beVictim())
		os.Exit(1)
	}
	only := flag.String("only", "", "one part: changes, denials or deaths")
	leaf := flag.Duration("leaf", 0, "life of leaf certificates; the servers are away for a third of it. 0 for an hour")
	minutes := flag.Int("minutes", -1, "how long the mesh soaks; -1 for what belongs to the size")
	flag.Parse()
	known := *only == "" || slices.ContainsFunc(parts, func(p part) bool { return p.name == *only })
	if *curia == "" || *dir == "" || flag.NArg() > 0 || !known {
		fmt.Fprintln(os.Stderr, "churn: use scripts/churn")
		os.Exit(2)
	}
	s := sizes[*long]
	if *leaf > 0 {
		s.leaf, s.away = *leaf, *leaf/3
	}
	if *minutes >= 0 {
		s.soak = time.Duration(*minutes) * time.Minute
	}
	r := results{command: *command, start: time.Now()}
	if err := r.run(ctx, *curia, *dir, *only, s); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
	if err := r.write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
	if r.failed {
		os.Exit(1)
	}
}

// results is what was seen.
type results struct {
	command string
	start   time.Time
	rows    [][3]string
	failed  bool
}

func (r *results) check(ok bool, what, goal, got string, a ...any) {
	met := goal
	if !ok {
		r.failed, met = true, goal+" **no**"
	}
	r.rows = append(r.rows, [3]string{what, fmt.Sprintf(got, a...), met})
}

// figure reports a time: a busy machine misses its goal too, so that fails nothing.
func (r *results) figure(ok bool, what, goal, got string, a ...any) {
	failed := r.failed
	r.check(ok, what, goal, got, a...)
	r.failed = failed
}

// part is a part of a run.
type part struct {
	name string
	run  func(*results, context.Context, *mesh, size) error
}

var parts = []part{{"changes", (*results).changes}, {"denials", (*results).denials}, {"deaths", (*results).deaths}}

// run starts the mesh and goes through the parts, or through one of them.
func (r *results) run(ctx context.Context, curia, dir, only string, s size) (err error) {
	m, err := newMesh(ctx, curia, dir, s.leaf)
	if err != nil {
		return fmt.Errorf("start the mesh: %w", err)
	}
	defer func() { err = errors.Join(err, m.close()) }()
	for _, p := range parts {
		if only != "" && p.name != only {
			continue
		}
		if err := p.run(r, ctx, m, s); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// waitedFor is the longest life of a certificate whose end is waited for.
const waitedFor = 10 * time.Minute

// changes changes everything under load (P1).
func (r *results) changes(ctx context.Context, m *mesh, s size) error {
	follow, enough := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer enough()
	following.Go(func() { m.proofs.follow(follow, m) })
	if err := until(ctx, "web has a certificate", m.proofs.some); err != nil {
		return err
	}
	begun := time.Now()
	l := startLoad(m.everything())
	defer l.end()
	c := &changes{mesh: m, size: s}
	if err := c.run(ctx); err != nil {
		return err
	}
	lived := time.Duration(0)
	if s.leaf <= waitedFor {
		lived = s.leaf + s.leaf/4
	}
	for (l.total() < int64(s.requests) || time.Since(begun) < lived) && ctx.Err() == nil {
		pause(ctx, 100*time.Millisecond)
	}
	l.end()
	for _, k := range l.kinds {
		r.check(k.failed.Load() == 0 && k.done.Load() > 0, k.what, "0 failed", "%d failed of %d%s", k.failed.Load(), k.done.Load(), k.why())
	}
	r.check(l.total() >= int64(s.requests), "requests in all", fmt.Sprint("≥ ", s.requests), "%d", l.total())
	r.check(c.changed >= s.changes, "changes of config entries and intentions", fmt.Sprint("≥ ", s.changes), "%d", c.changed)
	r.check(len(c.leaves) > s.rotations, "leaf certificates of one service that were in use", fmt.Sprint("> ", s.rotations), "%d", len(c.leaves))
	r.check(c.joined >= s.restarts*instances, "instances that left, and joined again", fmt.Sprint("≥ ", s.restarts*instances), "%d", c.joined)
	r.check(c.restarted >= s.agents, "restarts of the node's agent", fmt.Sprint("≥ ", s.agents), "%d", c.restarted)
	r.check(true, "without any server", short(s.away), "%s", short(s.away))
	m.proofs.report(r)
	for _, p := range c.soaked {
		r.soaked(p, s.soak)
	}
	return ctx.Err()
}

// denials measures how soon a denial holds (P3).
func (r *results) denials(ctx context.Context, m *mesh, s size) error {
	d, err := m.denials(ctx, s.denials)
	if err != nil {
		return err
	}
	took := worst(d.requests)
	r.check(took <= deniedBy, fmt.Sprintf("P3 requests go on after an intention denied them, p99 of %d", len(d.requests)), fmt.Sprint("≤ ", deniedBy), "%s", short(took))
	took = worst(d.conns)
	r.check(took <= cutBy, fmt.Sprintf("P3 an open connection of TCP lasts after an intention denied it, p99 of %d", len(d.conns)), fmt.Sprint("≤ ", cutBy), "%s", short(took))
	return nil
}

// deaths measures what is lost with instances that die (P2).
func (r *results) deaths(ctx context.Context, m *mesh, s size) error {
	v, err := m.newVictims(ctx)
	if err != nil {
		return err
	}
	killed, err := v.run(ctx, s.kills)
	if err != nil {
		return err
	}
	for _, d := range killed {
		r.killed(d)
	}
	if !s.stops {
		return nil
	}
	halted, err := v.stop(ctx)
	if err != nil {
		return err
	}
	for _, d := range halted {
		r.stopped(d)
	}
	return nil
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// write prints the report.
func (r *results) write(file string) error {
	out := io.Writer(os.Stdout)
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		defer f.Close()
		out = io.MultiWriter(out, f)
	}
	busy, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(out, "# Curia: a mesh under changes\n\n- command: `%s`, %s\n- %d cores; load average at the end %.14s; it took %s\n\n",
		r.command, time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), strings.TrimSpace(string(busy)), time.Since(r.start).Round(time.Second))
	fmt.Fprintln(out, "| what | measured | goal |\n| --- | --- | --- |")
	for _, row := range r.rows {
		fmt.Fprintf(out, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
	return nil
}
