package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// detour leads to pools by their names, over connections of their own. It implements Beyond.
type detour struct {
	mu    sync.Mutex
	pools map[string]*Pool
	cut   bool
	open  []net.Conn
}

func (d *detour) Leads(name string) bool { return strings.HasSuffix(name, ".far") }

func (d *detour) Dial(_ context.Context, name string, packets bool) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut || d.pools[name] == nil {
		return nil, errors.New("nothing leads there")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := l.Accept()
	if err != nil {
		return nil, err
	}
	d.open = append(d.open, near)
	d.pools[name].Take(far, packets)
	return near, nil
}

// breakAll ends the connections there are, and lets none be made while cut.
func (d *detour) breakAll(cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = cut
	for _, c := range d.open {
		c.Close()
	}
	d.open = nil
}

// walled advertises an address of this machine at which nobody listens.
func walled(name string, d *detour) Config {
	c := onLoopback(name)
	c.Kind, c.Beyond, c.Advertise = WAN, d, netip.MustParseAddrPort("127.66.0.1:9")
	c.Timings = Timings{
		GossipInterval: 20 * time.Millisecond, ProbeInterval: 200 * time.Millisecond, ProbeTimeout: 100 * time.Millisecond, SuspicionMult: 4,
		ReconnectInterval: 100 * time.Millisecond, LeavePropagateDelay: 50 * time.Millisecond,
	}
	return c
}

// Members whose addresses lead nowhere find one another by their names, lose one another when nothing leads there, and find
// one another again.
func TestBeyond(t *testing.T) {
	d := &detour{pools: map[string]*Pool{}}
	a, b := mustOpen(t, walled("a.far", d)), mustOpen(t, walled("b.far", d))
	d.mu.Lock()
	d.pools["a.far"], d.pools["b.far"] = a, b
	d.mu.Unlock()
	if err := b.JoinBeyond("c.far"); err == nil || !strings.Contains(err.Error(), "nothing leads there") {
		t.Errorf("joined nobody: %v", err)
	}
	if err := b.JoinBeyond("a.far"); err != nil {
		t.Fatal(err)
	}
	await(t, a, Joined, "b.far")
	await(t, b, Joined, "a.far")
	if err := b.UserEvent("deploy", nil, false); err != nil { // which goes by packets
		t.Fatal(err)
	}
	await(t, a, User, "deploy")
	d.breakAll(false) // new ones are made
	if err := b.UserEvent("again", nil, false); err != nil {
		t.Fatal(err)
	}
	await(t, a, User, "again")
	d.breakAll(true)
	await(t, a, Failed, "b.far")
	d.breakAll(false)
	await(t, a, Joined, "b.far")
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}

// lastProbe is what memberlist goes on with for up to two seconds after it was shut down, where a test before had members that
// could not be reached.
var lastProbe = goleak.IgnoreTopFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode")

// A connection for packets brings packets, answers questions, and ends when it brings what is too long or nothing for too
// long.
func TestTake(t *testing.T) {
	defer goleak.VerifyNone(t, lastProbe)
	d := &detour{pools: map[string]*Pool{}}
	a := mustOpen(t, walled("a.far", d))
	d.pools["a.far"] = a
	conn, err := d.Dial(t.Context(), "a.far", true)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := conn.Write([]byte{0, 3, 'x', 'y', 'z', 0, 0}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal("no answer:", err)
		}
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint16(nil, packetBytes)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the connection goes on: %d %v", n, err)
	}
	if got := a.Stats()["packets_refused"]; got != "1" {
		t.Errorf("%s packets were refused", got)
	}
	// A pool that reaches nobody so takes none either.
	c := onLoopback("c")
	plain := mustOpen(t, c)
	d.mu.Lock()
	d.pools["c.far"] = plain
	d.mu.Unlock()
	conn, err = d.Dial(t.Context(), "c.far", true)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("it was taken: %d %v", n, err)
	}
	d.breakAll(true)
	if err := errors.Join(a.Close(), plain.Close()); err != nil {
		t.Error(err)
	}
}
