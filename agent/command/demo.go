package command

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/demo"
)

func demoRows() []row {
	return []row{
		{name: "demo", group: groupAgent, synopsis: "Runs whole datacenters on this machine, with traffic", bind: runDemo,
			help: "Runs servers and client agents on this machine, each a process of its own that only this machine can reach, with two services, web and api, their sidecars and some traffic from one to the other. It says where everything is, and runs until it is interrupted. Nothing is left behind then, but for what is in -data-dir.\n\n  $ curia demo\n  $ curia demo -secure\n  $ curia demo -dcs=3\n\nWhile it runs, curia demo chaos breaks parts of it."},
		{name: "demo chaos", synopsis: "Breaks parts of a running demo, and heals it", bind: demoChaos,
			help: "Has a demo that runs on this machine kill instances and servers of its own, says what becomes of its traffic, and heals it.\n\n  $ curia demo chaos"},
		{name: "demo status", synopsis: "Shows where a running demo is and how its traffic does", bind: demoStatus,
			help: "Shows where the agents of a demo that runs on this machine are, and what its traffic came to."},
	}
}

func runDemo(f *flag.FlagSet) action {
	o := demo.Options{Found: foundDemo, Join: joinDemo}
	f.IntVar(&o.Said.Datacenters, "dcs", 0, "How `many` datacenters there are. The default is 1.")
	f.IntVar(&o.Said.Servers, "servers", 0, "How `many` servers each datacenter has. The default is 1, and 3 with -secure.")
	f.IntVar(&o.Said.Clients, "clients", 0, "How `many` client agents each datacenter has. The default is 1.")
	f.BoolVar(&o.Said.Secure, "secure", false, "Have agents know one another by certificates, encrypt gossip, and allow nothing without a token, as curia init and curia join do.")
	dir := demoDir(f, "The `directory` for everything, which is kept: the next demo with it goes on with what is there. The default is a temporary one.")
	format := formatVar(f)
	keep := f.Bool("keep", false, "End the agents of a demo when that has ended, for the demo, which starts this by itself.")
	temporary := f.Bool("temporary", false, "With -keep, remove the directory too.")
	return func(ctx context.Context, c *call) error {
		if *keep {
			return demo.Keep(*dir, *temporary)
		}
		if err := checkFormat(*format); err != nil {
			return err
		}
		var err error
		if o.Program, err = os.Executable(); err != nil {
			return err
		}
		o.Dir = *dir
		v := &demoView{call: c, json: *format == "json"}
		o.Show = func(ctx context.Context, s *demo.Summary, stats func() []demo.Flow) {
			v.show(s)
			v.follow(ctx, stats)
		}
		if !v.json {
			c.note("==> Starting; Ctrl-C ends it")
		}
		return demo.Run(ctx, o)
	}
}

// foundDemo prepares the first server of a secured cluster.
func foundDemo(config, data string) (management string, err error) {
	made, err := (&place{dir: config, data: data}).found(1, 1, time.Minute)
	if err != nil {
		return "", err
	}
	return made.management, nil
}

// joinDemo makes a place an agent of a secured cluster.
func joinDemo(ctx context.Context, config, data, token string) error {
	_, _, err := (&place{dir: config, data: data}).enlist(ctx, token)
	return err
}

func demoDir(f *flag.FlagSet, help string) *string { return f.String("data-dir", "", help) }

func demoChaos(f *flag.FlagSet) action {
	dir := demoDir(f, "The `directory` of the demo. The default is the one that runs in a temporary directory.")
	watch := f.Duration("watch", 3*time.Second, "How `long` the traffic is watched after each thing that is broken.")
	return func(ctx context.Context, c *call) error {
		at, err := demoAt(*dir)
		if err != nil {
			return err
		}
		return demo.Chaos(ctx, at, *watch, func(line string) { c.say("%s", clean(line)) })
	}
}

func demoStatus(f *flag.FlagSet) action {
	dir := demoDir(f, "The `directory` of the demo. The default is the one that runs in a temporary directory.")
	format := formatVar(f)
	return func(ctx context.Context, c *call) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		at, err := demoAt(*dir)
		if err != nil {
			return err
		}
		s, traffic, err := demo.Status(ctx, at)
		if err != nil {
			return err
		}
		if *format == "json" {
			return c.json(struct {
				*demo.Summary
				Traffic []demo.Flow
			}{s, traffic}, "  ")
		}
		(&demoView{call: c}).show(s)
		c.say("\n%s", flowLine(traffic, 0, nil))
		return nil
	}
}

func demoAt(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return demo.Find()
}

// demoView shows a demo to a person, or in JSON to a program.
type demoView struct {
	*call
	json bool
}

