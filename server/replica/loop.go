package replica

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
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

// loop copies one kind.
type loop struct {
	replica *Replica
	kind    catalog.ReplicaKind

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
		metrics.IncrCounterWithLabels([]string{"leader", "replication", "restarts"}, 1, []metrics.Label{{Name: "kind", Value: string(l.kind)}})
		l.replica.cfg.Log.Error("the copy from the primary datacenter has made no progress and is started anew", "kind", l.kind, "primary", l.replica.cfg.Primary(), "for", stallAfter)
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
	from := uint64(0) // the index of the primary that this copy has come to in this turn
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := l.round(ctx, &from)
		if ctx.Err() != nil {
			return
		}
		l.replica.learn(ctx, err)
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

// round waits for news of the primary after an index, at 0 only asks, and makes the copy as the primary is.
func (l *loop) round(ctx context.Context, from *uint64) error {
	r := l.replica
	theirs, index, err := r.theirs(ctx, l.kind, *from, roundWait)
	if err != nil {
		return err
	}
	if index < *from {
		r.cfg.Log.Warn("the primary datacenter is older than it was: was a snapshot restored there? Its state counts", "kind", l.kind, "primary", r.cfg.Primary(), "index", index, "was", *from)
	}
	if !rules(state.Ruler(r.store.Read(), nil), r.cfg.Primary(), theirs.ClusterID) {
		r.lookAnew()
		return ctx.Err()
	}
	for tries := 1; ; tries++ {
		refused, err := r.match(ctx, l.kind, theirs.Keys, l.step)
		if err != nil {
			return err
		}
		if len(refused) == 0 {
			break
		}
		if tries == settleTries {
			return notStored(refused)
		}
		if !pause.For(ctx, roundPause) {
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	*from, l.at.Index, l.at.Rows = index, index, len(theirs.Keys)
	return nil
}

func notStored(refused []string) error {
	return catalog.Errorf(catalog.Unavailable, "%d rows of the primary could not be stored yet: %s", len(refused), strings.Join(refused[:min(len(refused), 3)], "; "))
}

// rules reports whether the ruler that is stored is the primary, and no other cluster of that name.
func rules(ruler *catalog.Ruler, primary, clusterID string) bool {
	return ruler != nil && ruler.Datacenter == primary && (ruler.ClusterID == "" || clusterID == "" || ruler.ClusterID == clusterID)
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
	now, log := time.Now(), l.replica.cfg.Log
	l.moved = now
	l.gauge("index", float32(l.at.Index))
	if err == nil {
		if l.told != "" || l.at.LastSuccess.IsZero() {
			log.Info("the copy is as the primary datacenter is", "kind", l.kind, "primary", l.replica.cfg.Primary(), "rows", l.at.Rows)
		}
		l.at.LastSuccess, l.told = now, ""
		l.gauge("status", 1)
		return
	}
	l.failed(err)
	what := err.Error()
	if catalog.CodeOf(err) == catalog.NoPath {
		what = "no path" // since when, and how, is another matter
	}
	if l.told != what {
		l.told = what
		log.Warn("the copy from the primary datacenter is not as that is; it is tried again", "kind", l.kind, "primary", l.replica.cfg.Primary(), "err", err)
	}
}

// failed keeps why the copy is not as the primary is. The lock is held.
func (l *loop) failed(err error) {
	l.at.LastError, l.at.LastErrorMessage = time.Now(), err.Error()
	if loss := (*Loss)(nil); errors.As(err, &loss) {
		l.at.LastErrorMessage = loss.Summary() // everybody may read this
	}
	l.gauge("status", 0)
}

func (l *loop) gauge(name string, value float32) {
	metrics.SetGauge([]string{"leader", "replication", string(l.kind), name}, value)
}
