package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// upstream is a recursor that answers with code, or not at all. It notes by which protocol it was asked.
type upstream struct {
	addr  string
	mu    sync.Mutex
	asked []string
}

func recursor(t *testing.T, handle func(q *dns.Msg) *dns.Msg) *upstream {
	t.Helper()
	l, p := listen(t, "127.0.0.1:0")
	u := &upstream{addr: l.Addr().String()}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.mu.Lock()
		u.asked = append(u.asked, w.RemoteAddr().Network()+" "+q.Question[0].Name)
		u.mu.Unlock()
		if reply := handle(q); reply != nil {
			w.WriteMsg(reply)
		}
	})
	for _, s := range []*dns.Server{{PacketConn: p, Handler: handler}, {Listener: l, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return u
}

func (u *upstream) questions() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

func withCode(code int) func(*dns.Msg) *dns.Msg {
	return func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, code) }
}

// world answers every name under example.test with one address, and nothing else.
func world(q *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(q)
	reply.RecursionAvailable = true
	name := q.Question[0].Name
	if !strings.HasSuffix(strings.ToLower(name), ".example.test.") {
		reply.Rcode = dns.RcodeNameError
	} else if q.Question[0].Qtype == dns.TypeA {
		rr, _ := dns.NewRR(name + " 77 IN A 192.0.2.7")
		reply.Answer = []dns.RR{rr}
	}
	return reply
}

func TestRecursors(t *testing.T) {
	failing, refusing, good := recursor(t, withCode(dns.RcodeServerFailure)), recursor(t, withCode(dns.RcodeRefused)), recursor(t, world)
	c := Defaults()
	c.Recursors = []string{failing.addr, refusing.addr, good.addr}
	server := start(t, c, fleet(1))
	f := func(network, name string, wantCode int, wantAnswer ...string) {
		t.Helper()
		msg := new(dns.Msg).SetQuestion(name, dns.TypeA)
		reply := exchange(t, network, server.addr, msg)
		var got []string
		for _, rr := range reply.Answer {
			got = append(got, strings.Join(strings.Fields(rr.String()), " "))
		}
		if reply.Rcode != wantCode || !slices.Equal(got, wantAnswer) || !reply.RecursionAvailable {
			t.Errorf("%s over %s: %v", name, network, reply)
		}
	}
	f("udp", "WWW.example.test.", dns.RcodeSuccess, "WWW.example.test. 77 IN A 192.0.2.7")
	f("tcp", "www.example.test.", dns.RcodeSuccess, "www.example.test. 77 IN A 192.0.2.7")
	f("udp", "absent.test.", dns.RcodeNameError)
	f("udp", "9.9.9.9.in-addr.arpa.", dns.RcodeNameError)
	f("udp", "0.0.0.10.in-addr.arpa.", dns.RcodeSuccess, "0.0.0.10.in-addr.arpa. 0 IN PTR n-0000.node.dc1.consul.")
	f("udp", "web.service.consul.", dns.RcodeSuccess, "web.service.consul. 0 IN A 10.0.0.0")
	f("udp", "absent.service.consul.", dns.RcodeNameError)
	want := []string{"udp WWW.example.test.", "tcp www.example.test.", "udp absent.test.", "udp 9.9.9.9.in-addr.arpa."}
	for _, u := range []*upstream{failing, refusing, good} {
		if got := u.questions(); !slices.Equal(got, want) {
			t.Errorf("recursor was asked %v, want %v", got, want)
		}
	}
	c.Recursors = c.Recursors[:2]
	if err := server.Reload(c); err != nil {
		t.Fatal(err)
	}
	f("udp", "www.example.test.", dns.RcodeServerFailure)
}

// far is a connection to a recursor in this process, for bubbles. It answers with nothing where answer does.
func far(answer func(pkt []byte) []byte) net.Conn {
	near, end := net.Pipe()
	go func() { // ends when near is closed
		buf := make([]byte, 512)
		for {
			n, err := end.Read(buf)
			if err != nil {
				return
			}
			if reply := answer(buf[:n]); reply != nil {
				end.Write(reply)
			}
		}
	}()
	return near
}

