package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// TestBadPackets is A01 and A02. None of them costs a look-up.
func TestBadPackets(t *testing.T) {
	source := fleet(3)
	server := start(t, Defaults(), source)
	const head = "abcd0100000100000000"
	f := func(what, pkt string, want int) {
		t.Helper()
		b, err := hex.DecodeString(strings.ReplaceAll(pkt, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"udp", "tcp"} {
			msg := unpack(t, raw(t, network, server.addr, b))
			if msg.Rcode != want || !msg.Response || msg.Id != 0xabcd || len(msg.Answer) > 0 {
				t.Errorf("%s over %s: %v, want %s", what, network, msg, dns.RcodeToString[want])
			}
		}
	}
	f("no question", "abcd01000000000000000000", dns.RcodeFormatError)
	f("65535 questions", "abcd0100ffff000000000000 00 0001 0001", dns.RcodeFormatError)
	f("no type", head+"0000 03777777", dns.RcodeFormatError)
	f("pointer to itself", head+"0000 c00c 0001 0001", dns.RcodeFormatError)
	f("64-byte label", head+"0000 40"+strings.Repeat("61", 64)+"00 0001 0001", dns.RcodeFormatError)
	f("300-byte name", head+"0000"+strings.Repeat("3b"+strings.Repeat("61", 59), 5)+"00 0001 0001", dns.RcodeFormatError)
	f("name of 256 bytes", head+"0000"+strings.Repeat("3f"+strings.Repeat("61", 63), 3)+"3e"+strings.Repeat("61", 62)+"00 0001 0001", dns.RcodeFormatError)
	f("records that are not there", head+"ffff 00 0001 0001", dns.RcodeFormatError)
	f("trailing bytes", head+"0000 00 0001 0001 ff", dns.RcodeFormatError)
	f("two OPT records", head+"0002 00 0001 0001"+strings.Repeat("00 0029 0200 00000000 0000", 2), dns.RcodeFormatError)
	f("client subnet too short", head+"0001 00 0001 0001 00 0029 0200 00000000 000a 0008 0006 0001 1800 0a01", dns.RcodeFormatError)
	f("EDNS version 1", head+"0001 00 0001 0001 00 0029 0200 00010000 0000", dns.RcodeBadVers)
	f("UPDATE", "abcd28000001000000000000 00 0006 0001", dns.RcodeNotImplemented)
	f("zone transfer", head+"0000 06636f6e73756c00 00fc 0001", dns.RcodeNotImplemented)
	f("CHAOS version.bind", head+"0000 0776657273696f6e0462696e6400 0010 0003", dns.RcodeRefused)

	if n := source.asked.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}

	silent := [][]byte{{}, {0xab}, make([]byte, 11), append([]byte{1, 2, 0x80}, make([]byte, 20)...)}
	conn, err := net.Dial("udp", server.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, pkt := range silent {
		conn.Write(pkt)
	}
	conn.Write(packed(t, "consul.", dns.TypeA, 0)) // the first reply is this one's
	buf := make([]byte, 512)
	conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(buf); err != nil || unpack(t, buf[:n]).Rcode != dns.RcodeNameError {
		t.Errorf("a reply or less than a header was answered: %x %v", buf[:n], err)
	}
}

// TestShortWay checks that an answer is packed once and used until a change, and that each client gets
// its own casing, ID and flags back.
func TestShortWay(t *testing.T) {
	for _, plain := range []bool{false, true} {
		c := Defaults()
		c.DisableCompression = plain
		source := fleet(3)
		server := start(t, c, source)
		for i, name := range []string{"web.service.consul.", "wEb.SERVICE.consuL.", "WEB.service.CONSUL."} {
			msg := new(dns.Msg).SetQuestion(name, dns.TypeSRV)
			msg.Id, msg.RecursionDesired = uint16(i), i%2 == 0
			reply := exchange(t, "udp", server.addr, msg)
			if reply.Id != msg.Id || reply.RecursionDesired != msg.RecursionDesired || reply.Question[0].Name != name {
				t.Errorf("reply does not repeat the query: %v", reply)
			}
			for _, rr := range reply.Answer {
				if rr.Header().Name != name {
					t.Errorf("answer about %s, want %s", rr.Header().Name, name)
				}
			}
		}
		if n := source.asked.Load(); n != 1 {
			t.Errorf("source was asked %d times, want once", n)
		}
		source.change(func() { source.instances = source.instances[:1] })
		if reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeSRV)); len(reply.Answer) != 1 {
			t.Errorf("%d answers after a change, want 1", len(reply.Answer))
		}
		if got := server.Stats(); got.Hits != 2 || got.DomainQueries != 4 {
			t.Errorf("stats %+v, want 2 hits of 4 questions", got)
		}
	}
}

