package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// redial is the first pause after which a connection that failed is tried again; it doubles up to redialMax, and for one
	// that the other side refused it is that at once.
	redial    = time.Second
	redialMax = 30 * time.Second
	// farewell bounds the time in which the other cluster is told that the peering was deleted.
	farewell = 3 * time.Second
	// missing is how long a leader that has just begun waits for the other cluster to come, and for a token to be used here, before
	// it says that it does not happen: for longer than exchangeTimeout.
	missing = 30 * time.Second
	// tidyRetry is the pause after which what could not be removed is tried again.
	tidyRetry = time.Second
)

// line is the leader's care for one peering.
type line struct {
	peers  *Peers
	id     string
	log    *slog.Logger // names the peering
	status status

	mu      sync.Mutex
	ctx     context.Context         // of the leadership; nil before run
	present context.CancelCauseFunc // ends the stream that stands; nil without one
	told    bool                    // the other cluster has heard that the peering was deleted
	changed chan struct{}           // holds one: a stream has begun or ended
}

func newLine(p *Peers, row *catalog.Peering) *line {
	return &line{peers: p, id: row.ID, log: p.logOf(row), changed: make(chan struct{}, 1)}
}

// Why a stream ends that nothing was wrong with.
var (
	errDeleted  = errors.New("the peering was deleted here")
	errGone     = errors.New("the peering was deleted there")
	errReplaced = errors.New("the other cluster has opened another stream")
	errAltered  = errors.New("the peering was established anew")
)

// run looks after the peering until it is removed, or ctx ends.
func (l *line) run(ctx context.Context) {
	l.mu.Lock()
	l.ctx = ctx
	l.mu.Unlock()
	failures := 0
	for ctx.Err() == nil {
		gone, w := l.peers.cfg.Store.Abandoned(), &state.Watch{}
		row := state.PeeringByID(l.peers.cfg.Store.Read(), w, l.id)
		switch {
		case row == nil:
			return
		case row.State == catalog.PeeringDeleting:
			l.remove(ctx, row)
		case row.State == catalog.PeeringTerminated:
			if l.clear(ctx) {
				_ = w.Wait(ctx, gone) // ctx is asked above
			}
		case row.Dials():
			failures = l.dial(ctx, row, failures)
		default:
			l.await(ctx, row, w, gone)
		}
	}
}

