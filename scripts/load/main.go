//go:build linux

// Command load measures one Curia server and its peers for scripts/bench, which builds both and calls it.
//
// It starts each server by itself on free loopback ports, drives it in a closed loop (every connection has
// one request under way), and prints tables of what it saw beside what PERFORMANCE asks for. It runs on
// Linux only: what a server costs is read from the kernel's clocks.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// options are what scripts/bench hands over.
type options struct {
	curia, etcd, unbound, dnsmasq, consul, haproxy, nginx, caddy string // paths, "" when missing
	dir, commit, command, profiles, plot                         string
	rows                                                         *regexp.Regexp
	runs                                                         int
	warm, length                                                 time.Duration
	quick                                                        bool
	acl                                                          bool // measure Curia with ACLs too
}

// wanted says whether a row was asked for.
func (o options) wanted(name string) bool { return o.rows.MatchString(name) }

// progress tells on standard error what is being done, since the tables come late.
func progress(format string, a ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", a...) }

func main() {
	if len(os.Args) > 1 && os.Args[1] == "hop" {
		hopMain(os.Args[2:])
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, what, file := parse()
	var out io.Writer = os.Stdout
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		defer f.Close()
		out = io.MultiWriter(os.Stdout, f)
	}
	if err := run(ctx, report.Report{Out: out}, o, what); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse() (o options, what, file string) {
	flag.StringVar(&o.curia, "curia", "", "path of curia")
	flag.StringVar(&o.etcd, "etcd", "", "path of etcd")
	flag.StringVar(&o.unbound, "unbound", "", "path of unbound")
	flag.StringVar(&o.dnsmasq, "dnsmasq", "", "path of dnsmasq")
	flag.StringVar(&o.haproxy, "haproxy", "", "path of haproxy")
	flag.StringVar(&o.nginx, "nginx", "", "path of nginx")
	flag.StringVar(&o.caddy, "caddy", "", "path of caddy")
	flag.StringVar(&o.consul, "consul", "", "path of consul")
	flag.StringVar(&o.dir, "dir", "", "directory for data, on a disk")
	flag.StringVar(&o.commit, "commit", "unknown", "commit of curia")
	flag.StringVar(&o.command, "command", "", "command to report")
	flag.StringVar(&o.profiles, "profiles", "", "directory for CPU profiles")
	flag.StringVar(&o.plot, "plot", "", "file for a plot")
	flag.StringVar(&file, "o", "", "also write to this file")
	rows := flag.String("rows", "", "regular expression")
	flag.IntVar(&o.runs, "runs", 3, "runs of each row")
	flag.BoolVar(&o.quick, "quick", false, "short runs")
	flag.BoolVar(&o.acl, "acl", false, "measure Curia with ACLs too")
	flag.Parse()
	var err error
	if o.rows, err = regexp.Compile("(?i)" + *rows); err != nil {
		fmt.Fprintln(os.Stderr, "bench: -rows:", err)
		os.Exit(2)
	}
	what = flag.Arg(0)
	if flag.NArg() != 1 || !slices.Contains([]string{"control", "cluster", "dns", "mesh", "balance"}, what) || o.curia == "" || o.dir == "" || o.runs < 1 || o.runs > 99 {
		fmt.Fprintln(os.Stderr, "bench: use scripts/bench")
		os.Exit(2)
	}
	if o.warm, o.length = time.Second, 5*time.Second; o.quick {
		o.warm, o.length = 300*time.Millisecond, 1500*time.Millisecond
	}
	return o, what, file
}

func run(ctx context.Context, r report.Report, o options, what string) error {
	r.Line("# Curia: %s", map[string]string{"control": "the control plane of one server", "cluster": "the control plane of three servers", "dns": "DNS of one server", "mesh": "the data plane", "balance": "balancing"}[what])
	r.Line("")
	if err := machine(ctx, r, o); err != nil {
		return err
	}
	switch what {
	case "cluster":
		return benchCluster(ctx, r, o)
	case "dns":
		return benchDNS(ctx, r, o)
	case "mesh":
		return benchMesh(ctx, r, o)
	case "balance":
		return benchBalance(ctx, r, o)
	}
	return benchControl(ctx, r, o)
}
