package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/curia-mesh/curia/connect/proxy"
)

// link is a way to an address that can be cut: the kernel then drops what comes to its end, and acknowledges none of it.
type link struct {
	net.Listener
	t   *testing.T
	mu  sync.Mutex
	cut bool
	all map[*net.TCPConn]bool
	was int
}

// linkTo makes a link to an address, for as long as the test.
func linkTo(t *testing.T, to string) *link {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // which takes no filters
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{Listener: l, t: t, all: map[*net.TCPConn]bool{}}
	var served sync.WaitGroup
	served.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { k.carry(c.(*net.TCPConn), to) }) // ends with the connection
		}
	})
	t.Cleanup(func() {
		l.Close()
		k.mu.Lock()
		for c := range k.all {
			c.Close()
		}
		k.mu.Unlock()
		served.Wait()
	})
	return k
}

func (k *link) addr() string { return k.Addr().String() }

func (k *link) carry(c *net.TCPConn, to string) {
	defer c.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		k.t.Error(err)
		return
	}
	defer far.Close()
	k.mu.Lock()
	k.all[c] = true
	k.was++
	k.filter(c)
	k.mu.Unlock()
	back := make(chan struct{})
	go func() { // ends with the connections
		defer close(back)
		io.Copy(c, far)
		c.CloseWrite()
	}()
	io.Copy(far, c)
	far.(*net.TCPConn).CloseWrite()
	<-back
	k.mu.Lock()
	delete(k.all, c)
	k.mu.Unlock()
}

// set cuts the link or mends it.
func (k *link) set(cut bool) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	k.filter(k.Listener.(*net.TCPListener))
	for c := range k.all {
		k.filter(c)
	}
	return time.Now()
}

// filter has the kernel drop what comes for a socket, or not. The lock is held.
func (k *link) filter(s syscall.Conn) {
	raw, err := s.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			if k.cut {
				nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
				err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
			} else if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err == unix.ENOENT {
				err = nil // there was none
			}
		})
	}
	if err != nil {
		k.t.Error(err)
	}
}

// saying answers everything with a name. Two requests for /both are answered together.
func saying(t *testing.T, name string) string {
	both := make(chan struct{})
	return answering(t, func(r *http.Request, _ string) string {
		if r.URL.Path == "/both" {
			select {
			case both <- struct{}{}:
			case <-both:
			}
		}
		return ok(name)
	}).addr
}

// keeping is a client that keeps its connection.
type keeping struct {
	net.Conn
	in *bufio.Reader
}

func keep(t *testing.T, addr string) *keeping {
	c := dial(t, addr)
	c.SetDeadline(time.Now().Add(time.Minute))
	return &keeping{c, bufio.NewReader(c)}
}

func (k *keeping) send(method, path string) {
	fmt.Fprintf(k, "%s %s HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n", method, path)
}

func (k *keeping) answer(t *testing.T) (int, string) {
	t.Helper()
	r, err := http.ReadResponse(k.in, nil)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return r.StatusCode, string(body)
}

// answeredBy asks until somebody answers, which has to be soon.
func answeredBy(t *testing.T, addr, name string, since time.Time, within time.Duration) {
	t.Helper()
	for took := time.Duration(0); took <= within; took = time.Since(since) {
		c := keep(t, addr)
		c.send("GET", "/a")
		r, err := http.ReadResponse(c.in, nil)
		body := []byte(nil)
		if err == nil { // else it was broken off
			body, _ = io.ReadAll(r.Body)
		}
		if c.Close(); err == nil && string(body) == name {
			t.Logf("%s answers after %v", name, time.Since(since))
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%s does not answer within %v", name, within)
}

// quick is how soon a network is found to be silent, on a machine that does other things as well: else it takes 3 s, or the 15 s in
// which there has to be a response.
const quick = 8 * time.Second

// stateOf is how an endpoint stands.
func stateOf(p *proxy.Proxy, addr string) string {
	for _, c := range p.Clusters() {
		for _, e := range c.Endpoints {
			if e.Key == addr {
				return e.State
			}
		}
	}
	return "nowhere"
}

// ways are a target behind a link, of which each speaks something else, and the link.
var ways = map[string]func(t *testing.T, app string) (*proxy.Target, *link){
	"HTTP/1.1": func(t *testing.T, app string) (*proxy.Target, *link) {
		k := linkTo(t, app)
		return target("first", k.addr()), k
	},
	"HTTP/2": func(t *testing.T, app string) (*proxy.Target, *link) {
		p := mesh(t, proxy.HTTP, app, nil)
		k := linkTo(t, p.in.Addr("public").String())
		to := p.target(t)
		to.Name, to.Endpoints[0].Address = "first", k.addr()
		return to, k
	},
}

// When the network to an endpoint falls silent another one answers soon, also what was under way where it may be sent
// again; who may not be is told. When it is well again, the first one answers soon.
func TestSilentNetwork(t *testing.T) {
	for what, way := range ways {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			first, k := way(t, saying(t, "first"))
			p, _ := failover(t, proxy.HTTP, first, target("second", saying(t, "second")))
			addr := p.Addr("l").String()
			a, b := keep(t, addr), keep(t, addr)
			for _, c := range []*keeping{a, b} {
				c.send("GET", "/both")
			}
			for _, c := range []*keeping{a, b} {
				if status, body := c.answer(t); status != 200 || body != "first" {
					t.Fatalf("%d, %q", status, body)
				}
			}
			cut := k.set(true)
			a.send("GET", "/a")
			b.send("POST", "/b")
			if status, body := a.answer(t); status != 200 || body != "second" {
				t.Errorf("GET under way: %d, %q", status, body)
			}
			if status, body := b.answer(t); status != 504 || !strings.Contains(body, k.addr()+" has not answered for") {
				t.Errorf("POST under way: %d, %q", status, body)
			}
			if took := time.Since(cut); took > quick {
				t.Errorf("they were answered after %v", took)
			}
			if s := stateOf(p, k.addr()); s != "silent" {
				t.Errorf("the endpoint is %s", s)
			}
			answeredBy(t, addr, "second", time.Now(), 0)
			answeredBy(t, addr, "first", k.set(false), 15*time.Second)
			settle(t, p)
		})
	}
}