// TestRecursorSilence checks that one that does not answer costs no more than its timeout.
func TestRecursorSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Defaults()
		c.Recursors = []string{"192.0.2.1", "192.0.2.2"}
		s, err := newSettings(c)
		if err != nil {
			t.Fatal(err)
		}
		s.dial = func(_ context.Context, _, address string) (net.Conn, error) {
			return far(func(pkt []byte) []byte {
				if address == "192.0.2.1:53" {
					return nil
				}
				reply, err := world(unpack(t, pkt)).Pack()
				if err != nil {
					t.Error(err)
				}
				return reply
			}), nil
		}
		start := time.Now()
		reply, err := s.forward(t.Context(), packed(t, "www.example.test.", dns.TypeA, 0), false)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != s.RecursorTimeout || len(unpack(t, reply).Answer) != 1 {
			t.Errorf("after %v: %v", took, unpack(t, reply))
		}
	})
}

// TestRecursorLies checks that replies with another ID or question, and queries, are not believed.
func TestRecursorLies(t *testing.T) {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				return
			}
			lie := func(edit func(m *dns.Msg)) {
				m := world(q)
				edit(m)
				pkt, _ := m.Pack()
				p.WriteTo(pkt, from)
			}
			p.WriteTo([]byte("short"), from)
			lie(func(m *dns.Msg) { m.Id++; m.Answer = nil })
			lie(func(m *dns.Msg) { m.Response = false; m.Answer = nil })
			lie(func(m *dns.Msg) { m.Question[0].Name = "other.example.test."; m.Answer = nil })
			lie(func(m *dns.Msg) {})
		}
	}()
	c := Defaults()
	c.Recursors = []string{p.LocalAddr().String()}
	server := start(t, c, fleet(1))
	if reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("www.example.test.", dns.TypeA)); len(reply.Answer) != 1 {
		t.Errorf("believed %v", reply)
	}
}

// TestAliasesAreResolved checks that what services are aliases of is looked up for the client.
func TestAliasesAreResolved(t *testing.T) {
	c := Defaults()
	c.Recursors = []string{recursor(t, world).addr}
	source := fleet(1)
	s := &catalog.Service{Service: "ext", Port: 80, Address: "www.example.test"}
	s.Normalize()
	source.instances = append(source.instances, &catalog.Instance{Node: source.nodes["n-0000"], Service: s})
	server := start(t, c, source)
	f := func(qtype uint16, want ...string) {
		t.Helper()
		for range 2 {
			reply := exchange(t, "udp", server.addr, new(dns.Msg).SetQuestion("ext.service.consul.", qtype))
			var got []string
			for _, rr := range append(reply.Answer, reply.Extra...) {
				got = append(got, strings.Join(strings.Fields(rr.String()), " "))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	f(dns.TypeA, "ext.service.consul. 0 IN CNAME www.example.test.", "www.example.test. 77 IN A 192.0.2.7")
	f(dns.TypeAAAA, "ext.service.consul. 0 IN CNAME www.example.test.")
	f(dns.TypeSRV, "ext.service.consul. 0 IN SRV 1 1 80 www.example.test.", "www.example.test. 77 IN A 192.0.2.7")
}

// TestRecursorsMayComeBack checks that a question which a recursor sends to us again goes round once.
func TestRecursorsMayComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Defaults()
		c.Recursors = []string{"192.0.2.1"}
		question := func(s *Server, pkt []byte) []byte {
			w := newWriter()
			s.long(t.Context(), w, pkt, netip.Addr{}, false)
			return w.message()
		}
		var one, other *Server
		for s, to := range map[**Server]**Server{&one: &other, &other: &one} {
			var err error
			if *s, err = New(c, fleet(1), nil); err != nil {
				t.Fatal(err)
			}
			(*s).current.Load().dial = func(context.Context, string, string) (net.Conn, error) {
				return far(func(pkt []byte) []byte { return question(*to, pkt) }), nil
			}
		}
		reply := unpack(t, question(one, packed(t, "www.example.test.", dns.TypeA, 0)))
		if asked := one.Stats().Recursed + other.Stats().Recursed; reply.Rcode != dns.RcodeServerFailure || asked != 2 {
			t.Errorf("the question went round %d times, and then %v", asked, reply)
		}
	})
}

