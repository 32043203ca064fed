package replica

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// roundWait is how long the primary is waited for to have something new.
	roundWait = 30 * time.Second
	// roundPause is the least time from one round to the next.
	roundPause = time.Second
	// settleTries is how often rows are stored anew that could not be, before that is a failure: what they lead to may be
	// on its way in another loop.
	settleTries = 4
	// failurePause is the longest pause after a round that failed; the first is roundPause, and each is twice the last.
	failurePause = time.Minute
	// lostPause is the longest while the primary is known to be away: to ask costs nothing then.
	lostPause = 4 * time.Second
	// stallAfter is how long a loop may be without a step forward before it is started anew.
	stallAfter = roundWait + callTime + failurePause + 30*time.Second
)

// task is one thing to copy.
type task struct {
	kind   catalog.ReplicaKind
	labels []metrics.Label // what tells it from others of its kind in metrics
	log    *slog.Logger
	// source is the datacenter that is copied from, at the moment.
	source func() string
	// round waits for news of the source after an index, at 0 only asks, makes the copy as the source is, and sets the
	// index that it has come to. It calls step of its loop whenever it gets on.
	round func(ctx context.Context, l *loop, from *uint64) error
	// failed is told why a round has failed. It may be nil.
	failed func(context.Context, error)
}

// loop makes a copy, round after round.
type loop struct {
	task

	mu    sync.Mutex
	at    api.ReplicaProgress
	moved time.Time // when it made a step last, whatever came of it
	began time.Time // when this server took up the copy
	told  string    // the error that was logged last
}

// progress is how far it has come.
func (l *loop) progress() api.ReplicaProgress {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.at
	out.Kind = l.kind
	if since := cmp.Or(l.at.LastSuccess, l.began); !since.IsZero() {
		out.Lag = time.Since(since)
	}
	return out
}

// begin notes that this server takes up the copy, or gives it up.
func (l *loop) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began, l.at.LastSuccess = time.Now(), time.Time{}
}

// supervise runs the loop until ctx ends, and starts it anew when it makes no progress any more.
func (l *loop) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		l.step()
		turn, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { // ends soon after its turn, unless what it called does not heed that
			defer close(done)
			l.run(turn)
		}()
		stalled := l.watch(turn)
		stop()
		if !stalled {
			<-done
			return
		}
		// What hangs is left to itself: it changes nothing any more once its turn is over.
		l.mu.Lock()
		l.at.Restarts++
		l.mu.Unlock()
		metrics.IncrCounterWithLabels([]string{"leader", "replication", "restarts"}, 1, append([]metrics.Label{{Name: "kind", Value: string(l.kind)}}, l.labels...))
		l.log.Error("a copy has made no progress and is started anew", "kind", l.kind, "source", l.source(), "for", stallAfter)
	}
}

// watch blocks until ctx ends, or the loop has made no step for too long, which it reports.
func (l *loop) watch(ctx context.Context) (stalled bool) {
	for {
		l.mu.Lock()
		left := time.Until(l.moved.Add(stallAfter))
		l.mu.Unlock()
		if left <= 0 {
			return true
		}
		if !pause.For(ctx, left) {
			return false
		}
	}
}

// run makes round after round until ctx ends.
func (l *loop) run(ctx context.Context) {
	from := uint64(0) // the index of the source that this copy has come to in this turn
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := l.round(ctx, l, &from)
		if ctx.Err() != nil {
			return
		}
		if err != nil && l.failed != nil {
			l.failed(ctx, err)
		}
		l.note(err)
		rest := roundPause - time.Since(began)
		if failures++; err == nil {
			failures = 0
		} else {
			most := failurePause
			if catalog.CodeOf(err) == catalog.NoPath {
				most = lostPause
			}
			rest = min(roundPause<<min(failures-1, 10), most)
		}
		pause.For(ctx, rest)
	}
}

// step notes that the loop goes on.
func (l *loop) step() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved = time.Now()
}

// note keeps what came of a round, and logs an error once.
func (l *loop) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.moved = now
	l.gauge("index", float32(l.at.Index))
	if err == nil {
		if l.told != "" || l.at.LastSuccess.IsZero() {
			l.log.Info("the copy is as its source is", "kind", l.kind, "source", l.source(), "rows", l.at.Rows)
		}
		l.at.LastSuccess, l.told = now, ""
		l.gauge("status", 1)
		return
	}
	l.miss(err)
	what := err.Error()
	if catalog.CodeOf(err) == catalog.NoPath {
		what = "no path" // since when, and how, is another matter
	}
	if l.told != what {
		l.told = what
		l.log.Warn("the copy is not as its source is; it is tried again", "kind", l.kind, "source", l.source(), "err", err)
	}
}

// miss keeps why the copy is not as its source is. The lock is held.
func (l *loop) miss(err error) {
	l.at.LastError, l.at.LastErrorMessage = time.Now(), err.Error()
	if loss := (*Loss)(nil); errors.As(err, &loss) {
		l.at.LastErrorMessage = loss.Summary() // everybody may read this
	}
	l.gauge("status", 0)
}

func (l *loop) gauge(name string, value float32) {
	metrics.SetGaugeWithLabels([]string{"leader", "replication", string(l.kind), name}, value, l.labels)
}
