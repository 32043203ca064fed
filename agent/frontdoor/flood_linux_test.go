package frontdoor_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/handler"
)

// ending is how a connection of a flood ended.
type ending struct {
	after time.Duration
	said  string // by the agent
	err   error
}

// flood opens n connections and returns how each of them ends by the agent's doing. attack says what
// there is to say on one.
func flood(t testing.TB, addr string, n, perAddress int, attack func(w *wire, ended <-chan struct{})) []ending {
	t.Helper()
	ends := make([]ending, n)
	var wait sync.WaitGroup
	for i := range ends {
		start := time.Now()
		w, err := dial(addr, attacker(i/perAddress))
		if err != nil {
			ends[i].err = err
			continue
		}
		defer w.Close()
		ended := make(chan struct{})
		wait.Go(func() {
			defer close(ended)
			w.SetReadDeadline(start.Add(patience))
			said, err := io.ReadAll(w)
			ends[i] = ending{time.Since(start), string(said), err}
		})
		wait.Go(func() { attack(w, ended) })
	}
	wait.Wait()
	return ends
}

func idle(*wire, <-chan struct{}) {}

// behave asks at a steady pace until stop is closed, at least once, as a client that means well, and returns the
// 99th percentile of the time that its requests took.
func behave(ctx context.Context, c testkit.Client, stop <-chan struct{}) (p99 time.Duration, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var times []time.Duration
	for {
		start := time.Now()
		for method, path := range map[string]string{"PUT": "/v1/kv/others", "GET": "/v1/catalog/nodes"} {
			if r, err := c.Ask(ctx, method, path, "x"); err != nil || r.Status != 200 {
				return 0, fmt.Errorf("%s %s beside the attack: status %d %s, %w", method, path, r.Status, r.Body, err)
			}
		}
		times = append(times, time.Since(start))
		select {
		case <-stop:
			slices.Sort(times)
			return times[len(times)*99/100], nil
		case <-tick.C:
		}
	}
}

// slack is what a machine that does nothing else may add to a calm figure.
const slack = 500 * time.Millisecond

// under runs an attack beside a client that behaves. Each of that client's requests is answered meanwhile; with
// CURIA_LONG its figures are held to its calm ones.
func under(t *testing.T, p *testkit.Process, attack func()) {
	t.Helper()
	before := peak(t, p)
	quiet := make(chan struct{})
	time.AfterFunc(500*time.Millisecond, func() { close(quiet) })
	calm, err := behave(t.Context(), p.Client, quiet)
	if err != nil {
		t.Fatal(err)
	}
	over, behaved := make(chan struct{}), make(chan struct{})
	go func() { // ends with the attack
		defer close(behaved)
		p99, err := behave(t.Context(), p.Client, over)
		if err != nil || long && p99 > 2*calm+slack {
			t.Errorf("a well-behaved client's p99 was %v, %v when calm: %v", p99, calm, err)
		}
		t.Logf("p99 %v, %v when calm", p99, calm)
	}()
	attack()
	close(over)
	<-behaved
	if grown := peak(t, p) - before; grown > maxGrowth {
		t.Errorf("the attack cost %d MiB", grown>>20)
	}
	p.Put(t, "/v1/kv/after", "well")
}

// closedAt wants that connections end by the agent's doing at a timeout, and soon after it with CURIA_LONG.
func closedAt(t testing.TB, what string, ends []ending, timeout time.Duration) {
	t.Helper()
	for i, e := range ends {
		if e.err != nil && !errors.Is(e.err, syscall.ECONNRESET) || e.after < timeout || long && e.after > timeout+5*time.Second {
			t.Fatalf("%s: connection %d of %d ended after %v, want %v: %v", what, i, len(ends), e.after, timeout, e.err)
		}
	}
}

// headTimeout and handshakeTimeout are how long connections may take to say what they want.
const (
	headTimeout      = 10 * time.Second
	handshakeTimeout = 5 * time.Second
)

func TestA07_Slowloris(t *testing.T) {
	t.Parallel()
	p := testkit.NewDev(t, nil).Spawn(t)
	under(t, p, func() {
		ends := flood(t, p.Addr(), figure(200, 1000), maxConns-10, func(w *wire, ended <-chan struct{}) {
			fmt.Fprint(w, "GET /v1/status/leader HTTP/1.1\r\nHost: a\r\nX-Slow: ")
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					fmt.Fprint(w, "x")
				}
			}
		})
		closedAt(t, "slow heads", ends, headTimeout)
	})
}

func TestA08_IdleConnections(t *testing.T) {
	t.Parallel()
	p := testkit.NewDev(t, nil).Spawn(t)
	rpcAddr, dnsAddr := fmt.Sprintf("127.0.0.1:%d", p.Server), fmt.Sprintf("127.0.0.1:%d", p.DNS)
	n := figure(maxConns+50, 2000)
	under(t, p, func() {
		var http, calls, names []ending
		var wait sync.WaitGroup
		wait.Go(func() { names = flood(t, dnsAddr, n, n, idle) })
		wait.Go(func() { http = flood(t, p.Addr(), n, n, idle) })
		flooded := make(chan struct{})
		wait.Go(func() {
			defer close(flooded)
			calls = flood(t, rpcAddr, n, n, idle)
		})
		callBeside(t, rpcAddr, flooded)
		wait.Wait()
		tooManyAndIdle(t, "HTTP", http, maxConns, headTimeout)
		tooManyAndIdle(t, "RPC", calls, 100, handshakeTimeout)
		tooManyAndIdle(t, "DNS", names, 128, 10*time.Second)
		for _, e := range http[:n-maxConns] {
			if !strings.HasPrefix(e.said, "HTTP/1.1 429 ") {
				t.Fatalf("a connection above the limit heard %q: %v", e.said, e.err)
			}
		}
	})
}