// TestRecursorIsAskedOnce checks that all who ask the same at a time wait for one reply, each with his own
// ID, and that who asks later is asked for anew.
func TestRecursorIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asking
		var asked atomic.Int32
		answer := make(chan error)
		ask := func(ctx context.Context, pkt string, tcp bool, want string) {
			reply, err := a.once(ctx, []byte(pkt), tcp, func() ([]byte, error) {
				asked.Add(1)
				return []byte("??reply"), <-answer
			})
			if got := fmt.Sprint(string(reply), err); got != want {
				t.Errorf("query %s: got %s, want %s", pkt, got, want)
			}
		}
		for _, pkt := range []string{"11same", "22same", "33same"} {
			go ask(t.Context(), pkt, false, pkt[:2]+"reply<nil>")
		}
		go ask(t.Context(), "44other", false, "44reply<nil>")
		go ask(t.Context(), "55same", true, "55reply<nil>")
		synctest.Wait()
		if n := asked.Load(); n != 3 {
			t.Errorf("%d queries for 3 questions", n)
		}
		gone, leave := context.WithCancel(t.Context())
		go ask(gone, "66same", false, "context canceled")
		synctest.Wait()
		leave()
		for range 3 {
			answer <- nil
		}
		synctest.Wait()
		go ask(t.Context(), "77same", false, "broken")
		answer <- errors.New("broken")
		synctest.Wait()
		if n := asked.Load(); n != 4 || len(a.queries) > 0 {
			t.Errorf("%d queries, %d left under way", n, len(a.queries))
		}
	})
}

// TestLongRepliesOfRecursors checks that a reply of more bytes than the client takes by UDP does not go to it.
func TestLongRepliesOfRecursors(t *testing.T) {
	up := recursor(t, func(q *dns.Msg) *dns.Msg {
		reply := world(q)
		for range 300 {
			reply.Answer = append(reply.Answer, reply.Answer[0])
		}
		return reply
	})
	c := Defaults()
	c.Recursors = []string{up.addr}
	server := start(t, c, fleet(1))
	for _, size := range []uint16{0, 512, 1232, 4096, 65535} {
		msg := new(dns.Msg).SetQuestion("www.example.test.", dns.TypeA)
		if size > 0 {
			msg.SetEdns0(size, false)
		}
		reply := exchange(t, "udp", server.addr, msg)
		if !reply.Truncated || len(reply.Answer) > 0 || reply.Rcode != dns.RcodeSuccess || (reply.IsEdns0() != nil) != (size > 0) {
			t.Errorf("with a size of %d: %d answers, %v", size, len(reply.Answer), reply.MsgHdr)
		}
	}
	reply := exchange(t, "tcp", server.addr, new(dns.Msg).SetQuestion("www.example.test.", dns.TypeA))
	if len(reply.Answer) != 301 {
		t.Errorf("over TCP: %d answers", len(reply.Answer))
	}
}

func TestAnswersSayTheSameQuestion(t *testing.T) {
	query := func(name string, qtype uint16) []byte {
		return binary.BigEndian.AppendUint32(append(append(make([]byte, headerLen), name...), byte(qtype>>8), byte(qtype)), 1<<16)[:headerLen+len(name)+4]
	}
	f := func(want bool, a string, atype uint16, b string, btype uint16) {
		t.Helper()
		reply := query(b, btype)
		reply[2] |= 0x80
		if got := answers(reply, query(a, atype)); got != want {
			t.Errorf("%q type %d, %q type %d: %v", a, atype, b, btype, got)
		}
	}
	f(true, "\x01a\x00", 65, "\x01A\x00", 65)
	f(false, "\x01a\x00", 65, "\x01a\x00", 97) // A and a, were they letters
	f(false, "\x01\xfe\x00", 1, "\x01\xff\x00", 1)
	f(false, "\x01k\x00", 1, "\x01b\x00", 1)
}
