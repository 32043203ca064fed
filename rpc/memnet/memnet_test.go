package memnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc/memnet"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair connects host a to host b.
func pair(t *testing.T, n *memnet.Network) (a, b net.Conn) {
	l, err := n.Host("b").Listen(0)
	must(t, err)
	a, err = n.Host("a").Dial(t.Context(), "tcp", l.Addr().String())
	must(t, err)
	b, err = l.Accept()
	must(t, err)
	must(t, l.Close())
	return a, b
}

// arrives expects that want is read from c after exactly so long.
func arrives(t *testing.T, c net.Conn, want string, after time.Duration) {
	t.Helper()
	start := time.Now()
	got := make([]byte, len(want))
	_, err := io.ReadFull(c, got)
	must(t, err)
	if string(got) != want || time.Since(start) != after {
		t.Fatalf("read %q after %v, want %q after %v", got, time.Since(start), want, after)
	}
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	must(t, err)
}

func bubble(name string, t *testing.T, do func(t *testing.T, n *memnet.Network)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { do(t, memnet.New(1)) })
	})
}

func TestStreams(t *testing.T) {
	bubble("delay, order and end", t, func(t *testing.T, n *memnet.Network) {
		n.SetAll(memnet.Link{Delay: 20 * time.Millisecond})
		start := time.Now()
		a, b := pair(t, n)
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Fatalf("dial took %v", d)
		}
		write(t, a, "one")
		n.SetAll(memnet.Link{}) // what follows does not overtake
		write(t, a, "two")
		must(t, a.Close())
		arrives(t, b, "onetwo", 20*time.Millisecond)
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		}
	})
	bubble("partition", t, func(t *testing.T, n *memnet.Network) {
		a, b := pair(t, n)
		n.Partition("a")
		write(t, a, "held")
		time.AfterFunc(time.Minute, n.Heal)
		arrives(t, b, "held", time.Minute)
	})
	bubble("one way", t, func(t *testing.T, n *memnet.Network) {
		a, b := pair(t, n)
		n.Cut("a", "b")
		write(t, b, "back")
		arrives(t, a, "back", 0)
		write(t, a, "there")
		time.AfterFunc(time.Second, n.Heal)
		arrives(t, b, "there", time.Second)
	})
	bubble("one way, no acknowledgements", t, func(t *testing.T, n *memnet.Network) {
		a, b := pair(t, n)
		defer a.Close()
		n.Cut("a", "b")
		go io.Copy(io.Discard, a)
		must(t, b.SetWriteDeadline(time.Now().Add(time.Second)))
		if sent, err := b.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || sent != 256<<10 {
			t.Fatal(sent, err)
		}
		n.Heal()
		must(t, b.SetWriteDeadline(time.Time{}))
		_, err := b.Write(make([]byte, 1<<20))
		must(t, err)
	})
	bubble("loss", t, func(t *testing.T, n *memnet.Network) {
		a, b := pair(t, n)
		n.SetAll(memnet.Link{Loss: 1})
		write(t, a, "again")
		arrives(t, b, "again", 200*time.Millisecond)
	})
}

func TestDeadlines(t *testing.T) {
	bubble("read", t, func(t *testing.T, n *memnet.Network) {
		a, b := pair(t, n)
		must(t, a.SetReadDeadline(time.Now().Add(time.Hour)))
		time.AfterFunc(time.Second, func() { a.SetReadDeadline(time.Now()) }) // a Read under way notices
		start := time.Now()
		_, err := a.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != time.Second {
			t.Fatal(err, time.Since(start))
		}
		must(t, a.SetReadDeadline(time.Time{}))
		write(t, b, "late")
		arrives(t, a, "late", 0)
	})
	bubble("write and close", t, func(t *testing.T, n *memnet.Network) {
		a, b := pair(t, n)
		must(t, a.SetDeadline(time.Now().Add(time.Second)))
		if sent, err := a.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || sent != 256<<10 {
			t.Fatal(sent, err)
		}
		time.AfterFunc(time.Second, func() { b.Close() })
		if _, err := io.Copy(io.Discard, b); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	})
}

