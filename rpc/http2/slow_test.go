package http2_test

import (
	"errors"
	"io"
	"net"
	"strings"
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
