package server_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/memnet"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

var (
	simSeeds = flag.Int("sim.seeds", 3, "how many simulations to run")
	simFrom  = flag.Uint64("sim.from", 1, "seed of the first one")
)

// TestSimulation breaks whole servers in virtual time, on a network in memory, as a seed says: what is broken when,
// what the clients do and how packets travel. The order of goroutines is the machine's, so a seed repeats the faults and
// not every step.
func TestSimulation(t *testing.T) {
	seeds := *simSeeds
	if testing.Short() {
		seeds = 1
	}
	for seed := *simFrom; seed < *simFrom+uint64(seeds); seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

// simulation is one cluster and those who use it.
type simulation struct {
	t       *testing.T
	rand    *rand.Rand // of the faults
	net     *memnet.Network
	cluster *cluster
	nodes   []*simNode

	mu      sync.Mutex
	floor   int // the counter is at least that, as somebody has been told
	added   int // increments that were acknowledged
	unknown int // increments of which nobody knows
	keys    []string
	calls   int
}

// simNode is a server's place.
type simNode struct {
	*node
	host  *memnet.Host
	lives atomic.Int64 // odd while the server runs; counts its starts and ends
}

const simServers = 3

func simulate(t *testing.T, seed uint64) {
	s := &simulation{t: t, rand: rand.New(rand.NewPCG(seed, 1)), net: memnet.New(seed), cluster: newCluster()}
	s.net.SetAll(memnet.Link{Delay: 250 * time.Microsecond, Jitter: 500 * time.Microsecond})
	for i := range simServers {
		n := &simNode{host: s.net.Host(fmt.Sprint("h", i+1))}
		n.node = s.cluster.start(t, i+1, simServers, func(c *server.Config) {
			c.RaftMultiplier, c.HoldTimeout = 1, 0
			c.Bind, c.Advertise = n.host.Addr(8300), n.host.Addr(8300)
			c.Listen = func(string, string) (net.Listener, error) { return n.host.Listen(8300) }
			c.Connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if n.lives.Load()%2 == 0 && n.lives.Load() > 0 {
					return nil, &net.OpError{Op: "dial", Err: syscall.ENETDOWN} // the dead do not call
				}
				return n.host.Dial(ctx, network, addr)
			}
		})
		n.lives.Store(1)
		s.nodes = append(s.nodes, n)
	}
	for _, n := range s.nodes {
		n.WaitLeader(t.Context())
	}
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() { s.use(ctx, rand.New(rand.NewPCG(seed, uint64(10+i)))) })
	}
	for range 4 + s.rand.IntN(4) {
		time.Sleep(s.between(2, 6))
		s.fault()
	}
	time.Sleep(s.between(2, 4))
	s.net.SetAll(memnet.Link{Delay: time.Millisecond})
	time.Sleep(20 * time.Second)
	stop()
	clients.Wait()
	s.judge()
	for _, n := range s.nodes {
		n.stop()
	}
}

func (s *simulation) between(from, to float64) time.Duration {
	return time.Duration((from + (to-from)*s.rand.Float64()) * float64(time.Second))
}

// pick is the leader more often than not.
func (s *simulation) pick() *simNode {
	if s.rand.IntN(3) > 0 {
		for _, n := range s.nodes {
			if n.State() == raft.Leader {
				return n
			}
		}
	}
	return s.nodes[s.rand.IntN(len(s.nodes))]
}

// fault breaks something for a while and heals it.
func (s *simulation) fault() {
	n := s.pick()
	other := s.nodes[(s.rand.IntN(simServers-1)+1+n.index())%simServers]
	switch s.rand.IntN(6) {
	case 0, 1:
		s.crash(n)
	case 2:
		s.net.Partition(n.host.Name())
	case 3:
		s.net.Cut(n.host.Name(), other.host.Name())
	case 4:
		s.net.SetAll(memnet.Link{Delay: 20 * time.Millisecond, Jitter: 60 * time.Millisecond, Loss: 0.1})
	case 5:
		n.lives.Add(1)
		n.stop()
		n.run(s.t)
		n.lives.Add(1)
	}
	time.Sleep(s.between(0.5, 12))
	s.net.Heal()
}

func (n *simNode) index() int { return int(n.cfg.NodeName[1] - '1') }

// crash kills a server as kill -9 does, and starts it again after a while.
func (s *simulation) crash(n *simNode) {
	n.fails = "rpc: listener on"
	n.lives.Add(1)
	n.host.Crash()
	n.stop()
	n.fails = ""
	time.Sleep(s.between(0, 8))
	if s.rand.IntN(2) == 0 {
		s.cluster.status(n.cfg.NodeName, gossip.StatusFailed)
	}
	n.run(s.t)
	n.lives.Add(1)
}

