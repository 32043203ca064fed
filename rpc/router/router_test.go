package router_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/memnet"
	"github.com/curia-mesh/curia/rpc/router"
)

type request struct{ Text string }

var (
	read  = rpc.Method[request, string]{Name: "read"}
	write = rpc.Method[request, string]{Name: "write"}
)

var errBusy = errors.New("busy")

// site is servers in a network in memory, and a router to them on a host of its own. Each answers with its name.
type site struct {
	t   *testing.T
	net *memnet.Network
	*router.Router

	mu      sync.Mutex
	servers map[string]*server
	got     []string      // "server method"
	left    time.Duration // what the last call wanted to wait
	deaf    map[string]bool
	busy    map[string]bool
}

type server struct {
	member gossip.Member
	stop   context.CancelFunc
	ended  chan struct{}
}

// inSite runs a test with servers s1 to s<n> in a bubble. The router knows them.
func inSite(t *testing.T, n int, o router.Options, test func(t *testing.T, s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, net: memnet.New(1), servers: map[string]*server{}, deaf: map[string]bool{}, busy: map[string]bool{}}
		o.Pool = rpc.NewPool(rpc.PoolOptions{Dialer: rpc.Dialer{Connect: s.net.Host("agent").Dial}})
		o.Datacenter = "dc1"
		o.Reads = func(method string) bool { return method == read.Name }
		o.Elsewhere = func(err error) bool { return err.Error() == errBusy.Error() }
		s.Router = router.New(o)
		for i := range n {
			s.start(fmt.Sprint("s", i+1))
		}
		s.tell()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { s.Run(ctx); close(ended) }()
		test(t, s)
		cancel()
		<-ended
		o.Pool.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, srv := range s.servers {
			srv.stop()
		}
	})
}

const port = 8300

// start runs a server.
func (s *site) start(name string) {
	s.t.Helper()
	host := s.net.Host(name)
	inner, err := host.Listen(port)
	if err != nil {
		s.t.Fatal(err)
	}
	l := rpc.NewListener(inner, rpc.NewServer(rpc.ServerOptions{Handler: func(ctx context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
		s.mu.Lock()
		s.got, s.left = append(s.got, name+" "+call.Method), call.Header.MaxWait
		deaf, busy := s.deaf[name], s.busy[name]
		s.mu.Unlock()
		if deaf {
			<-ctx.Done()
		}
		if busy {
			return rpc.Answer{}, errBusy
		}
		return rpc.Answer{Body: rpc.NewBody(&name, nil)}, nil
	}}), rpc.ListenerOptions{})
	ctx, stop := context.WithCancel(context.Background())
	srv := &server{stop: stop, ended: make(chan struct{}), member: gossip.Member{
		Name: name, Addr: host.IP(), Port: 8301, Status: gossip.StatusAlive,
		Tags: map[string]string{"role": "consul", "dc": "dc1", "id": "id-" + name, "port": fmt.Sprint(port)},
	}}
	go func() { l.Run(ctx); close(srv.ended) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[name] = srv
}

func (s *site) server(name string) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[name]
}

// kill ends a server as a crash does; gossip has not noticed yet.
func (s *site) kill(name string) {
	s.net.Host(name).Crash()
	srv := s.server(name)
	srv.stop()
	<-srv.ended
}

// tell lets the router know what gossip knows.
func (s *site) tell(change ...func(*gossip.Member)) {
	s.mu.Lock()
	var members []gossip.Member
	for _, srv := range s.servers {
		m := srv.member
		for _, c := range change {
			c(&m)
		}
		members = append(members, m)
	}
	s.mu.Unlock()
	s.SetMembers(members)
}

func failed(names ...string) func(*gossip.Member) {
	return func(m *gossip.Member) {
		if slices.Contains(names, m.Name) {
			m.Status = gossip.StatusFailed
		}
	}
}

// order is the names of the servers in the order in which they are tried.
func (s *site) order() []string {
	var names []string
	for _, srv := range s.Servers() {
		names = append(names, srv.Name)
	}
	return names
}

func (s *site) call(m rpc.Method[request, string]) (string, error) {
	rep, _, err := m.Call(s.t.Context(), s, rpc.Header{}, &request{})
	if err != nil {
		return "", err
	}
	return *rep, nil
}

// asked is which servers got calls since it was asked last.
func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func (s *site) want(m rpc.Method[request, string], from string) {
	s.t.Helper()
	if got, err := s.call(m); got != from || err != nil {
		s.t.Fatalf("%s answered with %q, %v; want %q", m.Name, got, err, from)
	}
}

func TestOneServerInUse(t *testing.T) {
	inSite(t, 3, router.Options{}, func(t *testing.T, s *site) {
		first := s.order()[0]
		for range 20 {
			s.want(read, first)
			s.want(write, first)
		}
	})
}

