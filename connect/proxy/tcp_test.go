package proxy_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
)

// Trap 20: the end of what one side says leaves the other side talking, through TLS and without.
func TestHalfClose(t *testing.T) {
	app := listen(t, func(c net.Conn) { // says what it heard when it has heard all, and more
		all, err := io.ReadAll(c)
		fmt.Fprintf(c, "heard %q %v", all, err)
		c.(*net.TCPConn).CloseWrite()
	})
	first := listen(t, func(c net.Conn) { // says all at once, and goes on listening
		io.WriteString(c, "I begin")
		c.(*net.TCPConn).CloseWrite()
		all, _ := io.ReadAll(c)
		if string(all) != "and I end" {
			t.Errorf("heard %q after the end of what was said", all)
		}
	})
	plain := func(app string) string {
		return run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{{
			Name: "l", Network: "tcp", Address: "127.0.0.1:0", Routes: proxy.Direct(target("app", app)),
		}}}, proxy.Options{}).Addr("l").String()
	}
	for what, via := range map[string]func(string) string{
		"two hops": func(app string) string { return mesh(t, proxy.TCP, app, nil).addr }, "plain": plain,
	} {
		c := dial(t, via(app))
		io.WriteString(c, "hello")
		c.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != `heard "hello" <nil>` || err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		c = dial(t, via(first))
		if got, err := io.ReadAll(c); string(got) != "I begin" || err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		if _, err := io.WriteString(c, "and I end"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		c.CloseWrite()
	}
}

// What is broken off arrives as broken off, not as an end.
func TestResetIsPassedOn(t *testing.T) {
	app := listen(t, func(c net.Conn) {
		io.WriteString(c, "half of it")
		io.ReadFull(c, make([]byte, 2))
		c.(*net.TCPConn).SetLinger(0)
	})
	c := dial(t, mesh(t, proxy.TCP, app, nil).addr)
	half := make([]byte, len("half of it"))
	if _, err := io.ReadFull(c, half); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "ok")
	if rest, err := io.ReadAll(c); err == nil {
		t.Errorf("a connection that broke ended in order, after %q", rest)
	}
}

// Bytes arrive as they are, in both directions at once, while either side takes its time.
func TestStreams(t *testing.T) {
	app := listen(t, func(c net.Conn) {
		io.Copy(c, c)
		c.(*net.TCPConn).CloseWrite()
	})
	c := dial(t, mesh(t, proxy.TCP, app, nil).addr)
	sent, got := sha256.New(), sha256.New()
	const size = 16 << 20
	written := make(chan error, 1)
	go func() { // ends with what there is to write
		_, err := io.CopyN(io.MultiWriter(c, sent), rand.Reader, size)
		c.CloseWrite()
		written <- err
	}()
	n, err := io.Copy(got, c)
	if werr := <-written; werr != nil || err != nil || n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("%d bytes came back, %v, %v", n, err, werr)
	}
}

func TestUnixSockets(t *testing.T) {
	app := listen(t, func(c net.Conn) { io.WriteString(c, "hello"); c.(*net.TCPConn).CloseWrite(); io.Copy(io.Discard, c) })
	path := filepath.Join(t.TempDir(), "s")
	run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{{Name: "l", Network: "unix", Address: path, Routes: proxy.Direct(target("app", app))}}}, proxy.Options{})
	to := target("socket")
	to.Endpoints = []proxy.Endpoint{{Network: "unix", Address: path}}
	addr := run(t, &proxy.Snapshot{Listeners: []*proxy.Listener{{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Routes: proxy.Direct(to)}}}, proxy.Options{}).Addr("l").String()
	c := dial(t, addr)
	c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// The end of a connection on which nothing is said comes, and not while something is said one way.
func TestIdle(t *testing.T) {
	app := listen(t, func(c net.Conn) {
		for range 6 {
			time.Sleep(300 * time.Millisecond)
			io.WriteString(c, "x")
		}
		io.Copy(io.Discard, c)
	})
	p := mesh(t, proxy.TCP, app, func(p *pair) { p.outgoing.IdleTime = time.Second })
	c := dial(t, p.addr)
	got, _ := io.ReadAll(c)
	if string(got) != "xxxxxx" {
		t.Errorf("%q came before the end", got)
	}
}

// Trap 26: connections above the limit are refused, and leave place when they end.
func TestMaxConns(t *testing.T) {
	app := listen(t, func(c net.Conn) { io.WriteString(c, "hello"); io.Copy(io.Discard, c) })
	p := mesh(t, proxy.TCP, app, func(p *pair) { p.outgoing.MaxConns = 2 })
	hello := func(c net.Conn) error { _, err := io.ReadFull(c, make([]byte, 5)); return err }
	a, b := dial(t, p.addr), dial(t, p.addr)
	if hello(a) != nil || hello(b) != nil {
		t.Fatal("there is no place")
	}
	if hello(dial(t, p.addr)) == nil {
		t.Error("three connections where two are allowed")
	}
}

// Trap 23: a connection that is denied now is cut, another one stays; new ones are refused.
func TestDeniedConnectionsAreCut(t *testing.T) {
	app := listen(t, func(c net.Conn) { io.Copy(c, c) })
	p := mesh(t, proxy.TCP, app, nil)
	echo := func(c net.Conn) error {
		io.WriteString(c, "hello")
		_, err := io.ReadFull(c, make([]byte, 5))
		return err
	}
	c := dial(t, p.addr)
	if err := echo(c); err != nil {
		t.Fatal(err)
	}
	change := func(name string) {
		next := *p.incoming
		next.Policy = policy(t, true, &catalog.SourceIntention{Name: name, Action: catalog.IntentionDeny, Type: "consul"})
		next.Address = p.incoming.Address
		if err := p.in.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
			t.Fatal(err)
		}
	}
	change("other")
	if err := echo(c); err != nil {
		t.Errorf("a connection was cut that is still allowed: %v", err)
	}
	change("web")
	if err := echo(c); err == nil {
		t.Error("a connection goes on that is denied")
	}
	if err := echo(dial(t, p.addr)); err == nil {
		t.Error("a new connection is taken that is denied")
	}
}

// A proxy that is told to end lets connections end, and cuts those that do not; those of listeners that are gone too.
func TestDrain(t *testing.T) {
	app := listen(t, func(c net.Conn) { io.Copy(c, c) })
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone %v", gone), func(t *testing.T) { // whose cleanup waits for the end
			p := mesh(t, proxy.TCP, app, nil)
			c := dial(t, p.addr)
			io.WriteString(c, "x")
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if !gone {
				return
			}
			if err := p.out.Update(&proxy.Snapshot{}); err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, "x")
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Errorf("a connection did not outlive its listener: %v", err)
			}
			if d, err := net.Dial("tcp", p.addr); err == nil {
				d.Close()
				t.Error("a listener that is gone takes connections")
			}
		})
	}
}
