//go:build linux

package proxy

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// A listener that nobody connects to has no goroutine; it comes to rest again, and no connection waits for ever because it
// came just then.
func TestRouser(t *testing.T) {
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	go func() { // ends with app
		for {
			c, err := app.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "here")
			c.Close()
		}
	}()
	p := New(Options{})
	p.rouser = newRouser()
	conf := &Listener{Name: "l", Network: "tcp", Address: "127.0.0.1:0", Routes: Direct(&Target{Name: "app", Endpoints: []Endpoint{{Network: "tcp", Address: app.Addr().String()}}})}
	s := &Snapshot{Listeners: []*Listener{conf}}
	if err := p.Update(s); err != nil {
		t.Fatal(err)
	}
	l := p.listening[conf.at()]
	resting := func(is bool) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		was := l.asleep
		l.asleep = is
		return was
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn) {
		t.Helper()
		defer c.Close()
		if got, err := io.ReadAll(c); string(got) != "here" {
			t.Errorf("got %q, %v", got, err)
		}
	}

	l.start()
	if !resting(false) {
		t.Error("a listener that was opened just now does not rest")
	}
	early := dial() // whoever is woken now takes the listener for one that accepts
	if !l.rest() {
		t.Error("a listener does not come to rest while a connection waits")
	}
	answered(early)
	answered(dial())

	alone := newListening(p, mustListen(t), conf)
	p.served.Add(1)
	if p.rouser.watch(alone); alone.asleep {
		t.Error("it rests already")
	}
	if alone.accept(); !alone.asleep {
		t.Error("it has come to rest, and nobody would know")
	}

	file, err := l.Listener.(*net.TCPListener).File() // as another process has it that took the listener over
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	alone.stop()
	l.stop()
	p.served.Wait()
	if err := onFile(p.rouser.file, func(fd uintptr) {
		if text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd)); err != nil || strings.Contains(string(text), "tfd:") {
			t.Errorf("the epoll watches listeners that are closed: %s, %v", text, err)
		}
	}); err != nil {
		t.Error(err)
	}
	p.rouser.close()
	if n := len(p.rouser.by); n != 0 {
		t.Errorf("%d listeners are still watched", n)
	}
	for _, h := range p.hosts {
		h.retire()
	}
}

func mustListen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