// while returns a context that ends with what a stream of row depends on: errDeleted and errAltered are its causes. stop
// must be called.
func (l *line) while(ctx context.Context, row *catalog.Peering) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		for ctx.Err() == nil {
			gone, w := l.peers.cfg.Store.Abandoned(), &state.Watch{}
			now := state.PeeringByID(l.peers.cfg.Store.Read(), w, l.id)
			switch {
			case now == nil || now.Ended():
				cancel(errDeleted)
			case row.Secrets == nil || now.Secrets == nil || now.Secrets.Stream != row.Secrets.Stream || now.Secrets.Accepted != row.Secrets.Accepted:
				cancel(errAltered)
			default:
				_ = w.Wait(ctx, gone) // ctx is asked above
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// dial makes one stream and carries it to its end. It returns how many attempts have failed in a row, after a pause.
func (l *line) dial(ctx context.Context, row *catalog.Peering, failures int) int {
	attempt, stop := l.while(ctx, row)
	stood, err := l.connect(attempt, row)
	cause := context.Cause(attempt)
	stop()
	if cause != nil { // it was ended here
		return 0
	}
	if stood {
		failures = 0
	}
	code := catalog.CodeOf(err)
	if errors.Is(err, errGone) || code == catalog.NotFound {
		l.end(ctx, err)
		return 0
	}
	l.lost(ctx, err)
	wait := min(redial<<min(failures, 10), redialMax)
	if final(code) {
		wait = redialMax
	}
	again, stop := l.while(ctx, row) // who establishes anew does not wait
	defer stop()
	pause.For(again, wait/2+rand.N(wait/2+1))
	return failures + 1
}

// connect opens a stream at one of the servers, which is for the leader, and carries it. It reports whether it stood.
func (l *line) connect(ctx context.Context, row *catalog.Peering) (stood bool, err error) {
	now, err := l.peers.identity.now()
	if err != nil {
		return false, err
	}
	to, err := parseServerName(row.PeerServerName)
	if err != nil {
		return false, err
	}
	reach, err := l.peers.reach(now, to, row.PeerCAPems, row.PeerServerAddresses)
	if err != nil {
		return false, err
	}
	defer reach.Close()
	var failed error
	for _, way := range reach.ways {
		stood, err := l.open(ctx, row, way)
		if stood || ctx.Err() != nil || final(catalog.CodeOf(err)) || errors.Is(err, errGone) {
			return stood, err
		}
		failed = errors.Join(failed, err)
	}
	return false, failed
}

func (l *line) open(ctx context.Context, row *catalog.Peering, way api.Opener) (stood bool, err error) {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a stream that is ended here still says why
	defer cancel()
	call := &rpc.Call{Method: api.PeerStream.Name, Body: &api.PeeringOpen{PeerID: row.PeerID, Stream: row.Secrets.Stream.Reveal()}}
	opening := context.AfterFunc(ctx, cancel)
	stream, err := way.Open(inner, call)
	if err != nil {
		opening()
		return false, err
	}
	defer stream.Close()
	opening()
	return l.carry(ctx, row, stream, func() { stream.CloseWrite() })
}

// carry registers the stream as the present one, in place of another, and carries it to its end.
func (l *line) carry(ctx context.Context, row *catalog.Peering, stream io.ReadWriter, finish func()) (stood bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.mu.Lock()
	if l.present != nil {
		l.present(errReplaced)
	}
	l.present = cancel
	l.mu.Unlock()
	l.tell()
	s := newSession(l, row, stream, finish)
	err = s.run(ctx)
	l.mu.Lock()
	last := context.Cause(ctx) != errReplaced
	if last {
		l.present = nil
	}
	if s.farewell.Load() {
		l.told = true
	}
	l.mu.Unlock()
	l.tell()
	return s.stood.Load(), err
}

func (l *line) tell() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *line) connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.present != nil
}

// lost notes why there is no stream. A peering that was active is failing, and one that was to become so.
func (l *line) lost(ctx context.Context, err error) {
	if l.status.fail(err) {
		l.log.Warn("there is no connection with a peer; it is tried again", "err", err)
	}
	l.mark(ctx, catalog.PeeringFailing, func(row *catalog.Peering) bool {
		return row.State == catalog.PeeringActive || row.State == catalog.PeeringEstablishing
	})
}

// abandoned notes that nobody uses the token any more for which the peering was made: whoever did would have ended long ago.
func (l *line) abandoned() {
	err := catalog.Errorf(catalog.Unavailable, "the use of the token broke off here, as the server that led ended: establish the peering again, with another token if that one was used, or delete it")
	if l.status.fail(err) {
		l.log.Warn("a peering was not established", "err", err)
	}
}

// mark gives the peering another state if it may have it.
func (l *line) mark(ctx context.Context, to catalog.PeeringState, may func(*catalog.Peering) bool) {
	err := l.peers.change(ctx, l.id, func(row *catalog.Peering) error {
		if may(row) {
			row.State = to
		}
		return nil
	})
	if err != nil && ctx.Err() == nil && catalog.CodeOf(err) != catalog.NotFound {
		l.log.Warn("the state of a peering could not be stored", "state", to, "err", err)
	}
}

// end takes the peering for terminated: the other cluster has said so.
func (l *line) end(ctx context.Context, why error) {
	l.log.Warn("a peering was ended by the other cluster: delete it here, or establish it anew", "err", why)
	l.status.fail(why)
	l.mark(ctx, catalog.PeeringTerminated, func(row *catalog.Peering) bool { return row.State != catalog.PeeringDeleting })
}