// callBeside makes RPCs while an attack goes on.
func callBeside(t *testing.T, addr string, over <-chan struct{}) {
	t.Helper()
	pool := rpc.NewPool(rpc.PoolOptions{Decode: func(_, msg string) error { return errors.New(msg) }})
	defer pool.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, _, err := api.StatusLeader.Call(t.Context(), pool.To(addr), rpc.Header{}, &api.Nothing{}); err != nil {
			t.Fatalf("an RPC beside the attack: %v", err)
		}
		select {
		case <-over:
			return
		case <-tick.C:
		}
	}
}

// tooManyAndIdle wants that connections above a limit end before a timeout and the others at it. It sorts them
// by when they ended.
func tooManyAndIdle(t *testing.T, what string, ends []ending, limit int, timeout time.Duration) {
	t.Helper()
	slices.SortFunc(ends, func(a, b ending) int { return cmp.Compare(a.after, b.after) })
	above := len(ends) - limit
	if last := ends[above-1]; last.after >= timeout {
		t.Fatalf("%s: a connection above the limit lasted %v", what, last.after)
	}
	closedAt(t, what, ends[above:], timeout)
}

func TestA09_BlockingQueries(t *testing.T) {
	p := testkit.NewDev(t, nil).Spawn(t)
	p.Put(t, "/v1/kv/watched", "before")
	index := p.Get(t, "/v1/kv/watched").Index()
	under(t, p, func() {
		n := figure(400, 5000)
		type answer struct {
			status int
			body   string
			err    error
		}
		answers := make(chan answer, n)
		asking := make(chan struct{}, 32) // so that the test itself does not starve the client that behaves
		for range n {
			asking <- struct{}{}
			go func() { // ends with its answer
				w, err := dial(p.Addr(), attacker(0))
				if err != nil {
					<-asking
					answers <- answer{err: err}
					return
				}
				defer w.Close()
				fmt.Fprintf(w, "GET /v1/kv/watched?index=%d&wait=10h HTTP/1.1\r\nHost: a\r\n\r\n", index)
				<-asking
				status, _, body, err := w.reply("GET")
				answers <- answer{status, body, err}
			}()
		}
		for range n - maxConns {
			if a := <-answers; a.status != 429 && !errors.Is(a.err, syscall.ECONNRESET) {
				t.Fatalf("a query above the limit: status %d %s, %v", a.status, a.body, a.err)
			}
		}
		p.Put(t, "/v1/kv/watched", "after")
		first := ""
		for range maxConns {
			a := <-answers
			if first == "" {
				first = a.body
			}
			if a.status != 200 || a.err != nil || a.body != first {
				t.Fatalf("a query within the limit: status %d %s, %v", a.status, a.body, a.err)
			}
		}
	})
}

// lone is a host that leads and has applied everything.
type lone struct{ endpoint.Host }

func (lone) Primary() string                                           { return "dc1" }
func (lone) Datacenter() string                                        { return "dc1" }
func (lone) Leading() bool                                             { return true }
func (lone) Leased() bool                                              { return true }
func (lone) Contact() (time.Duration, bool)                            { return 0, true }
func (lone) CaughtUp() bool                                            { return true }
func (lone) Applied() uint64                                           { return 1 << 40 }
func (lone) Authorize(context.Context, string) (acl.Authorizer, error) { return acl.AllowAll(), nil }

func TestA09_WaitIsClamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.New()
		r := endpoint.New(lone{}, store)
		handler.Register(r, handler.Deps{Datacenter: "dc1", Store: store})
		for asked, most := range map[time.Duration]time.Duration{0: 5 * time.Minute, time.Second: time.Second, 10 * time.Hour: 10 * time.Minute} {
			start := time.Now()
			h := rpc.Header{MinIndex: 1, MaxWait: asked}
			if _, _, err := api.KVRead.Call(t.Context(), r, h, &api.KVQuery{Key: "nothing"}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < most || took > most+most/16+time.Millisecond {
				t.Errorf("wait of %v took %v, want %v and up to a sixteenth", asked, took, most)
			}
		}
	})
}

// Clients that stop reading lose their answer, whether they had to wait for it or not, and what it took.
func TestSlowReaders(t *testing.T) {
	if !long {
		t.Skip("takes the time that readers have, which is half a minute; agent/httpapi has the same in a bubble")
	}
	t.Parallel()
	p := testkit.NewDev(t, nil).Spawn(t)
	value := strings.Repeat("v", 500_000)
	for i := range 20 {
		p.Put(t, fmt.Sprintf("/v1/kv/big/%d", i), value)
	}
	index := p.Get(t, "/v1/kv/big/?recurse").Index()
	var wait sync.WaitGroup
	for _, query := range []string{"recurse", fmt.Sprintf("recurse&index=%d", index)} {
		for range 5 {
			w := open(t, p.Addr())
			w.Conn.(*net.TCPConn).SetReadBuffer(4096)
			fmt.Fprintf(w, "GET /v1/kv/big/?%s HTTP/1.1\r\nHost: a\r\n\r\n", query)
			wait.Go(func() {
				time.Sleep(35 * time.Second) // it is the server that has to lose patience
				if _, _, _, err := w.reply("GET"); err == nil {
					t.Errorf("?%s: an answer of 13 MB was kept for a client that did not read it", query)
				}
			})
		}
	}
	p.Put(t, "/v1/kv/big/0", "changed")
	wait.Wait()
}
