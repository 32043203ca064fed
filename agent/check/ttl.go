package check

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// A ttl is a check whose service tells its state; silence for longer than the time to live is critical.
// Telling moves a deadline only: the timer looks at it when it fires, so frequent news cost next to nothing.
type ttl struct {
	runner *Runner
	span   time.Duration
	woken  chan struct{} // has one value when a state came after the check had expired

	mu       sync.Mutex // held over reports, so that expiry and news are told in their order
	deadline time.Time
	expired  bool
	last     string // output
}

func newTTL(r *Runner) *ttl {
	return &ttl{runner: r, span: time.Duration(r.def.TTL), woken: make(chan struct{}, 1)}
}

func (t *ttl) set(status catalog.Status, output string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadline, t.last = time.Now().Add(t.span), output
	if t.expired {
		t.expired = false
		t.woken <- struct{}{} // run took the value of the time before, or it would not have expired again
	}
	t.runner.report(status, output)
}

func (t *ttl) run(ctx context.Context) {
	t.mu.Lock()
	if t.deadline.IsZero() {
		t.deadline = time.Now().Add(t.span)
	}
	timer := time.NewTimer(time.Until(t.deadline))
	t.mu.Unlock()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			if left := t.left(); left > 0 {
				timer.Reset(left)
			}
		case <-t.woken:
			timer.Reset(t.span)
		}
	}
}

// left returns the time to the deadline. At the deadline the check expires.
func (t *ttl) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := time.Until(t.deadline)
	if left > 0 {
		return left
	}
	t.expired = true
	output := fmt.Sprintf("TTL expired: no update within %s", t.span)
	if t.last != "" {
		output += ", the last one said: " + t.last
	}
	t.runner.report(catalog.Critical, output)
	return 0
}
