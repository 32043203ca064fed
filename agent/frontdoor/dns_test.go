package frontdoor_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// resolver is a client of an agent's DNS that sends whatever it likes.
type resolver struct {
	t    testing.TB
	addr string
	udp  net.Conn
	good uint16 // id of the last good question
}

func resolve(t testing.TB, n *testkit.Node) *resolver {
	t.Helper()
	r := &resolver{t: t, addr: fmt.Sprintf("127.0.0.1:%d", n.DNS)}
	var err error
	if r.udp, err = net.Dial("udp", r.addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.udp.Close() })
	return r
}

func question(name string, qtype uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, qtype) }

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bad sends a packet and behind it a good question, and returns the reply to the packet, nil if there was
// none when the good one was answered.
func (r *resolver) bad(packet []byte) []byte {
	r.t.Helper()
	r.good++
	good := question("n1.node.consul.", dns.TypeA)
	good.Id = 0x8000 | r.good
	for _, p := range [][]byte{packet, packed(r.t, good)} {
		if _, err := r.udp.Write(p); err != nil {
			r.t.Fatal(err)
		}
	}
	var stray []byte
	for buf := make([]byte, 1<<16); ; {
		r.udp.SetReadDeadline(time.Now().Add(patience))
		n, err := r.udp.Read(buf)
		if err != nil {
			r.t.Fatalf("no answer to the good question behind % x: %v", packet[:min(len(packet), 40)], err)
		}
		if n >= 2 && binary.BigEndian.Uint16(buf) == good.Id {
			return stray
		}
		stray = append([]byte{}, buf[:n]...)
	}
}

// ask returns the reply to a question over UDP.
func (r *resolver) ask(m *dns.Msg) ([]byte, *dns.Msg) {
	r.t.Helper()
	if _, err := r.udp.Write(packed(r.t, m)); err != nil {
		r.t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	r.udp.SetReadDeadline(time.Now().Add(patience))
	n, err := r.udp.Read(buf)
	if err != nil {
		r.t.Fatal(err)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(buf[:n]); err != nil {
		r.t.Fatal(err)
	}
	return buf[:n], reply
}

// head is the head of a message with an id below those of good questions.
func head(flags, questions, others uint16) []byte {
	b := make([]byte, 12)
	for i, v := range []uint16{7, flags, questions, others, 0, 0} {
		binary.BigEndian.PutUint16(b[2*i:], v)
	}
	return b
}

// malformedPackets are those of A01 and their kin.
func malformedPackets() map[string][]byte {
	tail := []byte{0, 1, 0, 1}
	label := func(n int) []byte { return append([]byte{byte(n)}, strings.Repeat("a", n)...) }
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	long := head(0x100, 1, 0)
	for range 5 {
		long = append(long, label(60)...)
	}
	return map[string][]byte{
		"one byte":           {7},
		"truncated header":   head(0x100, 1, 0)[:11],
		"no question":        head(0x100, 0, 0),
		"qdcount 65535":      join(head(0x100, 65535, 0), label(4), []byte{0}, tail),
		"ancount 65535":      join(head(0x100, 1, 65535), label(4), []byte{0}, tail),
		"compression loop":   join(head(0x100, 1, 0), []byte{0xc0, 12}, tail),
		"pointer to nowhere": join(head(0x100, 1, 0), []byte{0xff, 0xff}, tail),
		"64-byte label":      join(head(0x100, 1, 0), label(64), []byte{0}, tail),
		"reserved label":     join(head(0x100, 1, 0), []byte{0x80, 1, 0}, tail),
		"300-byte name":      join(long, []byte{0}, tail),
		"name without end":   join(head(0x100, 1, 0), label(63)),
		"no type":            join(head(0x100, 1, 0), label(4), []byte{0}),
		"64 KiB of junk":     join(head(0x100, 1, 0), make([]byte, 60000)),
	}
}

func TestA02_ForbiddenQuestions(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	r := resolve(t, n)
	for name, change := range map[string]func(*dns.Msg){
		"AXFR": func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR },
		"IXFR": func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR },
		"CHAOS": func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}
		},
		"class":  func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY },
		"notify": func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
		"update": func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate },
	} {
		m := question("consul.", dns.TypeSOA)
		change(m)
		_, reply := r.ask(m)
		if refused := reply.Rcode == dns.RcodeRefused || reply.Rcode == dns.RcodeNotImplemented; !refused || len(reply.Answer) > 0 {
			t.Errorf("%s: %v", name, reply)
		}
	}
	// ANY is answered (Consul's DNS has it), within the bounds of everything else: A03.
	for what, packet := range malformedPackets() {
		if len(packet) > 2 {
			packet[2] |= 0x80
		}
		if reply := r.bad(packet); reply != nil {
			t.Errorf("a reply to a reply (%s): % x", what, reply)
		}
	}
	for _, name := range []string{"n1.node.consul.", "nobody.service.consul.", "example.com."} {
		m := question(name, dns.TypeA)
		m.Id, m.Response = 7, true
		if reply := r.bad(packed(t, m)); reply != nil {
			t.Errorf("a reply to a reply about %s: % x", name, reply)
		}
	}
}

func TestA03_Amplification(t *testing.T) {
	for truncate, limit := range map[bool]int{false: 3, true: 0} {
		n := testkit.NewDev(t, testkit.Settings{"dns_config": testkit.Settings{"enable_truncate": truncate, "udp_answer_limit": limit}})
		n.Start(t)
		instances(t, n.Client, "web", 200)
		r := resolve(t, n)
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeANY, dns.TypeAAAA, dns.TypeTXT} {
			raw, reply := r.ask(question("web.service.consul.", qtype))
			if len(raw) > 512 || reply.Rcode != dns.RcodeSuccess {
				t.Errorf("%s: %d bytes, %v", dns.TypeToString[qtype], len(raw), reply.MsgHdr)
			}
			if qtype == dns.TypeAAAA || qtype == dns.TypeTXT {
				continue
			}
			if reply.Truncated != truncate || len(reply.Answer) == 0 || !truncate && len(reply.Answer) > limit {
				t.Errorf("%s, truncate %v: %d answers, TC %v", dns.TypeToString[qtype], truncate, len(reply.Answer), reply.Truncated)
			}
			for _, size := range []uint16{0, 512, 1232, 4096, 65535} {
				m := question("web.service.consul.", qtype)
				m.SetEdns0(size, false)
				if raw, reply := r.ask(m); len(raw) > max(int(size), 512) || len(raw) > 4096 || len(reply.Answer) == 0 {
					t.Errorf("%s, EDNS %d: %d bytes, %d answers", dns.TypeToString[qtype], size, len(raw), len(reply.Answer))
				}
			}
		}
	}
}
