package http2_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc/http2"
)

// slow is a way to a peer that takes nothing while it is held.
type slow struct {
	to   net.Conn
	held chan struct{} // has a value then
	rest []byte        // of what was offered; of who writes
}

func slowTo(to net.Conn) *slow { return &slow{to: to, held: make(chan struct{}, 1)} }

func (s *slow) hold() { s.held <- struct{}{} }

func (s *slow) let() { <-s.held }

func (s *slow) offer(b []byte) (bool, error) {
	select {
	case s.held <- struct{}{}:
	default:
		s.rest = append(s.rest, b...)
		return true, nil
	}
	defer s.let()
	_, err := s.to.Write(b)
	return false, err
}

func (s *slow) write(b []byte) error {
	s.hold()
	defer s.let()
	all := append(s.rest, b...)
	s.rest = nil
	_, err := s.to.Write(all)
	return err
}

func (s *slow) options(o http2.Options) http2.Options {
	o.Offer, o.Write = s.offer, s.write
	return o
}

// Who has something to say does not wait for a peer that takes nothing, and nothing is lost when it takes it again.
func TestSlowPeer(t *testing.T) {
	raw, err := net.Dial("tcp", serving(t, http2.Options{Serve: echo}))
	if err != nil {
		t.Fatal(err)
	}
	way := slowTo(raw)
	c := http2.New(raw, nil, way.options(http2.Options{}))
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		c.Run()
	}()
	defer func() {
		raw.Close()
		<-ended
	}()
	begin := func(path string) *http2.Stream {
		s, err := c.Open()
		if err == nil {
			err = s.Send(get(path), nil, true, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	hear := func(s *http2.Stream, path string) {
		text, err := s.Head(time.Now().Add(20 * time.Second))
		if err != nil || !strings.Contains(string(text), "x-path: "+path+"\r\n") {
			t.Errorf("%s: %v %q", path, err, text)
		}
		s.Release()
	}
	hear(begin("/before"), "/before")
	for range 3 {
		way.hold()
		var all []*http2.Stream
		for range 10 {
			all = append(all, begin("/meanwhile")) // it returns
		}
		way.let()
		for _, s := range all {
			hear(s, "/meanwhile")
		}
	}
}

// A connection that ends with its last exchange ends when the peer has all of it.
func TestSlowPeerHasAll(t *testing.T) { synctest.Test(t, slowPeerHasAll) }

func slowPeerHasAll(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	way := slowTo(far)
	var server *http2.Conn
	answered := make(chan struct{})
	server = http2.New(far, nil, way.options(http2.Options{Serve: func(s *http2.Stream) {
		way.hold()
		echo(s)
		server.Drain()
		close(answered)
	}}))
	ends := make(chan error, 2)
	go func() { ends <- server.Run() }() // end with the connection
	c := http2.New(near, nil, http2.Options{})
	go func() { ends <- c.Run() }()
	s, err := c.Open()
	if err == nil {
		err = s.Send(get("/last"), nil, true, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	<-answered
	time.Sleep(20 * time.Second) // less than it may take
	way.let()
	if text, err := s.Head(time.Now().Add(time.Minute)); err != nil || !strings.Contains(string(text), "x-path: /last\r\n") {
		t.Errorf("%v %q", err, text)
	}
	for {
		if _, err := s.Next(time.Now().Add(time.Minute)); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
	}
	s.Release()
	for range 2 {
		<-ends
	}
}

// A peer that says nothing with exchanges under way is asked whether it is there, and is silent for as long as it does not say
// anything then. Without exchanges nobody is asked.
func TestSilence(t *testing.T) { synctest.Test(t, silence) }

func silence(t *testing.T) {
	near, far := net.Pipe()
	c := http2.New(far, nil, http2.Options{})
	ended := make(chan error, 2)
	go func() { ended <- c.Run() }() // end with the connection
	var pings atomic.Int32
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := near.Read(b)
			if pings.Add(int32(strings.Count(string(b[:n]), "presence"))); err != nil {
				ended <- nil
				return
			}
		}
	}()
	const ask = time.Second
	after := func(d, want time.Duration, asked int32) {
		t.Helper()
		time.Sleep(d)
		if got := c.Silence(ask); got != want {
			t.Errorf("silent for %v, want %v", got, want)
		}
		if synctest.Wait(); pings.Load() != asked {
			t.Errorf("asked %d times, want %d", pings.Load(), asked)
		}
	}
	after(time.Minute, 0, 0)
	s, err := c.Open()
	if err == nil {
		err = s.Send(get("/a"), nil, true, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	after(0, 0, 1)
	after(ask/2, ask/2, 1)
	after(2*ask, 5*ask/2, 1)
	io.WriteString(near, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
	synctest.Wait()
	after(ask/2, 0, 1)
	after(ask/2, 0, 2)
	after(ask, ask, 2)
	s.Release()
	after(time.Minute, 0, 2)
	near.Close()
	for range 2 {
		<-ended
	}
}