// await waits for the other cluster, which dials. It returns when the row has changed.
func (l *line) await(ctx context.Context, row *catalog.Peering, w *state.Watch, gone <-chan struct{}) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	altered := make(chan struct{})
	go func() { // ends with inner
		defer close(altered)
		_ = w.Wait(inner, gone) // whatever ends it
	}()
	defer func() { cancel(); <-altered }()
	late := time.NewTimer(missing)
	defer late.Stop()
	for {
		select {
		case <-altered:
			return
		case <-ctx.Done():
			return
		case <-l.changed:
			late.Reset(missing)
		case <-late.C:
			switch {
			case row.State == catalog.PeeringEstablishing && row.Secrets == nil:
				l.abandoned()
			case row.State == catalog.PeeringActive && !l.connected():
				l.lost(ctx, catalog.Errorf(catalog.Unavailable, "the other cluster, which dials, has not come since"))
			}
		}
	}
}

// clear removes what was imported, and reports whether it did.
func (l *line) clear(ctx context.Context) bool {
	row := state.PeeringByID(l.peers.cfg.Store.Read(), nil, l.id)
	if row == nil {
		return true
	}
	if found, _ := state.Imports(l.peers.cfg.Store.Read(), nil, row.Name); len(found) == 0 {
		return true
	}
	_, _, err := api.PeeringTake.Call(ctx, l.peers.cfg.Write, rpc.Header{}, &api.PeeringImport{ID: l.id, Whole: true})
	if err != nil && ctx.Err() == nil {
		l.log.Warn("what a peer exported could not be removed; it is tried again", "err", err)
		pause.For(ctx, tidyRetry)
	}
	return err == nil
}

// remove tells the other cluster of the end of the peering, for no longer than farewell, and removes it.
func (l *line) remove(ctx context.Context, row *catalog.Peering) {
	l.bid(ctx, row)
	if _, _, err := api.PeeringRemove.Call(ctx, l.peers.cfg.Write, rpc.Header{}, &api.Named{Name: l.id}); err != nil && ctx.Err() == nil {
		l.log.Warn("a peering that was deleted could not be removed; it is tried again", "err", err)
		pause.For(ctx, tidyRetry)
	}
}

// bid waits until a stream that stands has said farewell, or makes one for it where this cluster dials.
func (l *line) bid(ctx context.Context, row *catalog.Peering) {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	for l.connected() {
		select {
		case <-l.changed:
		case <-ctx.Done():
			return
		}
	}
	l.mu.Lock()
	told := l.told
	l.mu.Unlock()
	if told || !row.Dials() {
		return // who dials in the end finds that there is nothing
	}
	ended, end := context.WithCancelCause(ctx)
	end(errDeleted)
	now, err := l.peers.identity.now()
	if err != nil {
		return
	}
	to, err := parseServerName(row.PeerServerName)
	if err != nil {
		return
	}
	reach, err := l.peers.reach(now, to, row.PeerCAPems, row.PeerServerAddresses)
	if err != nil {
		return
	}
	defer reach.Close()
	for _, way := range reach.ways {
		if l.leave(ctx, ended, row, way) {
			return
		}
	}
	l.log.Warn("the other cluster of a peering that was deleted could not be told: delete it there too")
}

func (l *line) leave(ctx, ended context.Context, row *catalog.Peering, way api.Opener) bool {
	stream, err := way.Open(ctx, &rpc.Call{Method: api.PeerStream.Name, Body: &api.PeeringOpen{PeerID: row.PeerID, Stream: row.Secrets.Stream.Reveal()}})
	if err != nil {
		return false
	}
	defer stream.Close()
	s := newSession(l, row, stream, func() { stream.CloseWrite() })
	err = s.run(ended)
	return s.farewell.Load() || catalog.CodeOf(err) == catalog.NotFound
}
