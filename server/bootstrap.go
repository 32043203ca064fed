package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server/api"
)

// founder brings a server without a past into a cluster: one that is there, whose leader takes it in, or a new
// one, when as many servers as are expected know one another and none of them is in a cluster.
//
// The expected server with the lowest id founds: it writes the first configuration to its log, which the
// others get as they get all entries. Before, each of them promises to found nothing itself and to follow
// nobody else for a while. Two sets of servers that share one so never found two clusters.
type founder struct {
	id, name string
	expect   int // 0 founds none
	roster   *roster
	raft     *raftNode
	ask      func(ctx context.Context, addr string, q *api.StandingQuery) (*api.Standing, error)
	leaders  *signal
	log      *slog.Logger

	mu       sync.Mutex
	promised promise
	told     wait // what it last said that it waits for
}

// wait is what a server waits for; the zero value is nothing. Something is wrong when it does not come by itself.
type wait struct {
	text  string
	wrong bool
}

// promise is to a founder that is asking, until it is over.
type promise struct {
	id, name string
	until    time.Time
}

const (
	// foundRetry is the pause after which servers that disagreed or did not answer are asked again.
	foundRetry = time.Second
	// askTimeout bounds the wait for another server's standing.
	askTimeout = 2 * time.Second
)

// run returns when this server is in a cluster, or ctx ends.
func (f *founder) run(ctx context.Context) error {
	for {
		changed, led := f.roster.changed.wait(), f.leaders.wait()
		if len(f.raft.servers()) > 0 {
			f.tell(wait{})
			return nil
		}
		waits := f.try(ctx)
		if waits == (wait{}) {
			continue
		}
		if ctx.Err() == nil {
			f.tell(waits)
		}
		again := time.NewTimer(foundRetry)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-led:
		case <-again.C:
		}
		if again.Stop(); ctx.Err() != nil {
			return nil
		}
	}
}

// waitsFor is what this server waits for, empty when it is in a cluster or has not looked yet.
func (f *founder) waitsFor() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told.text
}

// tell logs what this server waits for when that is news.
func (f *founder) tell(waits wait) {
	f.mu.Lock()
	news := f.told != waits
	f.told = waits
	f.mu.Unlock()
	switch {
	case news && waits == (wait{}):
		f.log.Info("this server is in a cluster now", "servers", len(f.raft.servers()))
	case news && waits.wrong:
		f.log.Warn("no cluster yet", "because", waits.text)
	case news:
		f.log.Info("no cluster yet", "because", waits.text)
	}
}

// try founds a cluster if it is this server's turn, and returns what it waits for else.
func (f *founder) try(ctx context.Context) wait {
	alive := f.roster.alive()
	others := slices.DeleteFunc(slices.Clone(alive), func(s gossip.Server) bool { return s.ID == f.id })
	stands, silent := f.askAll(ctx, others, api.StandingQuery{})
	for _, s := range stands {
		if slices.Contains(s.Servers, f.id) {
			return wait{text: s.Name + " has founded the cluster with this server in it, and its log is to come"}
		}
		if len(s.Servers) > 0 {
			return wait{fmt.Sprintf("%s is in a cluster of %d already, whose leader takes this server in%s", s.Name, len(s.Servers), f.noLeader(s)), s.Leader == ""}
		}
	}
	if f.expect == 0 {
		return wait{"this server founds none, as bootstrap_expect is not set, and of " + known(others) + " none is in one: set bootstrap_expect on the first servers", true}
	}
	for _, s := range others {
		if s.Expect != f.expect && s.Expect > 0 {
			return wait{fmt.Sprintf("%s at %s has bootstrap_expect = %d and this server, %s, has %d: give all servers the same", s.Name, s.Addr, s.Expect, f.name, f.expect), true}
		}
	}
	peers := slices.DeleteFunc(alive, func(s gossip.Server) bool { return s.Expect != f.expect || s.NonVoter })
	if len(peers) < f.expect {
		return wait{text: fmt.Sprintf("waiting for %d servers, %d known: %s", f.expect, len(peers), names(peers))}
	}
	if silent != "" {
		return wait{silent, true}
	}
	peers = peers[:f.expect]
	switch turn := peers[0]; {
	case !slices.ContainsFunc(peers, func(s gossip.Server) bool { return s.ID == f.id }):
		return wait{text: fmt.Sprintf("more servers are here than the %d expected: %s found the cluster, whose leader takes this server in", f.expect, names(peers))}
	case turn.ID != f.id:
		return wait{text: fmt.Sprintf("all %d servers are known: %s; waiting for %s to found the cluster", f.expect, names(peers), turn.Name)}
	}
	return f.found(ctx, peers)
}

