package gossip

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// onLoopback has a port of its own.
func onLoopback(name string) Config {
	return Config{Kind: LAN, Name: name, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Timings: Timings{
		GossipInterval: 20 * time.Millisecond, LeavePropagateDelay: 50 * time.Millisecond,
	}}
}

func TestSockets(t *testing.T) {
	defer goleak.VerifyNone(t, lastProbe)
	ca := onLoopback("a")
	ca.Keys = []Key{testKey('1')}
	cb := onLoopback("b")
	cb.Keys = ca.Keys
	a, b := mustOpen(t, ca), mustOpen(t, cb)
	mustJoin(t, b, a)
	await(t, a, Joined, "b")
	await(t, b, Joined, "a")
	if err := b.UserEvent("deploy", nil, false); err != nil {
		t.Fatal(err)
	}
	await(t, a, User, "deploy")

	n, err := a.Join(t.Context(), []string{"127.0.0.1:1"})
	if n != 0 || err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || strings.Contains(err.Error(), "\n\t*") {
		t.Errorf("join of nobody: %d %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Join(ctx, []string{"127.0.0.1:1"}); err != context.Canceled {
		t.Errorf("join with an ended context: %v", err)
	}

	// The address is taken, twice: the error says by what and what to do.
	taken := onLoopback("c")
	taken.Bind = a.LocalMember().AddrPort()
	_, err = Open(taken)
	if err == nil {
		t.Fatal("opened on a port in use")
	}
	for _, part := range []string{"gossip lan", "127.0.0.1", taken.Bind.String()[len("127.0.0.1:"):], "in use", "ports.serf_lan"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if err := b.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	for _, p := range []*Pool{a, b} {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNoSuchAddress(t *testing.T) {
	c := onLoopback("a")
	c.Bind = netip.MustParseAddrPort("192.0.2.1:0")
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "192.0.2.1 port 0") || !strings.Contains(err.Error(), "bind_addr") {
		t.Error(err)
	}
}

// Strangers by address are turned away before anything they say is looked at.
func TestAllowedNetworks(t *testing.T) {
	defer goleak.VerifyNone(t, lastProbe)
	c := onLoopback("a")
	c.Allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	tr, err := listen(c.withDefaults(), c.withDefaults().Logger)
	if err != nil {
		t.Fatal(err)
	}
	tr.start()
	defer tr.Shutdown()
	to := tr.udp.LocalAddr().String()
	send := func(from string, size int) {
		t.Helper()
		conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}).Dial("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	send("127.0.0.2", 10)
	send("127.0.0.1", packetBytes)
	send("127.0.0.1", 11)
	if p := <-tr.PacketCh(); len(p.Buf) != 11 || tr.packetsRefused.Load() != 2 {
		t.Errorf("packet of %d bytes from %s, refused %d", len(p.Buf), p.From, tr.packetsRefused.Load())
	}

	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	closed := func(conn net.Conn) {
		t.Helper()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection is not closed: %v", err)
		}
	}
	closed(dial("127.0.0.2"))
	for range maxHostStreams {
		dial("127.0.0.1")
		<-tr.StreamCh()
	}
	closed(dial("127.0.0.1"))
	if n := tr.streamsRefused.Load(); n != 2 {
		t.Errorf("%d connections refused", n)
	}
}

// A connection that is closed gives its place and its bytes back; one that floods is cut off.
func TestStreamBudget(t *testing.T) {
	defer goleak.VerifyNone(t, lastProbe)
	c := onLoopback("a").withDefaults()
	tr, err := listen(c, c.Logger)
	if err != nil {
		t.Fatal(err)
	}
	tr.start()
	defer tr.Shutdown()
	for range 2 {
		out, err := tr.DialTimeout(tr.tcp.Addr().String(), 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		in := <-tr.StreamCh()
		go func() {
			io.Copy(out, io.LimitReader(zeros{}, streamBudget+1))
			out.Close()
		}()
		n, err := io.Copy(io.Discard, in)
		if err == nil || n < streamBudget {
			t.Errorf("read %d bytes, %v", n, err)
		}
		in.Close()
		in.Close()
		tr.mu.Lock()
		if tr.held != 0 || tr.count != 0 || len(tr.hosts) != 0 {
			t.Errorf("kept %d bytes of %d connections from %d hosts", tr.held, tr.count, len(tr.hosts))
		}
		tr.mu.Unlock()
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A lone node starts without looking anything up.
func BenchmarkOpenClose(b *testing.B) {
	for b.Loop() {
		p, err := Open(onLoopback("a"))
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
