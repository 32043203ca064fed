package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/curia-mesh/curia/agent/config"
)

// Plans runs the watches of the configuration.
type Plans struct {
	d    Deps
	runs sync.WaitGroup

	mu    sync.Mutex
	life  context.Context    // of the plans; nil while Run does not run
	plans map[string]*member // by their definition
}

type member struct {
	plan *Plan
	stop context.CancelFunc // nil before it runs
}

// NewPlans returns an empty set of plans.
func NewPlans(d Deps) *Plans { return &Plans{d: d, plans: map[string]*member{}} }

// Set replaces the watches. Those that stay the same go on undisturbed; those that go, go with their running
// handlers. On an error, which names each watch with one by its place, nothing changes.
func (p *Plans) Set(watches []config.Watch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := map[string]*member{}
	var errs []error
	for i := range watches {
		w := watches[i]
		def, err := json.Marshal(&w)
		if err != nil {
			errs = append(errs, fmt.Errorf("watches: watch %d: %w", i, err))
			continue
		}
		key := string(def)
		for next[key] != nil { // a watch may be there twice
			key += "+"
		}
		if m := p.plans[key]; m != nil {
			next[key] = m
			continue
		}
		plan, err := NewPlan(&w, p.d)
		if err != nil {
			errs = append(errs, fmt.Errorf("watches: watch %d: %w", i, err))
			continue
		}
		next[key] = &member{plan: plan}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for key, m := range p.plans {
		if next[key] == nil && m.stop != nil {
			m.stop()
		}
	}
	p.plans = next
	p.start()
	return nil
}

// start runs the plans that do not run yet, if it is time. The lock is held.
func (p *Plans) start() {
	if p.life == nil {
		return
	}
	for _, m := range p.plans {
		if m.stop != nil {
			continue
		}
		var ctx context.Context
		ctx, m.stop = context.WithCancel(p.life)
		p.runs.Go(func() { m.plan.Run(ctx) }) // ends with ctx; it has no errors to tell
	}
}

// Run runs the plans until ctx ends, and returns when their handlers have ended.
func (p *Plans) Run(ctx context.Context) error {
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	running := p.life != nil
	if !running {
		p.life = life
		p.start()
	}
	p.mu.Unlock()
	if running {
		return errors.New("watch: the plans run already")
	}
	<-ctx.Done()
	p.mu.Lock()
	p.life = nil
	p.mu.Unlock()
	p.runs.Wait()
	return nil
}
