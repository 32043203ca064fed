package rpc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// within gives what must happen on real sockets its time.
const within = 30 * time.Second

func soon[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(within):
		t.Fatal("it did not happen")
	}
	return v
}

// TestCalls goes from a client through a server that forwards to one that answers, over mutual TLS.
func TestCalls(t *testing.T) {
	ca := newAuthority(t)
	back, _ := serve(t, rpc.ServerOptions{Handler: answerEcho, Encode: encodeError}, ca.serving("back"))
	toBack := pool(t, rpc.PoolOptions{Dialer: ca.dialing("front"), Decode: decodeError}).To(back.Addr().String())
	var who atomic.Value
	front, _ := serve(t, rpc.ServerOptions{Encode: encodeError, Handler: func(ctx context.Context, peer rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
		who.Store(peer.Certificate.Subject.CommonName)
		if call.Header.Forwarded++; call.Header.Datacenter != "dc2" || call.Header.MinIndex != 7 || call.Header.MaxWait != time.Minute {
			t.Errorf("header %+v", call.Header)
		}
		return toBack.Call(ctx, call)
	}}, ca.serving("front"))
	target := pool(t, rpc.PoolOptions{Dialer: ca.dialing("client"), Decode: decodeError}).To(front.Addr().String())
	header := rpc.Header{Datacenter: "dc2", Token: "secret", MinIndex: 7, MaxWait: time.Minute, Filter: "a == b"}

	f := func(req request) {
		t.Helper()
		got, meta, err := echo.Call(t.Context(), target, header, &req)
		must(t, err)
		if !reflect.DeepEqual(*got, reply(req)) || meta != (rpc.Meta{Index: 42, KnownLeader: true}) {
			t.Fatalf("sent %.60v, got %.60v, %+v", req, *got, meta)
		}
	}
	f(request{})
	f(request{Name: "web", Any: map[string]any{"s": "text", "n": int64(5), "f": 1.5, "l": []any{true, nil}, "m": map[string]any{"k": "v"}}})
	for _, n := range []int{1, 16<<10 - 60, 16 << 10, 3 << 20} { // around and over what one frame holds
		data := make([]byte, n)
		rand.Read(data)
		f(request{Bytes: data})
	}
	if who.Load() != "client" {
		t.Fatalf("the handler met %v", who.Load())
	}
	_, err := target.Call(t.Context(), &rpc.Call{Method: "Test.None", Header: header})
	hasCode(t, err, "invalid", "no method Test.None")
	_, err = target.Call(t.Context(), &rpc.Call{Method: echo.Name, Header: header, Body: rpc.Raw{0xc1}})
	hasCode(t, err, "internal", "rpc: decoding *rpc_test.request")
}