// TestBlockedSource checks that a look-up that takes long holds up nobody but those who need it, and
// is made once for all of them.
func TestBlockedSource(t *testing.T) {
	source := fleet(3)
	server := start(t, Defaults(), source)
	exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA))
	gate := make(chan struct{})
	source.mu.Lock()
	source.gate = gate
	source.mu.Unlock()

	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("n-0001.node.consul.", dns.TypeA))
			if len(reply.Answer) != 1 {
				t.Errorf("waiter got %v", reply)
			}
		})
	}
	for range 10 {
		if reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA)); len(reply.Answer) != 3 {
			t.Errorf("others got %v", reply)
		}
	}
	for len(server.lookups) < 20 { // all of them are on their way
		exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA))
	}
	close(gate)
	waiting.Wait()
	if n := source.asked.Load(); n != 2 {
		t.Errorf("source was asked %d times, want twice", n)
	}
}

// TestGroupsOutOfReach: where the default sameness group cannot be had the answer is that of this cluster, and not kept.
func TestGroupsOutOfReach(t *testing.T) {
	source := fleet(1)
	source.change(func() {
		east := catalog.Node{Node: "n", Address: "10.9.9.9"}
		east.PeerName = "east"
		source.instances = []*catalog.Instance{{Node: &east, Service: &catalog.Service{Service: "web", PeerName: "east"}}}
		source.groups[""], source.apart = []string{"east"}, true
	})
	server := start(t, Defaults(), source)
	f := func(name string, rcode, answers int) {
		t.Helper()
		if reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion(name, dns.TypeA)); reply.Rcode != rcode || len(reply.Answer) != answers {
			t.Errorf("%s: %v", name, reply)
		}
	}
	f("web.service.consul.", dns.RcodeNameError, 0)
	f("web.service.all.sg.consul.", dns.RcodeServerFailure, 0)
	source.mu.Lock()
	source.apart = false // and nothing is stale
	source.mu.Unlock()
	f("web.service.consul.", dns.RcodeSuccess, 1)
}

// TestSourceErrors checks the codes and that failures are not remembered.
func TestSourceErrors(t *testing.T) {
	source := fleet(1)
	server := start(t, Defaults(), source)
	f := func(err error, want int) {
		t.Helper()
		source.change(func() { source.err = err })
		for _, name := range []string{"web.service.consul.", "n-0000.node.consul.", "x.query.consul.", "web.virtual.consul.", "0.0.0.10.in-addr.arpa."} {
			reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion(name, dns.TypeA))
			if reply.Rcode != want || (len(reply.Ns) == 1) != (want == dns.RcodeNameError) {
				t.Errorf("%v: %s gets %v, want %s", err, name, reply, dns.RcodeToString[want])
			}
		}
	}
	f(catalog.Errorf(catalog.NoLeader, "no leader"), dns.RcodeServerFailure)
	f(errors.New("broken"), dns.RcodeServerFailure)
	f(catalog.Errorf(catalog.NoPath, "no path"), dns.RcodeNameError)
	f(catalog.Errorf(catalog.Denied, "denied"), dns.RcodeNameError)
	source.mu.Lock() // without a change that would make anything stale
	source.err = nil
	source.mu.Unlock()
	if reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA)); len(reply.Answer) != 1 {
		t.Errorf("failure was remembered: %v", reply)
	}
}

