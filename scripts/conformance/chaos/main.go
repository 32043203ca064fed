//go:build linux

// Command chaos breaks clusters of real servers on a lab, while clients use them, and reports what held. scripts/chaos
// builds the server and calls it.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
	"github.com/curia-mesh/curia/scripts/report"
)

// options are what scripts/chaos hands over.
type options struct {
	curia, older, dir, out, command, commit, root string
	only                                          *regexp.Regexp
	long, planted                                 bool
}

// progress tells on standard error what happens, since the table comes late.
func progress(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "chaos: %s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, a...)...)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.curia, "curia", "", "path of the server")
	flag.StringVar(&o.older, "older", "", "path of a server of the release before")
	flag.StringVar(&o.dir, "dir", "", "directory for data and histories")
	flag.StringVar(&o.out, "o", "", "also write the report to this file")
	flag.StringVar(&o.command, "command", "chaos", "command to report")
	flag.StringVar(&o.commit, "commit", "unknown", "commit to report")
	flag.StringVar(&o.root, "root", "", "directory of the product")
	flag.BoolVar(&o.planted, "planted", false, "build the product with planted bugs, which have to be found")
	flag.BoolVar(&o.long, "long", false, "as many rounds as the goals want")
	only := flag.String("only", "", "regular expression of scenarios")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil || (o.curia == "") != o.planted || o.root == "" || o.dir == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "chaos: use scripts/chaos", err)
		os.Exit(2)
	}
	run := all
	if o.planted {
		run = findPlanted
	}
	ok, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// all runs the scenarios, on one cluster for as long as that is well.
func all(ctx context.Context, o options) (ok bool, err error) {
	var (
		rows    []row
		c       *cluster
		skipped []string
		start   = time.Now()
	)
	ok = true
	defer func() {
		if c != nil {
			err = errors.Join(err, c.close())
		}
	}()
	for i, s := range scenarios {
		if !o.only.MatchString(s.name) || s.rounds == 0 && !o.long && o.only.String() == "" {
			continue
		}
		if (s.power || s.far) && os.Geteuid() != 0 {
			skipped = append(skipped, s.name)
			continue
		}
		if c != nil && (s.clock || s.servers() != len(c.servers) || s.power != c.lab.Power || s.far != (c.world != nil)) {
			if err := c.close(); err != nil {
				progress("%v", err)
			}
			c = nil
		}
		if c == nil {
			dir, binary := filepath.Join(o.dir, fmt.Sprintf("cluster-%d", i)), o.curia
			if s.clock {
				if binary, err = withClock(ctx, o.root, dir); err != nil {
					return false, err
				}
			}
			if c, err = newCluster(ctx, binary, dir, s.own); err != nil {
				return false, fmt.Errorf("start a cluster: %w", err)
			}
			progress("a cluster runs")
		}
		if s.root && !c.lab.Root {
			skipped = append(skipped, s.name)
			continue
		}
		well, err := one(ctx, o, c, s, &rows)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			ok = false
			rows = append(rows, row{s.name, "the scenario ran to its end", "no: " + oneLine(err.Error()), "yes", "**no**", true})
			progress("%s: %v; what servers do is in their logs", s.name, err)
			c.dump()
			if err := c.close(); err != nil {
				progress("%v", err)
			}
			c = nil
		}
		ok = ok && well
	}
	return ok, write(o, rows, skipped, time.Since(start))
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ReplaceAll(s[:min(len(s), 300)], "|", "¦")
}

// aftermath is how long clients go on when all is healed, and see what became of it.
const aftermath = 2 * time.Second

// one runs a scenario under load, and judges what the clients saw and what the servers hold afterwards.
func one(ctx context.Context, o options, c *cluster, s scenario, rows *[]row) (well bool, err error) {
	r := &run{cluster: c, rounds: max(s.rounds, 1), long: o.long, rows: rows, name: s.name, older: cmp.Or(o.older, c.binary)}
	if o.long {
		r.rounds = s.long
	}
	progress("%s, %d rounds", s.name, r.rounds)
	if s.quiet {
		err := s.run(ctx, r)
		return !r.failed, err
	}
	start := time.Now()
	l, stop, err := startLoad(ctx, c, fmt.Sprintf("%s-%d", s.name, start.Unix()), max(s.groups, 1))
	if err != nil {
		return false, err
	}
	r.load = l
	err = s.run(ctx, r)
	pause(ctx, aftermath)
	stop()
	length := time.Since(start)
	answered := l.history.Answered()
	histories := filepath.Join(o.dir, "histories", s.name)
	verdict, checkErr := l.history.Check(20*time.Second, histories)
	if err = errors.Join(err, checkErr); err != nil {
		return false, err
	}
	wrong := fmt.Sprintf("%d of %d objects wrong, %d undecided; %d calls", len(verdict.Wrong), verdict.Objects, len(verdict.Undecided), verdict.Calls)
	if bad := append(verdict.Wrong, verdict.Undecided...); len(bad) > 0 {
		wrong += fmt.Sprintf(" (%s, kept in %s)", strings.Join(bad[:min(len(bad), 4)], " "), histories)
	}
	r.check(len(verdict.Wrong)+len(verdict.Undecided) == 0, "R1, R2 linearizable keys, transactions and locks", "0 wrong, 0 undecided", "%s", wrong)
	if s.least > 0 {
		floor := int(length.Seconds() * float64(s.least))
		r.check(answered >= floor, "calls answered", fmt.Sprintf("≥ %d", floor), "%d", answered)
	}
	slices.Sort(r.healed)
	r.show("after the fault until all servers take part", "p50 %s, at most %s", short(report.Quantile(r.healed, 0.5)), short(report.Quantile(r.healed, 1)))
	same := c.same(ctx, 20*time.Second)
	r.check(same == nil, "R15 all servers hold the same", "yes", "%s", yesOr(same))
	return !r.failed, nil
}

func yesOr(err error) string {
	if err == nil {
		return "yes"
	}
	return oneLine(err.Error())
}

// write prints the report.
func write(o options, rows []row, skipped []string, took time.Duration) error {
	out := io.Writer(os.Stdout)
	if o.out != "" {
		f, err := os.Create(o.out)
		if err != nil {
			return err
		}
		defer f.Close()
		out = io.MultiWriter(out, f)
	}
	fmt.Fprintf(out, "# Curia: three servers under faults\n\n- command: `%s`, %s\n", o.command, time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	busy, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(out, "- machine: %d cores, Linux %s; load average at the end: %s\n", runtime.NumCPU(), strings.TrimSpace(string(kernel)),
		strings.Join(strings.Fields(string(busy))[:3], " "))
	fmt.Fprintf(out, "- Curia: commit %s; %d clients call every %s, %d writes a second are probes; the run took %s\n", o.commit, workers, pace,
		int(time.Second/beat), took.Round(time.Second))
	if len(skipped) > 0 {
		fmt.Fprintf(out, "- left out, %v: %s\n", lab.ErrNeedsRoot, strings.Join(skipped, ", "))
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	line := func(cells ...string) { fmt.Fprintf(table, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	line("scenario", "what", "measured", "goal", "met")
	line("---", "---", "---", "---", "---")
	for _, r := range rows {
		line(r.scenario, r.what, r.got, r.goal, r.met)
	}
	return table.Flush()
}