func TestNoServers(t *testing.T) {
	inSite(t, 1, router.Options{}, func(t *testing.T, s *site) {
		f := func(change func(*gossip.Member)) {
			t.Helper()
			s.tell(change)
			start := time.Now()
			if _, err := s.call(read); err == nil || err.Error() != router.NoServers || time.Since(start) > 0 {
				t.Errorf("error %v after %v, want %q at once", err, time.Since(start), router.NoServers)
			}
		}
		f(failed("s1"))
		f(func(m *gossip.Member) {
			m.Tags = map[string]string{"role": "node", "id": "x", "port": "8300", "dc": "dc1"}
		})
		f(func(m *gossip.Member) {
			m.Tags = map[string]string{"role": "consul", "id": "x", "port": "8300", "dc": "far"}
		})
		f(func(m *gossip.Member) { m.Status = gossip.StatusLeft })
		s.tell()
		s.want(read, "s1")
	})
}

// A server that cannot be reached is left for the next one within one call, and is the last to be tried again.
func TestDeadServer(t *testing.T) {
	for _, m := range []rpc.Method[request, string]{read, write} {
		inSite(t, 3, router.Options{}, func(t *testing.T, s *site) {
			before := s.order()
			s.kill(before[0])
			start := time.Now()
			s.want(m, before[1])
			if d := time.Since(start); d > time.Second {
				t.Errorf("it took %v", d)
			}
			if want := []string{before[1], before[2], before[0]}; !slices.Equal(s.order(), want) {
				t.Errorf("order %v, want %v", s.order(), want)
			}
		})
	}
}

// What a server may have acted on is sent to another one only if it reads.
func TestLostAnswer(t *testing.T) {
	f := func(m rpc.Method[request, string], again bool) {
		t.Helper()
		inSite(t, 2, router.Options{}, func(t *testing.T, s *site) {
			first, second := s.order()[0], s.order()[1]
			s.want(m, first)
			s.asked()
			s.deaf[first] = true
			go func() {
				time.Sleep(time.Minute)
				s.kill(first)
			}()
			got, err := s.call(m)
			want := []string{first + " " + m.Name}
			link := (*rpc.LinkError)(nil)
			switch {
			case again:
				want = append(want, second+" "+m.Name)
				if err != nil || got != second {
					t.Errorf("%s: %q, %v; want the answer of %s", m.Name, got, err, second)
				}
			case !errors.As(err, &link) || !link.Sent:
				t.Errorf("%s: %q, %v; want that the connection was lost", m.Name, got, err)
			}
			if asked := s.asked(); !slices.Equal(asked, want) {
				t.Errorf("%s: asked %v, want %v", m.Name, asked, want)
			}
		})
	}
	f(read, true)
	f(write, false)
}

// While all servers are away a call is held, no longer than Hold, and goes on when one is back.
func TestHold(t *testing.T) {
	o := router.Options{Hold: 10 * time.Second}
	inSite(t, 2, o, func(t *testing.T, s *site) {
		s.kill("s1")
		s.kill("s2")
		start := time.Now()
		link := (*rpc.LinkError)(nil)
		if _, err := s.call(write); !errors.As(err, &link) || link.Sent {
			t.Errorf("error %v, want that there is no connection", err)
		}
		if d := time.Since(start); d < 10*time.Second || d > 11*time.Second {
			t.Errorf("the call was held for %v", d)
		}
		start = time.Now()
		if _, _, err := read.Call(t.Context(), s.Once(), rpc.Header{}, &request{}); !errors.As(err, &link) || time.Since(start) > 0 {
			t.Errorf("without a hold: error %v after %v", err, time.Since(start))
		}
		go func() {
			time.Sleep(4 * time.Second)
			s.start("s2")
		}()
		start = time.Now()
		s.want(write, "s2")
		if d := time.Since(start); d < 4*time.Second || d > 5*time.Second {
			t.Errorf("the call went on after %v", d)
		}
	})
}

// Servers that gossip finds later are used at once by calls that are held.
func TestHeldCallFindsNewServer(t *testing.T) {
	inSite(t, 1, router.Options{}, func(t *testing.T, s *site) {
		s.kill("s1")
		go func() {
			time.Sleep(3 * time.Second)
			s.start("s2")
			s.tell(failed("s1"))
		}()
		start := time.Now()
		s.want(write, "s2")
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("the call went on after %v", d)
		}
	})
}

// A server that says it cannot answer a read is one of several; what it says of a write is the answer.
func TestElsewhere(t *testing.T) {
	inSite(t, 2, router.Options{}, func(t *testing.T, s *site) {
		first, second := s.order()[0], s.order()[1]
		s.busy[first] = true
		s.want(read, second)
		if _, err := s.call(write); err == nil || err.Error() != errBusy.Error() {
			t.Errorf("write: %v", err)
		}
		if s.order()[0] != first {
			t.Errorf("a server that answers was moved: %v", s.order())
		}
	})
}