func (f *founder) noLeader(s *api.Standing) string {
	if s.Leader == "" {
		return ", but it knows none"
	}
	return ""
}

// found writes the first configuration when all peers agree to it.
func (f *founder) found(ctx context.Context, peers []gossip.Server) wait {
	begun := time.Now()
	if to := f.keep(f.id, f.name); to != "" {
		return wait{text: "this server has promised to wait for " + to}
	}
	first := raft.Configuration{}
	ids := make([]string, 0, len(peers))
	for _, p := range peers {
		addr, _ := f.roster.addrOf(raft.ServerID(p.ID))
		first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(p.ID), Address: addr})
		ids = append(ids, p.ID)
	}
	stands, waits := f.askAll(ctx, slices.DeleteFunc(peers, func(s gossip.Server) bool { return s.ID == f.id }), api.StandingQuery{Found: ids})
	for _, s := range stands {
		if !s.Agreed {
			waits = fmt.Sprintf("%s does not agree to a cluster of %d: it waits for %q, and expects %d servers", s.Name, f.expect, s.Promised, s.Expect)
		}
	}
	if waits == "" && time.Since(begun) > api.PromiseTime/2 {
		waits = "the other servers took too long to agree"
	}
	if waits != "" {
		f.release()
		return wait{waits, true}
	}
	f.log.Info("founding a cluster", "servers", strings.Join(ids, ", "))
	if err := f.raft.BootstrapCluster(first).Error(); err != nil {
		return wait{fmt.Sprintf("the first configuration could not be written: %v", err), true}
	}
	f.raft.standForElection()
	return wait{}
}

// keep promises to wait for a founder, and returns to whom another promise still holds.
func (f *founder) keep(id, name string) (other string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.promised.id != id && now.Before(f.promised.until) {
		return f.promised.name
	}
	f.promised = promise{id, name, now.Add(api.PromiseTime)}
	return ""
}

func (f *founder) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.promised = promise{}
}

// stand answers another server, which may offer a place in a cluster that it founds.
func (f *founder) stand(q *api.StandingQuery) *api.Standing {
	s := f.raft.standing()
	s.ID, s.Name, s.Expect = f.id, f.name, f.expect
	switch {
	case len(s.Servers) > 0 || !slices.Contains(q.Found, f.id):
	case len(q.Found) != f.expect:
	default:
		s.Promised = f.keep(q.ID, q.Name)
		s.Agreed = s.Promised == ""
	}
	return s
}

// askAll asks servers side by side how they stand, as this server. It says who did not answer.
func (f *founder) askAll(ctx context.Context, servers []gossip.Server, q api.StandingQuery) (stands []*api.Standing, silent string) {
	q.ID, q.Name = f.id, f.name
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all := make([]*api.Standing, len(servers))
	errs := make([]error, len(servers))
	var asking sync.WaitGroup
	for i, s := range servers {
		asking.Go(func() {
			all[i], errs[i] = f.ask(ctx, s.Addr.String(), &q)
		})
	}
	asking.Wait()
	for i, s := range servers {
		if errs[i] != nil {
			silent = fmt.Sprintf("gossip knows %s, whose port for RPC at %s does not answer: %v", s.Name, s.Addr, reason(errs[i]))
			continue
		}
		stands = append(stands, all[i])
	}
	return stands, silent
}

// reason is what is wrong with a connection without the port that only this one had: the same failure reads
// the same each time.
func reason(err error) error {
	if broken := new(net.OpError); errors.As(err, &broken) {
		return broken.Err
	}
	return err
}

func known(servers []gossip.Server) string {
	if len(servers) == 0 {
		return "0 other servers that are known"
	}
	return fmt.Sprintf("%d other servers that are known (%s)", len(servers), names(servers))
}

func names(servers []gossip.Server) string {
	list := make([]string, 0, len(servers))
	for _, s := range servers {
		list = append(list, s.Name)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// askStanding asks the server at addr.
func askStanding(pool *rpc.Pool) func(ctx context.Context, addr string, q *api.StandingQuery) (*api.Standing, error) {
	return func(ctx context.Context, addr string, q *api.StandingQuery) (*api.Standing, error) {
		s, _, err := api.StatusStanding.Call(ctx, pool.To(addr), rpc.Header{}, q)
		return s, err
	}
}