func TestEncodedOnce(t *testing.T) {
	body := rpc.NewBody(&counted{}, nil)
	l, _ := serve(t, rpc.ServerOptions{Handler: func(context.Context, rpc.Peer, *rpc.Call) (rpc.Answer, error) {
		return rpc.Answer{Body: body}, nil
	}}, rpc.ListenerOptions{})
	target := pool(t, rpc.PoolOptions{}).To(l.Addr().String())
	for range 5 {
		answer, err := target.Call(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		if raw := answer.Value().(rpc.Raw); len(raw) == 0 || answer.Watched() {
			t.Fatal(raw)
		}
	}
	if n := body.Value().(*counted).n.Load(); n != 1 {
		t.Fatalf("encoded %d times", n)
	}
}

// counted counts its encodings.
type counted struct{ n atomic.Int32 }

func (c *counted) MarshalBinary() ([]byte, error) {
	c.n.Add(1)
	return []byte("x"), nil
}

func (c *counted) UnmarshalBinary([]byte) error { return nil }

func TestSizesAndFailures(t *testing.T) {
	limits := rpc.Limits{MaxMessage: 1 << 20}
	l, _ := serve(t, rpc.ServerOptions{Encode: encodeError, Limits: limits, Handler: func(_ context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
		switch call.Method {
		case "panic":
			panic("on purpose")
		case "big":
			return rpc.Answer{Body: rpc.NewBody(rpc.Raw(make([]byte, 2<<20)), nil)}, nil
		case "cannot be encoded":
			return rpc.Answer{Body: rpc.NewBody(unwilling{}, nil)}, nil
		case "almost big":
			return rpc.Answer{Body: rpc.NewBody(rpc.Raw(make([]byte, 900<<10)), nil)}, nil
		}
		return rpc.Answer{}, nil
	}}, rpc.ListenerOptions{})
	addr := l.Addr().String()
	f := func(limits rpc.Limits, call rpc.Call, code, text string) {
		t.Helper()
		_, err := pool(t, rpc.PoolOptions{Decode: decodeError, Limits: limits}).To(addr).Call(t.Context(), &call)
		if code == "" {
			must(t, err)
		} else {
			hasCode(t, err, code, text)
		}
	}
	big := rpc.Raw(make([]byte, 2<<20))
	f(limits, rpc.Call{Method: "no body"}, "", "")
	f(limits, rpc.Call{Method: "panic"}, "internal", "rpc: panic panicked")
	f(limits, rpc.Call{Method: "big"}, "internal", "exceeds 1048576 bytes")
	f(limits, rpc.Call{Method: "cannot be encoded"}, "internal", "encoding rpc_test.unwilling")
	f(limits, rpc.Call{Method: "m", Body: big}, "too_large", "request of m exceeds 1048576 bytes")
	f(rpc.Limits{}, rpc.Call{Method: "m", Body: big}, "too_large", "request exceeds 1048576 bytes") // the server's word
	f(rpc.Limits{MaxMessage: 1 << 10}, rpc.Call{Method: "almost big"}, "internal", "exceeds 1024 bytes")

	_, err := pool(t, rpc.PoolOptions{}).To(addr).Call(t.Context(), &rpc.Call{Method: "panic"})
	if e := new(rpc.RemoteError); !errors.As(err, &e) || e.Code != "internal" {
		t.Fatal(err)
	}
	_, err = pool(t, rpc.PoolOptions{}).To(addr).Call(t.Context(), &rpc.Call{Method: "m", NewReply: func() any { return new(reply) }})
	must(t, err) // no body: the reply stays as NewReply made it
}

type unwilling struct{}

func (unwilling) MarshalBinary() ([]byte, error) { return nil, errors.New("no") }

func (unwilling) UnmarshalBinary([]byte) error { return nil }

// TestCancel sees that the handler behind a forwarding server learns that the caller has gone.
func TestCancel(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error)
	back, _ := serve(t, rpc.ServerOptions{Handler: func(ctx context.Context, _ rpc.Peer, _ *rpc.Call) (rpc.Answer, error) {
		started <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return rpc.Answer{Body: rpc.NewBody(rpc.Raw(make([]byte, 1<<20)), nil)}, nil
	}}, rpc.ListenerOptions{})
	toBack := pool(t, rpc.PoolOptions{}).To(back.Addr().String())
	front, _ := serve(t, rpc.ServerOptions{Handler: func(ctx context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
		return toBack.Call(ctx, call)
	}}, rpc.ListenerOptions{})
	target := pool(t, rpc.PoolOptions{}).To(front.Addr().String())

	f := func(ctx context.Context, end func(), want error) {
		t.Helper()
		done := make(chan error)
		go func() {
			_, err := target.Call(ctx, &rpc.Call{Method: "m"})
			done <- err
		}()
		soon(t, started)
		end()
		if err := soon(t, done); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		if err := soon(t, ended); err != context.Canceled {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	f(ctx, cancel, context.Canceled)
	over := make(chan struct{})
	f(deadline{t.Context(), over}, func() { close(over) }, context.DeadlineExceeded)
}

// A deadline is a context whose time is over when over is closed.
type deadline struct {
	context.Context
	over <-chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.over }

func (d deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestDeath has many calls parked when the server goes.
func TestDeath(t *testing.T) {
	const calls = 1000
	var parked, ended sync.WaitGroup
	parked.Add(calls)
	ended.Add(calls)
	l, stop := serve(t, rpc.ServerOptions{Handler: func(ctx context.Context, _ rpc.Peer, _ *rpc.Call) (rpc.Answer, error) {
		parked.Done()
		<-ctx.Done()
		return rpc.Answer{}, ctx.Err()
	}}, rpc.ListenerOptions{})
	target := pool(t, rpc.PoolOptions{Decode: decodeError}).To(l.Addr().String())
	for range calls {
		go func() {
			defer ended.Done()
			_, err := target.Call(t.Context(), &rpc.Call{Method: "m"})
			if link := new(rpc.LinkError); !errors.As(err, &link) || !link.Sent || !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%#v", err)
			}
		}()
	}
	parked.Wait()
	stop()
	ended.Wait()
	_, err := target.Call(t.Context(), &rpc.Call{Method: "m"})
	hasCode(t, err, "unavailable", "no connection to "+l.Addr().String())
	if link := new(rpc.LinkError); !errors.As(err, &link) || link.Sent {
		t.Fatal(err)
	}
}

// TestParked holds 10,000 calls on one connection and gives them up one by one and all at once.
func TestParked(t *testing.T) {
	const calls = 10000
	var parked, gone sync.WaitGroup
	parked.Add(calls)
	gone.Add(calls)
	l, _ := serve(t, rpc.ServerOptions{Handler: func(ctx context.Context, _ rpc.Peer, _ *rpc.Call) (rpc.Answer, error) {
		parked.Done()
		<-ctx.Done()
		gone.Done()
		return rpc.Answer{}, nil
	}}, rpc.ListenerOptions{MaxPerIP: 1})
	target := pool(t, rpc.PoolOptions{Conns: 1}).To(l.Addr().String())
	all, cancelAll := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for i := range calls {
		ctx, cancel := all, context.CancelFunc(func() {})
		if i%2 == 0 {
			ctx, cancel = context.WithCancel(all)
		}
		callers.Go(func() {
			if _, err := target.Call(ctx, &rpc.Call{Method: "m"}); err != context.Canceled {
				t.Error(err)
			}
		})
		defer cancel()
	}
	parked.Wait()
	cancelAll()
	callers.Wait()
	gone.Wait()
}

// TestMuxed sends all three protocols to one port, with TLS and without.
func TestMuxed(t *testing.T) {
	ca := newAuthority(t)
	f := func(lo rpc.ListenerOptions, d rpc.Dialer) {
		t.Helper()
		lo.Admit = func(peer rpc.Peer) error {
			if peer.Protocol == rpc.ProtocolRaft && peer.Certificate != nil && peer.Certificate.Subject.CommonName != "server" {
				return errors.New("raft is for servers") // A11
			}
			return nil
		}
		l, stop := serve(t, rpc.ServerOptions{Handler: answerEcho, Streams: copyStream}, lo)
		addr := l.Addr().String()
		go func() {
			for {
				c, err := l.Raft().Accept()
				if err != nil {
					return
				}
				go io.Copy(c, c)
			}
		}()
		c, err := d.Dial(t.Context(), addr, rpc.ProtocolRaft)
		must(t, err)
		echoes(t, c)
		target := pool(t, rpc.PoolOptions{Dialer: d}).To(addr)
		_, _, err = echo.Call(t.Context(), target, rpc.Header{}, &request{})
		must(t, err)
		s, err := target.Open(t.Context(), &rpc.Call{Method: "copy"})
		must(t, err)
		echoes(t, s)
		must(t, s.Close())
		stop()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("a Raft connection outlived the listener")
		}
		c.Close()
	}
	f(rpc.ListenerOptions{}, rpc.Dialer{})
	f(ca.serving("a"), ca.dialing("server"))
}

func echoes(t *testing.T, rw io.ReadWriter) {
	t.Helper()
	_, err := rw.Write([]byte("hello"))
	must(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(rw, got)
	must(t, err)
	if string(got) != "hello" {
		t.Fatalf("%q", got)
	}
}

func copyStream(_ context.Context, _ rpc.Peer, call *rpc.Call, rw io.ReadWriter) error {
	_, err := io.Copy(rw, rw)
	return err
}

// TestStrangers is A10, A11 and their like: none of them gets as far as a handler.
func TestStrangers(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	lo := ca.serving("server")
	lo.Admit = func(peer rpc.Peer) error {
		if peer.Protocol == rpc.ProtocolRaft && peer.Certificate.Subject.CommonName != "server" {
			return errors.New("raft is for servers")
		}
		return nil
	}
	l, _ := serve(t, rpc.ServerOptions{Handler: func(context.Context, rpc.Peer, *rpc.Call) (rpc.Answer, error) {
		t.Error("a stranger was answered")
		return rpc.Answer{}, nil
	}}, lo)
	addr := l.Addr().String()
	dialer := func(c *tls.Config) rpc.Dialer {
		return rpc.Dialer{TLS: func(string) (*tls.Config, error) { return c, nil }}
	}
	refused := func(name string, d rpc.Dialer, p rpc.Protocol) {
		t.Helper()
		c, err := d.Dial(t.Context(), addr, p)
		if err != nil {
			return
		}
		defer c.Close()
		c.Write(frame(kindCall, 1, callPayload("m", nil)))
		c.SetReadDeadline(time.Now().Add(within))
		if n, err := c.Read(make([]byte, 64)); n > 0 || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: read %d bytes, %v", name, n, err)
		} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Errorf("%s: left open", name)
		}
	}
	refused("plain TCP", rpc.Dialer{}, rpc.ProtocolRPC)
	anonymous := ca.config("client")
	anonymous.Certificates = nil
	refused("no client certificate", dialer(anonymous), rpc.ProtocolRPC)
	stranger := ca.config("client")
	stranger.Certificates = other.config("client").Certificates
	refused("a stranger's certificate", dialer(stranger), rpc.ProtocolRPC)
	refused("an agent that speaks Raft", ca.dialing("client"), rpc.ProtocolRaft)
	refused("an unknown protocol", ca.dialing("client"), "h2")

	wrongName := ca.config("client")
	wrongName.ServerName = "server.dc2.consul" // A12
	d := dialer(wrongName)
	if _, err := d.Dial(t.Context(), addr, rpc.ProtocolRPC); err == nil || !strings.Contains(err.Error(), "server.dc2.consul") {
		t.Fatal(err)
	}
	d = dialer(nil)
	if _, err := d.Dial(t.Context(), addr, rpc.ProtocolRPC); err == nil {
		t.Fatal("a missing TLS configuration meant plain TCP")
	}
}