// use is a client: it reads and counts up one number, and writes keys of its own, until ctx ends.
func (s *simulation) use(ctx context.Context, random *rand.Rand) {
	for round := 0; ctx.Err() == nil; round++ {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		n := s.nodes[random.IntN(len(s.nodes))]
		lives := n.lives.Load()
		if lives%2 == 0 {
			continue
		}
		mode := []rpc.Consistency{rpc.Default, rpc.Consistent}[random.IntN(2)]
		call, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if random.IntN(3) == 0 {
			s.write(call, n, lives, fmt.Sprintf("own/%p/%d", random, round))
		} else {
			s.count(call, n, lives, mode)
		}
		cancel()
	}
}

// write puts a key that has to be there in the end if that was acknowledged.
func (s *simulation) write(ctx context.Context, n *simNode, lives int64, key string) {
	ok, _, err := api.KVApply.Call(ctx, n.Caller(), rpc.Header{}, &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: key}})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if err == nil && *ok && n.lives.Load() == lives {
		s.keys = append(s.keys, key)
	}
}

// count reads the number and writes the next one if nobody else has. What is read is never less than what anybody was
// told before.
func (s *simulation) count(ctx context.Context, n *simNode, lives int64, mode rpc.Consistency) {
	s.mu.Lock()
	floor := s.floor
	s.calls++
	s.mu.Unlock()
	pairs, _, err := api.KVRead.Call(ctx, n.Caller(), rpc.Header{Consistency: mode}, &api.KVQuery{Key: "count"})
	if err != nil || n.lives.Load() != lives {
		return // who was answered by a server that had died has not been answered
	}
	value, index := 0, uint64(0)
	if len(*pairs) > 0 {
		value, _ = strconv.Atoi(string((*pairs)[0].Value))
		index = (*pairs)[0].ModifyIndex
	}
	s.mu.Lock()
	if value < floor {
		s.t.Errorf("a read in mode %v at %s says %d after somebody was told %d", mode, n.cfg.NodeName, value, floor)
	}
	s.floor = max(s.floor, value)
	s.mu.Unlock()
	req := &api.KVWrite{Op: api.KVCAS, Pair: catalog.KVPair{Key: "count", Value: []byte(strconv.Itoa(value + 1)), ModifyIndex: index}}
	ok, _, err := api.KVApply.Call(ctx, n.Caller(), rpc.Header{}, req)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case n.lives.Load() != lives, err != nil && catalog.CodeOf(err) != catalog.NoLeader:
		s.unknown++
	case err == nil && *ok:
		s.added++
		s.floor = max(s.floor, value+1)
	}
}

// judge looks, after everything was healed, for what was acknowledged, and whether all servers hold the same.
func (s *simulation) judge() {
	t := s.t
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pairs, _, err := api.KVList.Call(ctx, s.nodes[0].Caller(), rpc.Header{Consistency: rpc.Consistent}, &api.KVQuery{})
	if err != nil {
		t.Fatalf("20 s after everything was healed: %v", err)
	}
	there, count := map[string]bool{}, 0
	for _, p := range *pairs {
		if there[p.Key] = true; p.Key == "count" {
			count, _ = strconv.Atoi(string(p.Value))
		}
	}
	for _, key := range s.keys {
		if !there[key] {
			t.Errorf("%s was acknowledged and is lost", key)
		}
	}
	if count < s.added || count < s.floor || count > s.added+s.unknown {
		t.Errorf("the count is %d: %d were acknowledged, of %d more nobody knows, %d was read", count, s.added, s.unknown, s.floor)
	}
	if err := s.same(ctx); err != nil {
		t.Error(err)
	}
	if s.calls < 50 || s.added < 10 {
		t.Errorf("too few calls to say anything: %d, %d increments", s.calls, s.added)
	}
	t.Logf("%d calls, %d increments and %d keys acknowledged, %d unknown", s.calls, s.added, len(s.keys), s.unknown)
}

// same compares the digests of all servers at one index.
func (s *simulation) same(ctx context.Context) error {
	last := errors.New("not compared")
	for ctx.Err() == nil {
		var first *api.StateDigest
		last = nil
		for _, n := range s.nodes {
			d, _, err := api.StateDigestRead.Call(ctx, n.Caller(), rpc.Header{Consistency: rpc.Stale}, &api.Nothing{})
			switch {
			case err != nil:
				last = err
			case d.Node != n.cfg.NodeName:
				last = fmt.Errorf("%s has not caught up", n.cfg.NodeName)
			case first == nil:
				first = d
			case d.Index == first.Index && d.Digest != first.Digest:
				return fmt.Errorf("at index %d %s and %s hold different things", d.Index, d.Node, first.Node)
			case d.Index != first.Index:
				last = fmt.Errorf("%s is at index %d, %s at %d", d.Node, d.Index, first.Node, first.Index)
			}
		}
		if last == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return last
}