// TestFlood checks that random names take no more room than there is for them, and push out nothing.
func TestFlood(t *testing.T) {
	source := fleet(3)
	s, err := New(Defaults(), source, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter()
	long := func(name string) {
		s.long(t.Context(), w, packed(t, name, dns.TypeA, 0), netip.Addr{}, false)
	}
	long("web.service.consul.")
	for i := range maxNegatives + 1000 {
		long(fmt.Sprintf("x%d.service.consul.", i))
		long(fmt.Sprintf("x%d.nowhere.consul.", i))
		long(fmt.Sprintf("%08x.addr.consul.", i))
	}
	c := s.current.Load().cache
	if len(c.negative.answers) != maxNegatives || len(c.positive.answers) != 1 {
		t.Errorf("%d negative and %d positive answers are remembered", len(c.negative.answers), len(c.positive.answers))
	}
	before := source.asked.Load()
	if s.short(&worker{writer: w}, packed(t, "web.service.consul.", dns.TypeA, 0), false) != reply || source.asked.Load() != before {
		t.Error("the service's answer was pushed out")
	}
	held := 0
	for key, a := range c.negative.answers {
		held += a.cost()
		if a.key != key {
			t.Errorf("answer %q is at %q", a.key, key)
		}
	}
	if held != c.negative.held {
		t.Errorf("%d bytes are held, %d are counted", held, c.negative.held)
	}
	source.change(func() {})
	c.sweep()
	if len(c.negative.answers)+len(c.positive.answers) != 0 || c.negative.held != 0 {
		t.Error("stale answers survived the sweep")
	}
}

// TestUnknownAge checks that what cannot say whether it is stale is used again for a moment only, and
// what is for one client never.
func TestUnknownAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := fleet(3)
		source.unknown = true
		s, err := New(Defaults(), source, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &worker{writer: newWriter()}
		f := func(want step) {
			t.Helper()
			pkt := packed(t, "web.service.consul.", dns.TypeA, 0)
			got := s.short(w, pkt, false)
			if got != want {
				t.Errorf("step %d, want %d", got, want)
			}
			if got == inquire {
				s.long(t.Context(), w.writer, pkt, netip.Addr{}, false)
			}
		}
		f(inquire)
		f(reply)
		time.Sleep(Defaults().UnknownMaxAge + 1)
		source.perClient = true
		f(inquire)
		f(inquire)
	})
}

// TestClientSubnet checks that the option is handed on, echoed, and keeps answers apart.
func TestClientSubnet(t *testing.T) {
	server := start(t, Defaults(), fleet(60))
	msg := new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA).SetEdns0(1232, true)
	subnet := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)}
	msg.IsEdns0().Option = append(msg.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}, subnet)
	for range 3 {
		reply := exchange(t, "udp", server.addr, msg)
		for i, rr := range reply.Answer {
			if want := fmt.Sprintf("10.0.0.%d", i); rr.(*dns.A).A.String() != want { // nearest first
				t.Fatalf("answer %d is %v, want %s", i, rr, want)
			}
		}
		opt := reply.IsEdns0()
		if opt == nil || !opt.Do() || len(opt.Option) != 1 {
			t.Fatalf("options %v", opt)
		}
		got := opt.Option[0].(*dns.EDNS0_SUBNET)
		if got.SourceNetmask != 24 || got.SourceScope != 24 || !got.Address.Equal(subnet.Address) {
			t.Errorf("echoed %v", got)
		}
	}
	if s := server.Stats(); s.Hits != 0 {
		t.Errorf("%d answers were shared", s.Hits)
	}
}

// TestReload checks that settings change between two questions.
func TestReload(t *testing.T) {
	server := start(t, Defaults(), fleet(1))
	ttl := func() uint32 {
		return exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA)).Answer[0].Header().Ttl
	}
	before := ttl()
	c := Defaults()
	c.ServiceTTL = map[string]time.Duration{"web": time.Minute}
	if err := server.Reload(c); err != nil {
		t.Fatal(err)
	}
	c.Recursors = []string{"resolver.example"}
	if err := server.Reload(c); err == nil || !strings.Contains(err.Error(), `"resolver.example"`) {
		t.Errorf("bad recursor: %v", err)
	}
	if after := ttl(); before != 0 || after != 60 {
		t.Errorf("TTL %d, then %d; want 0, then 60", before, after)
	}
}