// A call that its caller gives up is tried no further.
func TestCallerLeaves(t *testing.T) {
	inSite(t, 2, router.Options{}, func(t *testing.T, s *site) {
		s.kill("s1")
		s.kill("s2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, _, err := write.Call(ctx, s, rpc.Header{}, &request{}); err == nil || time.Since(start) != time.Second {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
	})
}

// The time that a blocking call has waited at a lost server counts.
func TestWaitGoesOn(t *testing.T) {
	inSite(t, 2, router.Options{}, func(t *testing.T, s *site) {
		first := s.order()[0]
		s.deaf[first] = true
		go func() {
			time.Sleep(40 * time.Second)
			s.kill(first)
		}()
		h := rpc.Header{MinIndex: 1, MaxWait: time.Minute}
		if _, _, err := read.Call(t.Context(), s, h, &request{}); err != nil {
			t.Fatal(err)
		}
		if s.left != 20*time.Second || h.MaxWait != time.Minute {
			t.Errorf("the second server was to wait for %v; the caller's header says %v", s.left, h.MaxWait)
		}
	})
}

// Connections to servers that gossip holds for dead end at once, and their calls go elsewhere.
func TestFailedMember(t *testing.T) {
	inSite(t, 2, router.Options{}, func(t *testing.T, s *site) {
		first, second := s.order()[0], s.order()[1]
		s.deaf[first] = true
		go func() {
			time.Sleep(time.Second)
			s.tell(failed(first))
		}()
		start := time.Now()
		s.want(read, second)
		if d := time.Since(start); d != time.Second {
			t.Errorf("it took %v", d)
		}
		if !slices.Equal(s.order(), []string{second}) {
			t.Errorf("order %v", s.order())
		}
	})
}

// A server that comes back with another address is found there, and keeps its place.
func TestMovedServer(t *testing.T) {
	inSite(t, 2, router.Options{}, func(t *testing.T, s *site) {
		before := s.order()
		s.kill(before[0])
		s.start("elsewhere")
		moved := s.server("elsewhere").member.Addr
		s.tell(func(m *gossip.Member) {
			switch m.Name {
			case before[0]:
				m.Addr = moved
			case "elsewhere":
				m.Status = gossip.StatusNone
			}
		})
		if got := s.order(); !slices.Equal(got, before) {
			t.Errorf("order %v, before %v", got, before)
		}
		s.want(write, "elsewhere")
	})
}

// Servers that come later do not take the place of the one in use before it is time.
func TestNewServersWait(t *testing.T) {
	inSite(t, 1, router.Options{}, func(t *testing.T, s *site) {
		for i := 2; i <= 9; i++ {
			s.start(fmt.Sprint("s", i))
			s.tell()
			s.want(read, "s1")
		}
		if len(s.order()) != 9 {
			t.Errorf("servers: %v", s.order())
		}
	})
}

// The server in use changes from time to time, less often in a large pool, so that agents spread.
func TestRebalance(t *testing.T) {
	f := func(nodes int, least, most time.Duration) {
		t.Helper()
		inSite(t, 3, router.Options{Nodes: func() int { return nodes }}, func(t *testing.T, s *site) {
			used, start := map[string]int{}, time.Now()
			before, changes := s.order(), 0
			for len(used) < 3 || changes < 30 {
				time.Sleep(time.Second)
				if now := s.order(); !slices.Equal(now, before) {
					before = now
					changes++
				}
				used[before[0]]++
			}
			// One shuffle of three in six leaves the order as it is.
			if mean := time.Since(start) / time.Duration(changes) * 5 / 6; mean < least*3/4 || mean > most*4/3 {
				t.Errorf("with %d nodes another order every %v, want %v to %v", nodes, mean, least, most)
			}
		})
	}
	f(3, 2*time.Minute, 3*time.Minute)
	f(192*600, 10*time.Minute, 10*time.Minute)
}

// Agents that see the same servers begin with different ones.
func TestAgentsSpread(t *testing.T) {
	var members []gossip.Member
	for i := range 3 {
		members = append(members, gossip.Member{
			Name: fmt.Sprint("s", i), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Status: gossip.StatusAlive,
			Tags: map[string]string{"role": "consul", "dc": "dc1", "id": fmt.Sprint(i), "port": "8300"},
		})
	}
	used := map[string]int{}
	pool := rpc.NewPool(rpc.PoolOptions{})
	defer pool.Close()
	for range 3000 {
		r := router.New(router.Options{Pool: pool, Datacenter: "dc1"})
		r.SetMembers(members)
		used[r.Servers()[0].Name]++
	}
	for name, n := range used {
		if n < 800 || n > 1200 {
			t.Errorf("%d of 3000 agents begin with %s", n, name)
		}
	}
}