// What is passed on as bytes ends when the network falls silent, and the next connection goes elsewhere.
func TestSilentNetworkOfTCP(t *testing.T) {
	t.Parallel()
	k := linkTo(t, saying(t, "first"))
	p, _ := failover(t, proxy.TCP, target("first", k.addr()), target("second", saying(t, "second")))
	addr := p.Addr("l").String()
	c := keep(t, addr)
	c.send("GET", "/a")
	if status, body := c.answer(t); status != 200 || body != "first" {
		t.Fatalf("%d, %q", status, body)
	}
	cut := k.set(true)
	c.send("GET", "/a")
	if n, err := c.in.ReadByte(); err == nil {
		t.Errorf("%q came", n)
	}
	if took := time.Since(cut); took > quick {
		t.Errorf("it ended after %v", took)
	}
	answeredBy(t, addr, "second", time.Now(), 0)
	answeredBy(t, addr, "first", k.set(false), 15*time.Second)
}

// A connection that cannot be made since nobody answers goes elsewhere before its time, and where there is nowhere else the
// caller is told soon, and who comes later at once.
func TestSilentFromTheStart(t *testing.T) {
	for what, way := range ways {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			first, k := way(t, saying(t, "first"))
			alone, l := way(t, saying(t, "first"))
			p, _ := failover(t, proxy.HTTP, first, target("second", saying(t, "second")))
			lone := single(t, "", func(l *proxy.Listener, _ *proxy.Target) { l.Routes = proxy.Direct(alone) })
			l.set(true)
			k.set(true)
			begun := time.Now()
			answeredBy(t, p.Addr("l").String(), "second", begun, 0)
			for range 2 {
				if r, body := ask(t, lone, get); r.StatusCode != 503 || !strings.Contains(body, "has not answered for") {
					t.Errorf("%s, %q", r.Status, body)
				}
			}
			if took := time.Since(begun); took > quick {
				t.Errorf("it took %v", took)
			}
			answeredBy(t, lone, "first", l.set(false), 15*time.Second)
		})
	}
}

// An application that takes connections and reads nothing is not silent, however late it answers.
func TestBusyIsNotSilent(t *testing.T) {
	const busy = 6 * time.Second
	app := func(t *testing.T) string {
		return listen(t, func(c net.Conn) {
			time.Sleep(busy)
			in := bufio.NewReader(c)
			r, err := http.ReadRequest(in)
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err != nil {
				t.Error(err)
			}
			io.WriteString(c, ok("late"))
		})
	}
	all := map[string]net.Conn{}
	var sent sync.WaitGroup
	for what, via := range map[string]func(t *testing.T) string{
		"HTTP/1.1": func(t *testing.T) string { return single(t, app(t), nil) },
		"HTTP/2":   func(t *testing.T) string { return mesh(t, proxy.HTTP, app(t), nil).addr },
		"TCP":      func(t *testing.T) string { return mesh(t, proxy.TCP, app(t), nil).addr },
	} {
		for size, n := range map[string]int{"short": 0, "long": 16 << 20} {
			c := dial(t, via(t))
			all[what+" "+size] = c
			sent.Go(func() { // ends when the application reads, or with the connection
				fmt.Fprintf(c, "POST /a HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n))
			})
		}
	}
	for what, c := range all {
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || r.StatusCode != 200 {
			t.Errorf("%s: %v, %v", what, r, err)
		}
	}
	sent.Wait()
}
