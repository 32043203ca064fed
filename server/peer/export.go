package peer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/rpc/tend"
)

// gather is how long changes are gathered before they are told, so that a burst of them is one.
const gather = 50 * time.Millisecond

// follow tells the other side what is exported to it, and each change of that, until ctx ends.
func (s *session) follow(ctx context.Context) {
	var watched tend.Set[string]
	defer watched.End()
	store := s.line.peers.cfg.Store
	for {
		gone, w := store.Abandoned(), &state.Watch{}
		tx := store.Read()
		s.out.introduce(s.line.peers.bundle(tx, w, s.row.Name))
		names := s.line.peers.cfg.Exports(tx, w, s.row.Name)
		s.out.export(names)
		watched.Keep(func(name string) bool {
			_, still := slices.BinarySearch(names, name)
			return still
		})
		for _, name := range names {
			watched.Begin(ctx, name, func(ctx context.Context) { s.watch(ctx, name) })
		}
		if w.Wait(ctx, gone) != nil || !pause.For(ctx, gather) {
			return
		}
	}
}

// watch tells of one service until ctx ends.
func (s *session) watch(ctx context.Context, name string) {
	store := s.line.peers.cfg.Store
	for {
		gone, w := store.Abandoned(), &state.Watch{}
		tx := store.Read()
		plain, _, _ := state.ServiceInstances(tx, w, name)
		mesh, _, _ := state.ConnectInstances(tx, w, name)
		u := &serviceUpdate{Name: name}
		for _, i := range plain {
			if i.Service.Kind == catalog.KindTypical {
				u.Instances = append(u.Instances, i.Exported())
			}
		}
		for _, i := range mesh {
			u.Sidecars = append(u.Sidecars, i.Exported())
		}
		if ctx.Err() == nil {
			s.out.update(u)
		}
		if w.Wait(ctx, gone) != nil || !pause.For(ctx, gather) {
			return
		}
	}
}

// bundle is how this cluster's servers and gateways are reached and known, for the peer with a name.
func (p *Peers) bundle(tx *state.Txn, w *state.Watch, peer string) *bundle {
	now := p.identity.present.Load()
	if now == nil {
		return nil
	}
	list, _ := state.Roots(tx, w)
	return &bundle{ServerName: serverName(now.id), Roots: rootsOf(list), Addresses: p.meetingPoints(tx, w), KnownAs: peer, Gateways: gateways(tx, w, (*catalog.Instance).Abroad)}
}

// outbox holds what is to be sent, of each thing the latest only: a slow reader costs no more than there is.
type outbox struct {
	mu      sync.Mutex
	beats   bool
	last    bool
	closed  bool // last was taken
	bundle  *bundle
	told    *bundle
	names   []string
	listed  bool // names was put at least once
	relist  bool // names is to be sent
	updates map[string]*serviceUpdate
	order   []string
	wake    chan struct{} // holds one
}

func newOutbox() *outbox {
	return &outbox{updates: map[string]*serviceUpdate{}, wake: make(chan struct{}, 1)}
}

func (o *outbox) put(add func()) {
	o.mu.Lock()
	add()
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) beat()    { o.put(func() { o.beats = true }) }
func (o *outbox) goodbye() { o.put(func() { o.last = true }) }

func (o *outbox) ended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// introduce sends a bundle unless it is what was sent last.
func (o *outbox) introduce(b *bundle) {
	o.put(func() {
		if b != nil && (o.told == nil || !o.told.same(b)) {
			o.bundle, o.told = b, b
		}
	})
}

// export sends the list of exports where it has changed, and nothing more of what is not in it.
func (o *outbox) export(names []string) {
	o.put(func() {
		if o.listed && slices.Equal(names, o.names) {
			return
		}
		o.names, o.listed, o.relist = names, true, true
		o.order = slices.DeleteFunc(o.order, func(name string) bool {
			_, still := slices.BinarySearch(names, name)
			if !still {
				delete(o.updates, name)
			}
			return !still
		})
	})
}

// update sends how a service is now, if it is exported.
func (o *outbox) update(u *serviceUpdate) {
	o.put(func() {
		if _, listed := slices.BinarySearch(o.names, u.Name); !listed {
			return
		}
		if o.updates[u.Name] == nil {
			o.order = append(o.order, u.Name)
		}
		o.updates[u.Name] = u
	})
}

// next waits for something to send; last is the end.
func (o *outbox) next(ctx context.Context) (frames [][]byte, last bool, err error) {
	for {
		if frames, last, err = o.pop(); err != nil || len(frames) > 0 {
			return frames, last, err
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

func (o *outbox) pop() (frames [][]byte, last bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := &message{}
	switch {
	case o.last:
		o.closed, m.Gone, last = true, true, true
	case o.beats:
		o.beats, m.Heartbeat = false, true
	case o.bundle != nil:
		m.Bundle, o.bundle = o.bundle, nil
	case o.relist:
		m.Exports, o.relist = &exportList{true, o.names}, false
	case len(o.order) > 0:
		u := o.updates[o.order[0]]
		delete(o.updates, o.order[0])
		o.order = o.order[1:]
		frames, _, err = pieces(u)
		return frames, false, err
	default:
		return nil, false, nil
	}
	frame, err := encodeMessage(m)
	return [][]byte{frame}, last, err
}
