package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
)

var errClosed = errors.New("the pool is closed")

// Pool is this node's part in a LAN or WAN pool. All methods may be called at once from many goroutines, also after
// Close: then they return an error or the last state.
type Pool struct {
	cfg  Config
	self netip.AddrPort // as advertised
	log  *slog.Logger
	serf *serf.Serf
	ring *ring      // nil without encryption
	net  *transport // nil when the caller brought one
	lib  *libraryLog

	raw        chan serf.Event // from serf, drained by pump
	conflicts  chan Event      // from gate, drained by pump
	keyQueries chan *serf.Query
	events     chan Event
	behind     chan struct{} // for catchUp
	newcomers  int           // of pump alone: members that came since catchUp was told
	roster     roster
	queue      queue // of pump alone

	closing   chan struct{} // closed when Close begins
	closed    chan struct{} // and when it is through
	closeOnce sync.Once
	closeErr  error
	wg        sync.WaitGroup // our own goroutines

	// These locks are held over waits on the network, so they are channels with room for their one holder: in a
	// synctest bubble a waiter on a sync.Mutex would stop the clock.
	leaving chan struct{} // memberlist must not be shut down in the middle of Leave
	tagging chan struct{} // serf does not order its callers of SetTags

	lostUserEvents stat
}

// Open validates cfg, binds the sockets and starts the pool, which knows only its own node so far, or goes looking for
// the members in the snapshot. It takes a few milliseconds: it resolves no name and waits for nobody. The caller must
// end the pool with Run or Close, and read Events.
func Open(cfg Config) (*Pool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Pool{
		cfg:        cfg,
		log:        cfg.Logger,
		lib:        newLibraryLog(cfg.LibraryLog),
		raw:        make(chan serf.Event, rawBacklog),
		conflicts:  make(chan Event, 16),
		keyQueries: make(chan *serf.Query, keyBacklog),
		events:     make(chan Event),
		behind:     make(chan struct{}, 1),
		closing:    make(chan struct{}),
		closed:     make(chan struct{}),
		leaving:    make(chan struct{}, 1),
		tagging:    make(chan struct{}, 1),
	}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("gossip %s: %w", cfg.Kind, err)
	}
	return p, nil
}

func (p *Pool) open() (err error) {
	keys, err := startKeys(p.cfg)
	if err != nil {
		return err
	}
	if p.ring, err = newRing(p.cfg.KeyringFile, keys); err != nil {
		return err
	}
	if err := prepareSnapshot(p.cfg.SnapshotFile, p.cfg.Name); err != nil {
		return err
	}
	trans := p.cfg.Transport
	if trans == nil {
		if p.net, err = listen(p.cfg, p.log); err != nil {
			return err
		}
		trans = p.net
	}
	fail := func(err error) error { return errors.Join(err, trans.Shutdown()) }
	ip, port, err := trans.FinalAdvertiseAddr(p.cfg.Advertise.Addr().String(), int(p.cfg.Advertise.Port()))
	if err != nil {
		return fail(err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	p.self = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	cfg := p.serfConfig(trans, log.New(p.lib, "", 0))
	if p.serf, err = serf.Create(cfg); err != nil {
		return fail(err)
	}
	hideKeys(cfg)
	if p.net != nil {
		p.net.start()
	}
	p.wg.Go(p.pump)
	p.wg.Go(p.catchUp)
	if p.ring != nil {
		p.wg.Go(p.serveKeyring)
	}
	return nil
}

// Run returns after ctx ended and the pool is closed. It does not leave the pool: call Leave before for that.
func (p *Pool) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-p.closing:
	}
	return p.Close()
}

// Close ends the pool: sockets and connections are closed and the pool's goroutines have ended when it returns; probes
// and timers of the library that are under way end by themselves within a probe interval or two. Without a Leave
// before, the others will find this node failed. It may be called more than once.
func (p *Pool) Close() error {
	first := false
	p.closeOnce.Do(func() {
		first = true
		close(p.closing)
	})
	if first {
		p.leaving <- struct{}{}
		if p.closeErr = p.serf.Shutdown(); p.closeErr == nil {
			p.wg.Wait()
		}
		<-p.leaving
		close(p.closed)
	}
	<-p.closed
	return p.closeErr
}

// ended refuses what would hand serf events that nobody takes any more: it would block for good.
func (p *Pool) ended() error {
	select {
	case <-p.closing:
		return fmt.Errorf("gossip %s: %w", p.cfg.Kind, errClosed)
	default:
		return nil
	}
}

