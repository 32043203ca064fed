// Package backup saves snapshots on a schedule, proves that each can be restored, and keeps the newest.
package backup

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
)

// Config says when snapshots are saved and where. Defaults are those of Consul's snapshot agent.
// Source: https://developer.hashicorp.com/consul/commands/snapshot/agent
type Config struct {
	// Interval is the time between two; 0 saves one and ends.
	Interval time.Duration
	// Retain is how many are kept; 0 keeps all.
	Retain int
	// Stale lets any server answer, so that there are snapshots when none leads.
	Stale bool
	// LockKey is the place in the key/value store of the lock that one of several runners holds.
	LockKey string
	// MaxFailures is after how many failures in a row a runner lets another one try.
	MaxFailures int
	// Service is the service that the runner registers itself as, "" for none. It goes DeregisterAfter the runner
	// has been silent.
	Service         string
	DeregisterAfter time.Duration
	// Dir is where the files are, called PREFIX-UNIXNANO.snap.
	Dir, Prefix string
}

// Runner saves snapshots through an agent.
type Runner struct {
	cfg   Config
	api   *client.Client
	files *files
	log   *slog.Logger
	older int // which of the kept ones is looked at next
}

// New returns a runner, whose directory exists and can be written to.
func New(cfg Config, api *client.Client, log *slog.Logger) (*Runner, error) {
	dir, err := openDir(cfg.Dir, cfg.Prefix)
	if err != nil {
		return nil, err
	}
	return &Runner{cfg: cfg, api: api, files: dir, log: log}, nil
}

// Saved is a snapshot that was saved and restored on trial.
type Saved struct {
	Path  string
	Index uint64
	Size  int64
	Rows  int
}

// Run saves snapshots until ctx ends, while this runner holds the lock, or one when there is no interval.
func (r *Runner) Run(ctx context.Context) error {
	if r.cfg.Interval == 0 {
		saved, err := r.Once(ctx)
		if err == nil {
			r.report(saved)
		}
		return err
	}
	alive := r.presence()
	stop := alive.keep(ctx)
	defer stop()
	for ctx.Err() == nil {
		r.log.Info("waiting for the lock", "key", r.cfg.LockKey)
		err := r.api.Hold(ctx, client.Lock{Prefix: r.cfg.LockKey, Name: "snapshot agent", Retries: 3}, func(ctx context.Context) error {
			r.log.Info("this runner saves the snapshots now", "interval", r.cfg.Interval)
			return r.save(ctx, alive)
		})
		if ctx.Err() != nil {
			return nil
		}
		alive.lead(ctx, false)
		r.log.Warn("this runner saves no snapshots now: another one may", "err", err)
		if !pause.For(ctx, min(r.cfg.Interval, time.Minute)) {
			return nil
		}
	}
	return nil
}

// save saves snapshots until ctx ends or too many have failed.
func (r *Runner) save(ctx context.Context, alive *presence) error {
	alive.lead(ctx, true)
	for failures := 0; ; {
		saved, err := r.Once(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			failures = 0
			alive.saved(ctx, catalog.Passing, fmt.Sprintf("%s of index %d was saved and restored on trial at %s", saved.Path, saved.Index, time.Now().Format(time.RFC3339)))
			r.report(saved)
		default:
			failures++
			alive.saved(ctx, catalog.Critical, err.Error())
			r.log.Error("no snapshot was saved", "err", err, "failures", failures)
			if r.cfg.MaxFailures > 0 && failures >= r.cfg.MaxFailures {
				return fmt.Errorf("%d snapshots in a row could not be saved, the last one because: %w", failures, err)
			}
		}
		if !pause.For(ctx, r.cfg.Interval) {
			return context.Cause(ctx)
		}
	}
}

func (r *Runner) report(s *Saved) {
	r.log.Info("a snapshot was saved and restored on trial", "path", s.Path, "index", s.Index, "bytes", s.Size, "rows", s.Rows)
}

