package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/fsm"
)

// host is what the registry needs of the server.
type host struct {
	datacenter string
	primary    string // of the configuration
	server     *Server
	ready      atomic.Uint64 // the term in which this server leads with everything of the past applied; 0 is none
	first      chan struct{} // closed when it is for the first time
	leaders    signal        // given when there may be another leader
	catchUp    *catchUp
	tokens     *authorizers // nil when tokens are not checked
}

func (h *host) join(s *Server) {
	h.server = s
	h.catchUp = &catchUp{leader: s.registry, shown: s.fsm.Shown, by: s.since.Add(s.cfg.HoldTimeout)}
}

// Datacenter implements endpoint.Host.
func (h *host) Datacenter() string { return h.datacenter }

// Primary is the datacenter that rules over the CA, ACLs and config entries.
func (h *host) Primary() string {
	return state.Primacy(h.server.store.Read(), nil).Over(h.primary)
}

// Leading implements endpoint.Host. Whoever lost the leadership and has it again has to catch up anew,
// which the term tells.
func (h *host) Leading() bool {
	ready := h.ready.Load()
	return ready != 0 && h.server.raft.State() == raft.Leader && h.server.raft.CurrentTerm() == ready
}

// Leader implements endpoint.Host.
func (h *host) Leader() (rpc.Caller, error) {
	addr, id := h.server.raft.LeaderWithID()
	if addr == "" || string(id) == h.server.cfg.NodeID {
		return nil, catalog.Errorf(catalog.NoLeader, "no cluster leader: %s", h.server.doctor.plight())
	}
	return &leader{h.server.pool.To(string(addr)), addr, h.server.raft.CurrentTerm()}, nil
}

// leader is the way to the one of a term.
type leader struct {
	*rpc.Target
	addr raft.ServerAddress
	term uint64
}

// lostRetry is the pause after which a leader that could not be reached is tried again.
const lostRetry = 100 * time.Millisecond

// AwaitLeader implements endpoint.Host.
func (h *host) AwaitLeader(ctx context.Context, lost rpc.Caller, since time.Time) error {
	was, _ := lost.(*leader)
	over := time.NewTimer(time.Until(since.Add(h.server.cfg.HoldTimeout)))
	defer over.Stop()
	again := time.NewTimer(lostRetry)
	defer again.Stop()
	for handsOver := lost == rpc.Caller(h.server.registry); ; handsOver = false {
		changed := h.leaders.wait()
		if h.Leading() && !handsOver {
			return nil
		}
		way, err := h.Leader()
		if is, _ := way.(*leader); is != nil && (was == nil || is.addr != was.addr || is.term != was.term) && !handsOver {
			return nil
		}
		select {
		case <-changed:
		case <-h.server.ending:
			return catalog.Errorf(catalog.NoLeader, "no cluster leader: this server, %s, is about to end", h.server.cfg.NodeName)
		case <-again.C:
			if err == nil && was != nil {
				return nil
			}
		case <-over.C:
			switch {
			case err != nil:
				return err
			case was == nil:
				return catalog.Errorf(catalog.NoLeader, "this server gives up the lead, and no other one has taken over")
			}
			return catalog.Errorf(catalog.NoLeader, "the cluster's leader at %s cannot be reached", was.addr)
		case <-ctx.Done():
			return catalog.Errorf(catalog.Unavailable, "the caller stopped waiting for a leader: %w", ctx.Err())
		}
	}
}

// Remote implements endpoint.Host.
func (h *host) Remote(datacenter string) (rpc.Caller, error) {
	way, err := h.server.abroad.remote(datacenter)
	if err != nil {
		return nil, err
	}
	return way, nil
}

// Confirm implements endpoint.Host.
func (h *host) Confirm(context.Context) error {
	return raftError(h.server.raft.confirm())
}

// Leased implements endpoint.Host.
func (h *host) Leased() bool { return h.server.raft.lease.holds() }

// proposeTimeout bounds how long an entry may wait for its turn.
const proposeTimeout = 30 * time.Second

// Propose implements endpoint.Host.
func (h *host) Propose(_ context.Context, entry []byte) (any, error) {
	if !h.server.raft.writes.enter() {
		return nil, catalog.Errorf(catalog.NoLeader, "no cluster leader: this server hands the leadership over")
	}
	defer h.server.raft.writes.leave()
	future := h.server.raft.Apply(entry, proposeTimeout)
	if err := future.Error(); err != nil {
		return nil, raftError(err)
	}
	outcome := future.Response().(fsm.Outcome)
	return outcome.Reply, outcome.Err
}

// Contact implements endpoint.Host.
func (h *host) Contact() (time.Duration, bool) {
	if h.server.raft.State() == raft.Leader {
		return 0, true
	}
	addr, _ := h.server.raft.LeaderWithID()
	last := h.server.raft.LastContact()
	if last.IsZero() {
		return 0, addr != ""
	}
	return time.Since(last), addr != ""
}

// CaughtUp implements endpoint.Host.
func (h *host) CaughtUp() bool { return h.Leading() || h.catchUp.done() }

// Applied implements endpoint.Host.
func (h *host) Applied() uint64 { return h.server.fsm.Applied() }

// Authorize implements endpoint.Host.
func (h *host) Authorize(ctx context.Context, token string) (acl.Authorizer, error) {
	if h.tokens == nil {
		return acl.AllowAll(), nil
	}
	for !h.CaughtUp() { // else a token that is good would be none, and one that was deleted good
		if !pause.For(ctx, catchUpPause) {
			return nil, catalog.Errorf(catalog.Unavailable, "this server has just been started, and the caller stopped waiting for it to know the tokens: %w", ctx.Err())
		}
	}
	az, err := h.tokens.authorize(token)
	if errors.Is(err, errElsewhere) {
		return h.elsewhere(ctx, token)
	}
	return az, err
}
