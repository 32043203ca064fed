package gossip

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// fabric is a network in memory for pools inside a synctest bubble.
type fabric struct {
	mu   sync.Mutex
	ends map[string]*end
	lost [2]string // packets from the first to the second get lost
	tape []*taped  // what went by since record was called
	on   bool
}

// taped is a packet that somebody on the way has kept.
type taped struct {
	to     *end
	packet memberlist.Packet
}

// record keeps all packets from now on.
func (f *fabric) record() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = true
}

// replay sends what was kept again, each packet so often, as if from its sender. It returns how many were sent.
func (f *fabric) replay(times int) (sent int) {
	f.mu.Lock()
	f.on = false
	tape := f.tape
	f.mu.Unlock()
	for range times {
		for _, one := range tape {
			again := one.packet
			again.Buf, again.Timestamp = append([]byte(nil), one.packet.Buf...), time.Now()
			for len(one.to.packets) > cap(one.to.packets)/2 { // whoever is to read them also writes
				time.Sleep(time.Millisecond)
			}
			one.to.packets <- &again
			sent++
		}
	}
	return sent
}

type end struct {
	f       *fabric
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	conns   []net.Conn
	cut     bool
}

func (f *fabric) end(at string) *end {
	e := &end{f: f, at: netip.MustParseAddrPort(at), packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 64)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ends == nil {
		f.ends = map[string]*end{}
	}
	f.ends[at] = e
	return e
}

// unplug makes a node unreachable, in both directions.
func (f *fabric) unplug(at string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends[at].cut = true
}

func (f *fabric) lose(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = [2]string{from, to}
}

func (f *fabric) to(e *end, addr string) *end {
	if to := f.ends[addr]; to != nil && !to.cut && !e.cut {
		return to
	}
	return nil
}

func (e *end) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return e.at.Addr().AsSlice(), int(e.at.Port()), nil
}

func (e *end) WriteTo(b []byte, addr string) (time.Time, error) {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	if to := e.f.to(e, addr); to != nil && e.f.lost != [2]string{e.at.String(), addr} {
		p := memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(e.at), Timestamp: time.Now()}
		if e.f.on {
			e.f.tape = append(e.f.tape, &taped{to, p})
			p.Buf = append([]byte(nil), b...) // who opens it may write there
		}
		to.packets <- &p
	}
	return time.Now(), nil
}

func (e *end) PacketCh() <-chan *memberlist.Packet { return e.packets }
func (e *end) StreamCh() <-chan net.Conn           { return e.streams }

func (e *end) DialTimeout(addr string, _ time.Duration) (net.Conn, error) {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	to := e.f.to(e, addr)
	if to == nil {
		return nil, errors.New("unreachable")
	}
	here, there := net.Pipe()
	e.conns, to.conns = append(e.conns, here), append(to.conns, there)
	to.streams <- there
	return here, nil
}

func (e *end) Shutdown() error {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	e.cut = true
	for _, c := range e.conns {
		c.Close()
	}
	return nil
}

// config is a pool on the fabric. Its library log goes to the test's.
func (f *fabric) config(t *testing.T, name, at string) Config {
	return Config{Kind: LAN, Name: name, Bind: netip.MustParseAddrPort(at), Transport: f.end(at), LibraryLog: testLog{t, name}}
}

type testLog struct {
	t    *testing.T
	name string
}

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s: %s", l.name, b[:len(b)-1])
	return len(b), nil
}

func mustOpen(t *testing.T, cfg Config) *Pool {
	t.Helper()
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustJoin(t *testing.T, p, to *Pool) {
	t.Helper()
	if _, err := p.Join(t.Context(), []string{to.LocalMember().AddrPort().String()}); err != nil {
		t.Fatal(err)
	}
}

// await reads events up to one of this kind about name, and returns all of them.
func await(t *testing.T, p *Pool, kind EventKind, name string) []Event {
	t.Helper()
	var seen []Event
	for timeout := time.After(3 * time.Minute); ; {
		select {
		case e, open := <-p.Events():
			if !open {
				t.Fatalf("closed while waiting for %s %s", kind, name)
			}
			seen = append(seen, e)
			if e.Kind == kind && (e.Member.Name == name || e.User != nil && e.User.Name == name) {
				return seen
			}
		case <-timeout:
			t.Fatalf("no event %s %s, only %v", kind, name, seen)
		}
	}
}

func last(events []Event) Event { return events[len(events)-1] }

// closeAll also gives the library's probes the fake time to end; a bubble with goroutines left fails the test.
func closeAll(t *testing.T, pools ...*Pool) {
	t.Helper()
	defer time.Sleep(20 * time.Second)
	for _, p := range pools {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