// Once saves one snapshot, restores it on trial, removes those beyond what is kept, and looks at an older one. An older
// one that is damaged is an error too: the new one is there all the same.
func (r *Runner) Once(ctx context.Context) (*Saved, error) {
	saved, err := r.files.add(func(to io.Writer) error {
		archive, _, err := r.api.Snapshot().Save(ctx, client.Query{Stale: r.cfg.Stale})
		if err != nil {
			return err
		}
		defer archive.Close()
		_, err = io.Copy(to, archive)
		return err
	})
	if err != nil {
		return nil, err
	}
	kept, err := r.files.prune(r.cfg.Retain)
	if err != nil {
		return nil, fmt.Errorf("%s was saved, but old snapshots cannot be removed: %w", saved.Path, err)
	}
	if others := kept[:len(kept)-1]; len(others) > 0 {
		r.older = (r.older + 1) % len(others)
		if _, err := Verify(others[r.older]); err != nil {
			return nil, fmt.Errorf("%s was saved, but an older snapshot is damaged: %w", saved.Path, err)
		}
	}
	return saved, nil
}

// presence is the runner's service in the catalog.
type presence struct{ *Runner }

const (
	aliveTTL   = 30 * time.Second
	aliveEvery = 10 * time.Second
)

func (r *Runner) presence() *presence { return &presence{r} }

func (p *presence) aliveID() string  { return p.cfg.Service + ":alive" }
func (p *presence) savingID() string { return p.cfg.Service + ":saving" }

// keep registers the service and says that it is alive until the returned function is called, which deregisters it.
func (p *presence) keep(ctx context.Context) (stop func()) {
	if p.cfg.Service == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	registered := p.register(ctx) == nil // before anything is said of the service; else it is tried again below
	go func() {                          // ends with ctx
		defer close(done)
		for {
			err := p.update(ctx, p.aliveID(), catalog.Passing, "")
			if client.IsStatus(err, http.StatusNotFound) || !registered { // the agent may have been made anew
				if err = p.register(ctx); err == nil {
					registered = true
					err = p.update(ctx, p.aliveID(), catalog.Passing, "")
				}
			}
			if err != nil && ctx.Err() == nil {
				p.log.Warn("the agent does not know that this runner is alive", "err", err)
			}
			if !pause.For(ctx, aliveEvery) {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.api.Agent().DeregisterService(ctx, p.cfg.Service); err != nil {
			p.log.Warn("this runner's service could not be deregistered", "err", err)
		}
	}
}

func (p *presence) register(ctx context.Context) error {
	return p.api.Agent().RegisterService(ctx, &catalog.ServiceDefinition{
		Name: p.cfg.Service,
		Checks: []*catalog.AgentCheck{{
			CheckID: p.aliveID(), Name: "Snapshot Agent Alive",
			CheckDefinition: catalog.CheckDefinition{TTL: catalog.Duration(aliveTTL), DeregisterCriticalServiceAfter: catalog.Duration(p.cfg.DeregisterAfter)},
		}},
	})
}

// lead registers the check that says whether snapshots are saved, of the runner that saves them, or removes it.
func (p *presence) lead(ctx context.Context, leads bool) {
	if p.cfg.Service == "" {
		return
	}
	var err error
	if leads {
		_, err = p.api.Do(ctx, http.MethodPut, "/v1/agent/check/register", client.Query{}, &catalog.AgentCheck{
			CheckID: p.savingID(), Name: "Snapshot Agent Saving Snapshots", ServiceID: p.cfg.Service,
			Status: catalog.Passing, CheckDefinition: catalog.CheckDefinition{TTL: catalog.Duration(2*p.cfg.Interval + time.Minute)},
		}, nil)
	} else if _, err = p.api.Do(ctx, http.MethodPut, client.Path("agent", "check", "deregister", p.savingID()), client.Query{}, nil, nil); client.IsStatus(err, http.StatusNotFound) {
		err = nil
	}
	if err != nil && ctx.Err() == nil {
		p.log.Warn("the agent does not know whether snapshots are saved", "err", err)
	}
}

func (p *presence) saved(ctx context.Context, status catalog.Status, output string) {
	if p.cfg.Service == "" {
		return
	}
	if err := p.update(ctx, p.savingID(), status, output); err != nil && ctx.Err() == nil {
		p.log.Warn("the agent does not know how saving went", "err", err)
	}
}

func (p *presence) update(ctx context.Context, id string, status catalog.Status, output string) error {
	_, err := p.api.Do(ctx, http.MethodPut, client.Path("agent", "check", "update", id), client.Query{}, map[string]any{"Status": status, "Output": output}, nil)
	return err
}