// TestWildcardSocket checks that a reply leaves from the address that was asked.
func TestWildcardSocket(t *testing.T) {
	for _, network := range []string{"udp", "udp4"} {
		p, err := net.ListenPacket(network, "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Defaults(), fleet(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, []net.PacketConn{p}, nil) }()
		port := p.LocalAddr().(*net.UDPAddr).Port
		for range 2 { // the client's socket takes replies of 127.0.0.2 only
			raw(t, "udp", fmt.Sprintf("127.0.0.2:%d", port), packed(t, "web.service.consul.", dns.TypeA, 0))
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// TestBrokenSocket checks that Run ends with the error of a socket that others closed.
func TestBrokenSocket(t *testing.T) {
	l, p := listen(t, "127.0.0.1:0")
	s, err := New(Defaults(), fleet(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if err := s.Run(t.Context(), []net.PacketConn{p}, []net.Listener{l}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v, want the socket's error", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listener is open still: %v", err)
	}
}

// TestOverload checks that questions beyond the bound are refused at once, and packed answers are not.
func TestOverload(t *testing.T) {
	server := start(t, Defaults(), fleet(1))
	exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA))
	for range maxLookups {
		server.lookups <- struct{}{}
	}
	for _, network := range []string{"udp", "tcp"} {
		if reply := exchange(t, network, server.addr, new(dns.Msg).SetQuestion("other.service.consul.", dns.TypeA)); reply.Rcode != dns.RcodeServerFailure {
			t.Errorf("over %s: %v", network, reply)
		}
		if reply := exchange(t, network, server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA)); len(reply.Answer) != 1 {
			t.Errorf("over %s: %v", network, reply)
		}
	}
}

// TestStreams checks pipelining and the bound of connections of one client.
func TestStreams(t *testing.T) {
	source := fleet(3)
	gate := make(chan struct{})
	c := Defaults()
	c.TCPPerClient = 2
	server := start(t, c, source)
	exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("web.service.consul.", dns.TypeA))
	source.mu.Lock()
	source.gate = gate
	source.mu.Unlock()

	conn := dial(t, server.addr)
	var sent bytes.Buffer
	for id, name := range []string{"n-0000.node.consul.", "web.service.consul."} {
		pkt := packed(t, name, dns.TypeA, 0)
		binary.BigEndian.PutUint16(pkt, uint16(id))
		binary.Write(&sent, binary.BigEndian, uint16(len(pkt)))
		sent.Write(pkt)
	}
	conn.Write(sent.Bytes())
	wire := &dns.Conn{Conn: conn}
	for i, want := range []uint16{1, 0} { // the slow one last
		msg, err := wire.ReadMsg()
		if err != nil || msg.Id != want || len(msg.Answer) == 0 {
			t.Fatalf("reply %d: %v %v", i, msg, err)
		}
		if i == 0 {
			close(gate)
		}
	}
	second, third := dial(t, server.addr), dial(t, server.addr)
	closed(t, third)
	if n := server.Stats().Dropped; n != 1 {
		t.Errorf("%d connections were refused, want the third", n)
	}
	wire.Conn = second
	second.Write(sent.Bytes())
	if msg, err := wire.ReadMsg(); err != nil || len(msg.Answer) == 0 {
		t.Errorf("second connection: %v %v", msg, err)
	}
}

// TestIdleStreams checks that connections end that send nothing, or never the rest.
func TestIdleStreams(t *testing.T) {
	c := Defaults()
	c.TCPIdle = 20 * time.Millisecond
	server := start(t, c, fleet(3))
	for _, sent := range [][]byte{nil, {0}, {0, 40, 1, 2, 3}, {0xff, 0xff, 1}} {
		conn := dial(t, server.addr)
		conn.Write(sent)
		closed(t, conn)
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// closed waits until the other side closes the connection without a word.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	n, err := conn.Read(make([]byte, 1))
	if timeout, ok := err.(net.Error); n > 0 || err == nil || ok && timeout.Timeout() {
		t.Errorf("connection is open still: %d bytes, %v", n, err)
	}
}
