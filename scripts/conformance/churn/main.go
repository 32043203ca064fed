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
	"strings"
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
	requests  int // that are asked at least
	denials   int // of both applications, when nobody else uses them
}

var sizes = map[bool]size{
	false: {changes: 60, rotations: 4, restarts: 1, agents: 1, away: 5 * time.Second, requests: 5000, denials: 10},
	true:  {changes: 1000, rotations: 100, restarts: 25, agents: 5, away: 10 * time.Minute, requests: 200000, denials: 100},
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
	flag.Parse()
	if *curia == "" || *dir == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "churn: use scripts/churn")
		os.Exit(2)
	}
	r := report{command: *command, start: time.Now()}
	if err := r.run(ctx, *curia, *dir, sizes[*long]); err != nil {
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

// report is what was seen.
type report struct {
	command string
	start   time.Time
	rows    [][3]string
	failed  bool
}

func (r *report) check(ok bool, what, goal, got string, a ...any) {
	met := goal
	if !ok {
		r.failed, met = true, goal+" **no**"
	}
	r.rows = append(r.rows, [3]string{what, fmt.Sprintf(got, a...), met})
}

// run starts the mesh, changes it under load and fills the report.
func (r *report) run(ctx context.Context, curia, dir string, s size) (err error) {
	m, err := newMesh(ctx, curia, dir)
	if err != nil {
		return fmt.Errorf("start the mesh: %w", err)
	}
	defer func() { err = errors.Join(err, m.close()) }()
	l := startLoad(m)
	defer l.end()
	c := &changes{mesh: m, size: s}
	if err := c.run(ctx); err != nil {
		return err
	}
	for l.total() < int64(s.requests) && ctx.Err() == nil {
		pause(ctx, 100*time.Millisecond)
	}
	l.end()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d, err := m.denials(ctx, s.denials)
	if err != nil {
		return fmt.Errorf("deny: %w", err)
	}
	for _, k := range l.kinds {
		r.check(k.failed.Load() == 0 && k.done.Load() > 0, k.what, "0 failed", "%d failed of %d%s", k.failed.Load(), k.done.Load(), k.why())
	}
	r.check(l.total() >= int64(s.requests), "requests in all", fmt.Sprint("≥ ", s.requests), "%d", l.total())
	r.check(c.changed >= s.changes, "changes of config entries and intentions", fmt.Sprint("≥ ", s.changes), "%d", c.changed)
	r.check(len(c.leaves) > s.rotations, "leaf certificates of one service that were in use", fmt.Sprint("> ", s.rotations), "%d", len(c.leaves))
	r.check(c.joined >= s.restarts*instances, "instances that left and joined", fmt.Sprint("≥ ", s.restarts*instances), "%d", c.joined)
	r.check(c.restarted >= s.agents, "restarts of the node's agent", fmt.Sprint("≥ ", s.agents), "%d", c.restarted)
	r.check(true, "without any server", short(s.away), "%s", short(s.away))
	took := highest(d.requests)
	r.check(took <= deniedBy, fmt.Sprintf("P3 requests go on after an intention denied them, p99 of %d", len(d.requests)), fmt.Sprint("≤ ", deniedBy), "%s", short(took))
	took = highest(d.conns)
	r.check(took <= cutBy, fmt.Sprintf("P3 an open connection of TCP lasts after an intention denied it, p99 of %d", len(d.conns)), fmt.Sprint("≤ ", cutBy), "%s", short(took))
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
func (r *report) write(file string) error {
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