// Events tells what happens in the pool, the own joining first. The channel has no buffer and one reader: what he does
// not take is kept for him, news about a member in place of older ones about the same, user events up to 256. It is
// closed when the pool is.
func (p *Pool) Events() <-chan Event { return p.events }

// Members returns everybody known, also those that failed or left and are not forgotten yet, sorted by name.
func (p *Pool) Members() []Member {
	ms := p.serf.Members()
	members := make([]Member, len(ms))
	for i := range ms {
		members[i] = fromSerf(&ms[i])
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return members
}

// LocalMember is this node as the others see it.
func (p *Pool) LocalMember() Member {
	m := p.serf.LocalMember()
	return fromSerf(&m)
}

// Leave tells the others that this node goes on purpose. It returns when the news had time to spread
// (Timings.LeavePropagateDelay), at once when there is nobody else; the pool stays open for its last answers.
// ctx cuts that wait short, not the two Timings.BroadcastTimeout that the announcement takes at most. A node that left
// can join again only as a new Pool.
func (p *Pool) Leave(ctx context.Context) error {
	p.leaving <- struct{}{}
	defer func() { <-p.leaving }()
	alone := p.alone()
	if err := p.serf.Leave(); err != nil {
		return fmt.Errorf("gossip %s: leave: %w", p.cfg.Kind, err)
	}
	if alone {
		return nil
	}
	t := time.NewTimer(p.cfg.Timings.LeavePropagateDelay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-p.closing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Pool) alone() bool {
	return !slices.ContainsFunc(p.serf.Members(), func(m serf.Member) bool {
		return m.Status == serf.StatusAlive && m.Name != p.cfg.Name
	})
}

// ForceLeave makes the others take a failed member for one that left; prune makes them forget it at once. A member that
// lives refutes it. An unknown name is an error. It waits until the news went out, at most Timings.BroadcastTimeout.
func (p *Pool) ForceLeave(name string, prune bool) error {
	if err := p.ended(); err != nil {
		return err
	}
	known := slices.ContainsFunc(p.serf.Members(), func(m serf.Member) bool { return m.Name == name })
	if !known {
		return fmt.Errorf("gossip %s: no member is called %q: see members for the names", p.cfg.Kind, name)
	}
	leave := p.serf.RemoveFailedNode
	if prune {
		leave = p.serf.RemoveFailedNodePrune
	}
	if err := leave(name); err != nil {
		return fmt.Errorf("gossip %s: force %q to leave: %w", p.cfg.Kind, name, err)
	}
	return nil
}

// SetTags replaces the tags of this node and waits until the news went out, at most Timings.BroadcastTimeout.
func (p *Pool) SetTags(tags map[string]string) error {
	p.tagging <- struct{}{}
	defer func() { <-p.tagging }()
	if err := p.ended(); err != nil {
		return err
	}
	if err := p.serf.SetTags(maps.Clone(tags)); err != nil {
		return fmt.Errorf("gossip %s: set tags: %w", p.cfg.Kind, err)
	}
	return nil
}

// TellCluster tells the others the ClusterTag of this server's cluster. It waits as SetTags does.
func (p *Pool) TellCluster(tag string) error {
	tags := maps.Clone(p.LocalMember().Tags)
	tags[tagCluster] = tag
	return p.SetTags(tags)
}

// UserEvent sends a small message to all nodes, this one included. It is best effort. See UserEvent, the type.
func (p *Pool) UserEvent(name string, payload []byte, coalesce bool) error {
	if err := p.ended(); err != nil {
		return err
	}
	if name == "" {
		return errors.New("user event without a name")
	}
	if n := len(name) + len(payload); n > p.cfg.UserEventSize {
		return fmt.Errorf("user event %.64q has %d bytes of name and payload, more than %d: send less, or a reference",
			name, n, p.cfg.UserEventSize)
	}
	if err := p.serf.UserEvent(name, payload, coalesce); err != nil {
		return fmt.Errorf("user event %.64q: %w", name, err)
	}
	return nil
}

// Stats are counters for the operator: serf's, and what was refused or lost on this node.
func (p *Pool) Stats() map[string]string {
	s := p.serf.Stats()
	s["encrypted"] = strconv.FormatBool(p.EncryptionEnabled())
	s["undecryptable"] = p.lib.undecryptable.text()
	s["user_events_lost"] = p.lostUserEvents.text()
	if p.net != nil {
		s["packets_refused"] = p.net.packetsRefused.text()
		s["streams_refused"] = p.net.streamsRefused.text()
		if far := p.net.far; far != nil {
			s["packets_lost"] = far.lost.text()
		}
	}
	return s
}