// TestClocks: where the clock of one machine is so wrong that a certificate does not count, the error says which clocks to set, whichever
// side refuses; an address where nobody listens is named once.
func TestClocks(t *testing.T) {
	ca := newAuthority(t)
	wrong := func() time.Time { return time.Now().Add(3 * time.Hour) }
	call := func(server, client func() time.Time) error {
		s, c := ca.config("server"), ca.config("client")
		s.Time, c.Time = server, client
		l, _ := serve(t, rpc.ServerOptions{Handler: answerEcho}, rpc.ListenerOptions{TLS: func() (*tls.Config, error) { return s, nil }})
		p := pool(t, rpc.PoolOptions{Dialer: rpc.Dialer{TLS: func(string) (*tls.Config, error) { return c, nil }}})
		_, err := p.To(l.Addr().String()).Call(t.Context(), &rpc.Call{Method: echo.Name, Body: &request{}})
		return err
	}
	f := func(err error, want string) {
		t.Helper()
		if err == nil || strings.Count(err.Error(), want) != 1 || strings.Count(err.Error(), "set the clock right that is wrong") != 1 {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(call(nil, wrong), "of the machine that connects or of the one that the certificate was made on")
	f(call(wrong, nil), "by the clock there the certificate that is shown to it has ended or not begun")
	if err := call(nil, nil); err != nil {
		t.Error(err)
	}
	d := rpc.Dialer{}
	if _, err := d.Dial(t.Context(), "127.0.0.1:1", rpc.ProtocolRPC); err == nil || strings.Count(err.Error(), "127.0.0.1:1") != 1 {
		t.Error(err)
	}
}

// TestNewRoots replaces the server's configuration: who the old roots vouched for is a stranger, its session
// ticket too.
func TestNewRoots(t *testing.T) {
	old, new := newAuthority(t), newAuthority(t)
	var present atomic.Pointer[tls.Config]
	present.Store(old.config("server"))
	l, _ := serve(t, rpc.ServerOptions{Handler: answerEcho}, rpc.ListenerOptions{
		TLS: func() (*tls.Config, error) { return present.Load(), nil },
	})
	config := old.config("client")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	config.RootCAs = x509.NewCertPool()
	config.RootCAs.AddCert(old.cert)
	config.RootCAs.AddCert(new.cert)
	call := func(config *tls.Config) error {
		p := pool(t, rpc.PoolOptions{Dialer: rpc.Dialer{TLS: func(string) (*tls.Config, error) { return config, nil }}})
		defer p.Close()
		_, _, err := echo.Call(t.Context(), p.To(l.Addr().String()), rpc.Header{}, &request{})
		return err
	}
	must(t, call(config))
	must(t, call(config)) // resumes
	present.Store(new.config("server"))
	if err := call(config); err == nil {
		t.Fatal("the old roots' client was answered")
	}
	must(t, call(new.config("client")))

	odd := new.config("server")
	odd.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
	for _, bad := range []*tls.Config{odd, nil} {
		present.Store(bad)
		if err := call(new.config("client")); err == nil {
			t.Fatal("served with an unusable configuration")
		}
	}
}

// TestStreams moves bytes both ways, ends early on either side, and carries errors.
func TestStreams(t *testing.T) {
	left := make(chan error, 1)
	l, _ := serve(t, rpc.ServerOptions{Handler: answerEcho, Encode: encodeError,
		Streams: func(ctx context.Context, p rpc.Peer, call *rpc.Call, rw io.ReadWriter) error {
			switch call.Method {
			case "endless":
				_, err := io.Copy(rw, zeros{})
				left <- errors.Join(err, ctx.Err())
			case "fails":
				rw.Write([]byte("some"))
				return &coded{"denied", "not for you"}
			case "copy":
				return copyStream(ctx, p, call, rw)
			}
			return nil
		}}, rpc.ListenerOptions{})
	target := pool(t, rpc.PoolOptions{Decode: decodeError}).To(l.Addr().String())
	open := func(ctx context.Context, method string) *rpc.Stream {
		t.Helper()
		s, err := target.Open(ctx, &rpc.Call{Method: method})
		must(t, err)
		return s
	}
	data := make([]byte, 5<<20)
	rand.Read(data)
	s := open(t.Context(), "copy")
	go func() {
		s.Write(data)
		s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatal("what came back differs")
	}
	must(t, s.Close())

	s = open(t.Context(), "fails")
	got, err = io.ReadAll(s)
	hasCode(t, err, "denied", "not for you")
	if string(got) != "some" {
		t.Fatalf("%q", got)
	}
	_, err = s.Write([]byte("x"))
	hasCode(t, err, "denied", "not for you")
	must(t, s.Close())

	s = open(t.Context(), "endless")
	_, err = io.CopyN(io.Discard, s, 1<<20)
	must(t, err)
	must(t, s.Close())
	if err := soon(t, left); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Fatal("read from a closed stream")
	}

	ctx, cancel := context.WithCancel(t.Context())
	s = open(ctx, "endless")
	_, err = io.CopyN(io.Discard, s, 1<<20)
	must(t, err)
	cancel()
	if _, err := io.Copy(io.Discard, s); err != context.Canceled {
		t.Fatal(err)
	}
	soon(t, left)
	must(t, s.Close())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