func TestDialAndCrash(t *testing.T) {
	bubble("", t, func(t *testing.T, n *memnet.Network) {
		a, b := n.Host("a"), n.Host("b")
		dial := func(ctx context.Context, addr string) error {
			_, err := a.Dial(ctx, "tcp", addr)
			return err
		}
		f := func(err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
		}
		f(dial(t.Context(), "b:1"), syscall.ECONNREFUSED)
		l, err := b.Listen(1)
		must(t, err)
		_, err = b.Listen(1)
		f(err, syscall.EADDRINUSE)
		must(t, dial(t.Context(), b.Addr(1))) // waits in the backlog
		var unknown *net.DNSError
		if err := dial(t.Context(), "c:1"); !errors.As(err, &unknown) {
			t.Fatal(err)
		}
		n.Partition("b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f(dial(ctx, "b:1"), context.DeadlineExceeded)
		n.Heal()

		c, err := a.Dial(t.Context(), "tcp", "b:1")
		must(t, err)
		b.Crash()
		_, err = c.Read(make([]byte, 1))
		f(err, syscall.ECONNRESET)
		_, err = l.Accept()
		f(err, net.ErrClosed)
		f(dial(t.Context(), "b:1"), syscall.ECONNREFUSED)
		_, err = b.Listen(1) // started again
		must(t, err)
	})
}

func TestPackets(t *testing.T) {
	bubble("", t, func(t *testing.T, n *memnet.Network) {
		a, err := n.Host("a").Transport(7946)
		must(t, err)
		b, err := n.Host("b").Transport(7946)
		must(t, err)
		send := func(count int) int {
			for i := range count {
				_, err := a.WriteTo(fmt.Appendf(nil, "%d", i), b.Addr())
				must(t, err)
			}
			time.Sleep(time.Second) // the bubble's
			got := len(b.PacketCh())
			for range got {
				if p := <-b.PacketCh(); p.From.String() != a.Addr() {
					t.Fatal(p.From)
				}
			}
			return got
		}
		f := func(link memnet.Link, atLeast, atMost int) {
			t.Helper()
			n.SetAll(link)
			if got := send(1000); got < atLeast || got > atMost {
				t.Fatalf("%d of 1000 packets arrived, want %d to %d", got, atLeast, atMost)
			}
		}
		f(memnet.Link{}, 1000, 1000)
		f(memnet.Link{Delay: time.Millisecond, Jitter: 10 * time.Millisecond}, 1000, 1000)
		f(memnet.Link{Loss: 0.2}, 750, 850)
		f(memnet.Link{Cut: true}, 0, 0)
		f(memnet.Link{Delay: 2 * time.Second}, 0, 0)
		time.Sleep(1500 * time.Millisecond)
		f(memnet.Link{Cut: true}, 1000, 1000) // the late ones
		n.SetAll(memnet.Link{})
		if got := send(10000); got != 4096 { // the buffer
			t.Fatal(got)
		}
		must(t, b.Shutdown())
		if got := send(1); got != 0 {
			t.Fatal(got)
		}
	})
}

// TestMemberlist runs more members than memberlist's own mock network bears: they meet, a half is cut off and
// comes back.
func TestMemberlist(t *testing.T) {
	bubble("", t, func(t *testing.T, n *memnet.Network) {
		n.SetAll(memnet.Link{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.01})
		var members []*memberlist.Memberlist
		var left []string
		for i := range 24 {
			name := fmt.Sprintf("n%d", i)
			tr, err := n.Host(name).Transport(7946)
			must(t, err)
			c := memberlist.DefaultLANConfig()
			c.Name, c.Transport, c.LogOutput = name, tr, io.Discard
			c.GossipToTheDeadTime = time.Hour
			c.DeadNodeReclaimTime = 0
			m, err := memberlist.Create(c)
			must(t, err)
			members = append(members, m)
			if i%2 == 0 {
				left = append(left, name)
			}
			_, err = m.Join([]string{n.Host("n0").Addr(7946)})
			must(t, err)
		}
		see := func(want int) {
			t.Helper()
			for _, m := range members {
				if got := m.NumMembers(); got != want {
					t.Fatalf("a member sees %d, want %d", got, want)
				}
			}
		}
		time.Sleep(time.Minute)
		see(24)
		n.Partition(left...)
		time.Sleep(time.Minute)
		see(12)
		n.Heal()
		for _, m := range members[1:] {
			_, err := m.Join([]string{n.Host("n0").Addr(7946)})
			must(t, err)
		}
		time.Sleep(time.Minute)
		see(24)
		for _, m := range members {
			must(t, m.Shutdown())
		}
		time.Sleep(time.Minute)
	})
}

// TestRaft elects a leader, cuts it off, and elects another one.
func TestRaft(t *testing.T) {
	bubble("", t, func(t *testing.T, n *memnet.Network) {
		log := hclog.NewNullLogger()
		var servers raft.Configuration
		for _, name := range strings.Fields("a b c") {
			servers.Servers = append(servers.Servers, raft.Server{
				ID: raft.ServerID(name), Address: raft.ServerAddress(n.Host(name).Addr(8300)),
			})
		}
		nodes := make(map[string]*raft.Raft)
		defer func() { // Raft's transport leaves the connections that it accepted open
			for name := range nodes {
				n.Host(name).Crash()
			}
		}()
		for _, s := range servers.Servers {
			layer, err := n.Host(string(s.ID)).StreamLayer(8300)
			must(t, err)
			tr := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: layer, MaxPool: 3, Timeout: time.Second, Logger: log})
			c := raft.DefaultConfig()
			c.LocalID, c.Logger = s.ID, log
			store := raft.NewInmemStore()
			must(t, raft.BootstrapCluster(c, store, store, raft.NewInmemSnapshotStore(), tr, servers))
			node, err := raft.NewRaft(c, &raft.MockFSM{}, store, store, raft.NewInmemSnapshotStore(), tr)
			must(t, err)
			nodes[string(s.ID)] = node
			defer func() { must(t, node.Shutdown().Error()); must(t, tr.Close()) }()
		}
		time.Sleep(10 * time.Second)
		_, first := nodes["a"].LeaderWithID()
		must(t, nodes[string(first)].Apply([]byte("x"), time.Second).Error())
		n.Partition(string(first))
		time.Sleep(10 * time.Second)
		for name, node := range nodes {
			_, leader := node.LeaderWithID()
			if name == string(first) && leader != "" || name != string(first) && (leader == "" || leader == first) {
				t.Fatalf("%s thinks that %q leads, %s did", name, leader, first)
			}
		}
		n.Heal()
		time.Sleep(10 * time.Second)
		_, now := nodes["a"].LeaderWithID()
		must(t, nodes[string(now)].Apply([]byte("y"), time.Second).Error())
	})
}

