package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
)

// The protocol of remote execution, as agents speak it: a job in the key/value store below a session, an
// event that tells the nodes, and their answers beside the job.
// Source: https://developer.hashicorp.com/consul/commands/exec
const (
	execEvent   = "_rexec"
	execTTL     = 15 * time.Second
	execCleanup = 5 * time.Second
)

// job is what nodes are to do.
type job struct {
	Command string        `json:",omitempty"`
	Args    []string      `json:",omitempty"`
	Script  []byte        `json:",omitempty"`
	Wait    time.Duration // for nodes to begin
}

// notice is the payload of the event that tells them.
type notice struct{ Prefix, Session string }

// remote is one run.
type remote struct {
	c       *call
	prefix  string // with the session
	quiet   time.Duration
	verbose bool
	seen    map[string]bool // keys that were shown
	acks    map[string]bool // nodes that take part
	exits   map[string]int
}

func execute(f *flag.FlagSet) action {
	node := f.String("node", "", "Run on nodes whose name matches this `regexp`.")
	service := f.String("service", "", "Run on nodes with a service whose name matches this `regexp`.")
	tag := f.String("tag", "", "Run on nodes with a service that has a tag matching this `regexp`; needs -service.")
	prefix := f.String("prefix", execEvent, "The `prefix` in the key/value store for the job and its results.")
	shell := f.Bool("shell", true, "Run the command by the nodes' shell.")
	wait := f.Duration("wait", 2*time.Second, "How `long` nothing may come before the run counts as done.")
	replicate := f.Duration("wait-repl", 200*time.Millisecond, "How `long` the job may take to reach all servers.")
	verbose := f.Bool("verbose", false, "Say more of what happens.")
	return func(ctx context.Context, c *call) error {
		if *tag != "" && *service == "" {
			return usage("-tag needs -service")
		}
		if *wait <= 0 || strings.Trim(*prefix, "/") == "" {
			return usage("-wait and -prefix must not be empty")
		}
		j := job{Command: strings.Join(c.args, " "), Wait: *wait}
		switch {
		case len(c.args) == 1 && c.args[0] == "-":
			script, err := readAll(c.In, "standard input", maxValue)
			if err != nil {
				return err
			}
			j.Command, j.Script = "", script
		case len(c.args) == 0:
			return usage("which command? name it, or - for a script on standard input")
		case !*shell:
			j.Command, j.Args = "", c.args
		}
		session, err := execSession(ctx, c)
		if err != nil {
			return err
		}
		run := &remote{
			c: c, prefix: strings.Trim(*prefix, "/") + "/" + session + "/", quiet: *wait, verbose: *verbose,
			seen: map[string]bool{}, acks: map[string]bool{}, exits: map[string]int{},
		}
		defer run.clean(ctx, session)
		ev := &catalog.Event{Name: execEvent, NodeFilter: *node, ServiceFilter: *service, TagFilter: *tag}
		if ev.Payload, err = json.Marshal(notice{strings.Trim(*prefix, "/"), session}); err != nil {
			return err
		}
		if err := run.start(ctx, j, session, *replicate, ev); err != nil {
			return err
		}
		if err := run.follow(ctx, session); err != nil {
			return err
		}
		return run.result()
	}
}

// execSession makes the session that owns the job, in the datacenter that is asked.
func execSession(ctx context.Context, c *call) (string, error) {
	r := client.SessionRequest{Name: "Remote Exec", TTL: execTTL.String(), Behavior: catalog.Delete}
	if c.elsewhere {
		servers, _, err := c.api.Health().Service(ctx, "consul", nil, true, client.Query{})
		if err != nil {
			return "", err
		}
		if len(servers) == 0 {
			return "", errors.New("the datacenter has no healthy server to hold the job's session")
		}
		r.Node = servers[0].Node.Node
	}
	return c.api.Session().Create(ctx, r, client.Query{})
}

func (r *remote) start(ctx context.Context, j job, session string, replicate time.Duration, ev *catalog.Event) error {
	value, err := json.Marshal(j)
	if err != nil {
		return err
	}
	done, err := r.c.api.KV().Put(ctx, &catalog.KVPair{Key: r.prefix + "job", Value: value}, client.KVWrite{Acquire: session}, client.Query{})
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("could not store the job at %sjob: its session is over", r.prefix)
	}
	select {
	case <-time.After(replicate):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	id, err := r.c.api.Event().Fire(ctx, ev, client.Query{})
	if err == nil && r.verbose {
		r.c.note("Fired event %s", id)
	}
	return err
}

// follow shows what the nodes write until nothing has come for a while.
func (r *remote) follow(ctx context.Context, session string) error {
	q := client.Query{Wait: r.quiet}
	last, renewed := time.Now(), time.Now()
	for {
		pairs, meta, err := r.c.api.KV().List(ctx, r.prefix, q)
		if err != nil {
			return err
		}
		q.Index = max(meta.Index, 1)
		if r.show(pairs) {
			last = time.Now()
		}
		if time.Since(renewed) > execTTL/3 {
			if err := r.c.api.Session().Renew(ctx, session, client.Query{}); client.IsStatus(err, http.StatusNotFound) {
				return errors.New("the job's session ended before the nodes were done")
			}
			renewed = time.Now()
		}
		if time.Since(last) >= r.quiet && len(r.exits) >= len(r.acks) {
			return nil
		}
	}
}

// show prints what is new and reports whether there was any.
func (r *remote) show(pairs []*catalog.KVPair) bool {
	found := false
	for _, p := range pairs {
		node, what, ok := strings.Cut(strings.TrimPrefix(p.Key, r.prefix), "/")
		if !ok || r.seen[p.Key] {
			continue
		}
		r.seen[p.Key], found = true, true
		node = clean(node)
		switch {
		case what == "ack":
			r.acks[node] = true
			if r.verbose {
				r.c.note("==> %s: acknowledged", node)
			}
		case what == "exit":
			code, err := strconv.Atoi(string(p.Value))
			if err != nil {
				code = -1
			}
			r.exits[node] = code
			r.c.say("==> %s: finished with exit code %d", node, code)
		case strings.HasPrefix(what, "out/"):
			for line := range strings.Lines(string(p.Value)) {
				r.c.say("    %s: %s", node, clean(strings.TrimRight(line, "\r\n")))
			}
		}
	}
	return found
}

func (r *remote) result() error {
	r.c.say("%d / %d node(s) completed / acknowledged", len(r.exits), len(r.acks))
	if len(r.acks) == 0 {
		r.c.note("No node took the job: Curia's agents run no such jobs, and Consul's only with disable_remote_exec = false.")
	}
	for _, node := range slices.Sorted(maps.Keys(r.exits)) {
		if r.exits[node] != 0 {
			return &exit{code: 2}
		}
	}
	return nil
}

// clean removes the job and its results, even when ctx has ended.
func (r *remote) clean(ctx context.Context, session string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), execCleanup)
	defer stop()
	if err := r.c.api.Session().Destroy(ctx, session, client.Query{}); err != nil {
		r.c.note("The job's session %s ends by itself: %v", session, err)
	}
	if err := r.c.api.KV().DeleteTree(ctx, r.prefix, client.Query{}); err != nil {
		r.c.note("The keys below %s remain: %v", r.prefix, err)
	}
}