func (v *demoView) show(s *demo.Summary) {
	if v.json {
		_ = v.call.json(s, "") // in one line: more does not come, and who reads may have gone
		return
	}
	kind := "open: no tokens, no TLS between agents"
	if s.Secure {
		kind = "secured: tokens with default deny, TLS between agents, encrypted gossip"
	}
	far := ""
	if s.FirstFarCalls > 0 {
		far = fmt.Sprintf(", and from one datacenter to another within %.1f s", s.FirstFarCalls)
	}
	v.say("==> All agents are ready after %.1f s; web has reached api through the mesh within %.1f s%s\n    %s\n", s.AgentsReady, s.FirstCalls, far, kind)
	rows := [][]string{{"Agent", "Datacenter", "Kind", "HTTP", "DNS"}}
	for _, a := range s.Agents {
		rows = append(rows, []string{a.Name, a.Datacenter, a.Kind, a.HTTP, a.DNS})
	}
	v.table(rows)
	where := s.Dir
	if s.Temporary {
		where += ", removed at the end"
	}
	v.say("\n    Data   %s", where)
	if s.Secure {
		v.say("    Token  %s, the management token, which may do everything", s.TokenFile)
	}
	first := s.Agents[0]
	v.say("\nTry, in another terminal:\n")
	if s.Secure {
		v.say("    export CURIA_HTTP_TOKEN_FILE=%s", s.TokenFile)
	}
	if host := strings.TrimPrefix(first.HTTP, "http://"); host != "127.0.0.1:8500" {
		v.say("    export CURIA_HTTP_ADDR=%s", host)
	}
	v.say("    %s members", program)
	if len(s.Services) > 1 {
		v.say("    %s members -wan", program)
	}
	for _, w := range s.Services {
		v.say("    curl %-29s # web of %s asks api through the mesh", w.URL, w.Datacenter)
	}
	if s.FirstFarCalls > 0 {
		v.say("    curl %-29s # and that of %s", s.Services[0].URL+"far", s.Services[1].Datacenter)
	}
	host, port, _ := strings.Cut(first.DNS, ":")
	v.say("    dig @%s -p %s +short api.service.consul SRV", host, port)
	chaos := program + " demo chaos"
	if !s.Temporary {
		chaos += " -data-dir=" + s.Dir
	}
	v.say("    %-34s # breaks parts of it, and heals them", chaos)
	v.say("\nCtrl-C ends it.")
}

// statusEach is how often the line of the traffic is made anew.
const statusEach = time.Second

// follow shows the traffic in one line, at a terminal each second, elsewhere when it is of another kind.
func (v *demoView) follow(ctx context.Context, stats func() []demo.Flow) {
	if v.json {
		return
	}
	live := terminal(v.Out, v.Getenv)
	tick := time.NewTicker(statusEach)
	defer tick.Stop()
	before := stats()
	said := ""
	for {
		select {
		case <-ctx.Done():
			if live {
				fmt.Fprintln(v.Out)
			}
			return
		case <-tick.C:
		}
		now := stats()
		line := flowLine(now, statusEach, before)
		switch kind := flowKind(now, before); {
		case live:
			fmt.Fprint(v.Out, "\r\x1b[K"+line)
		case kind != said:
			v.say("%s", line)
			said = kind
		}
		before = now
	}
}

// flowLine says how the traffic does: its pace since before, if that is known, what failed in all, and who answered.
func flowLine(now []demo.Flow, over time.Duration, before []demo.Flow) string {
	total, failed, recent := 0, 0, 0
	var parts []string
	for i, f := range now {
		total, failed = total+f.Requests, failed+f.Failed
		last := f.AnsweredBy
		if before != nil {
			recent += f.Requests - before[i].Requests
			last = map[string]int{}
			for dc, n := range f.AnsweredBy {
				if n > before[i].AnsweredBy[dc] {
					last[dc] = n
				}
			}
		}
		by := strings.Join(slices.Sorted(maps.Keys(last)), "+")
		if by == "" {
			by = "nobody"
		}
		from := f.Datacenter
		if f.Of != from {
			from += "→" + f.Of
		}
		parts = append(parts, from+" by "+by)
	}
	pace := ""
	if before != nil {
		pace = fmt.Sprintf("%.0f/s, ", float64(recent)/over.Seconds())
	}
	return fmt.Sprintf("web → api: %s%d requests, %d failed; answered: %s", pace, total, failed, strings.Join(parts, ", "))
}

// flowKind is another when traffic fails, or others answer.
func flowKind(now, before []demo.Flow) string {
	kind := ""
	for i, f := range now {
		kind += fmt.Sprint(f.LastBy, f.Failed > before[i].Failed, ";")
	}
	return kind
}