func TestPartitions(t *testing.T) {
	bubble("", t, func(t *testing.T, n *memnet.Network) {
		hosts := map[string]*memnet.Transport{}
		for _, name := range []string{"a", "b", "c", "d"} {
			tr, err := n.Host(name).Transport(7946)
			must(t, err)
			hosts[name] = tr
		}
		// reached lists the pairs between which packets go, in each direction.
		reached := func() (pairs string) {
			t.Helper()
			for _, from := range []string{"a", "b", "c", "d"} {
				for _, to := range []string{"a", "b", "c", "d"} {
					if _, err := hosts[from].WriteTo([]byte("x"), hosts[to].Addr()); err != nil {
						t.Fatal(err)
					}
					if len(hosts[to].PacketCh()) > 0 && from != to {
						pairs += from + to + " "
					}
					for len(hosts[to].PacketCh()) > 0 {
						<-hosts[to].PacketCh()
					}
				}
			}
			return pairs
		}
		f := func(change func(), want string) {
			t.Helper()
			if change(); reached() != want {
				t.Fatalf("%q reach one another, want %q", reached(), want)
			}
		}
		const all = "ab ac ad ba bc bd ca cb cd da db dc "
		f(func() {}, all)
		f(func() { n.Partition("a", "b") }, "ab ba cd dc ")
		f(func() { n.Partition("b", "c") }, "") // each is alone: the first partition holds on
		f(n.Heal, all)
		f(func() { n.Partition("a") }, "bc bd cb cd db dc ")
		f(func() { n.Cut("b", "c") }, "bd cb cd db dc ")
		f(func() { n.Set("a", "b", memnet.Link{}) }, "bd cb cd db dc ")
		f(n.Heal, all)
		f(func() { n.Partition("d"); n.SetAll(memnet.Link{}) }, all)
	})
}
