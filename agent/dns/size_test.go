package dns

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// raw sends a packet and returns the bytes of the reply.
func raw(t testing.TB, network, addr string, pkt []byte) []byte {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	wire := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	if _, err := wire.Write(pkt); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, dns.MaxMsgSize)
	n, err := wire.Read(buf)
	if err != nil {
		t.Fatalf("%s %x: %v", network, pkt, err)
	}
	return buf[:n]
}

func unpack(t testing.TB, reply []byte) *dns.Msg {
	t.Helper()
	msg := new(dns.Msg)
	if err := msg.Unpack(reply); err != nil {
		t.Fatalf("%v in %x", err, reply)
	}
	return msg
}

// TestSizes is P21: whatever the number of instances and the room, an answer fits and is not empty.
func TestSizes(t *testing.T) {
	for _, n := range []int{1, 3, 50, 1000, 5000} {
		source := fleet(n)
		for _, node := range source.nodes {
			node.Meta = map[string]string{"rack": node.Node}
		}
		for _, plain := range []bool{false, true} {
			c := Defaults()
			c.DisableCompression = plain
			c.EnableTruncate = true
			server := start(t, c, source)
			for _, edns := range []uint16{0, 512, 1232, 4096, 65535} {
				for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeANY} {
					for _, network := range []string{"udp", "tcp"} {
						what := fmt.Sprintf("%d instances, %s over %s, EDNS %d, plain %v", n, dns.TypeToString[qtype], network, edns, plain)
						for range 2 {
							sized(t, what, raw(t, network, server.addr, packed(t, "web.service.consul.", qtype, edns)), n, network, edns)
						}
					}
				}
			}
		}
	}
}

func sized(t *testing.T, what string, reply []byte, n int, network string, edns uint16) {
	t.Helper()
	limit, most := max(512, min(4096, int(edns))), n
	if network == "tcp" {
		limit = 65535
	} else if edns == 0 {
		most = min(3, n)
	}
	msg := unpack(t, reply)
	if len(reply) > limit {
		t.Errorf("%s: %d bytes", what, len(reply))
	}
	got := len(msg.Answer)
	if got == 0 || got > most || got < most && len(reply) < limit*8/10 {
		t.Errorf("%s: %d answers in %d bytes", what, got, len(reply))
	}
	if msg.Truncated != (got < n) {
		t.Errorf("%s: TC is %v with %d answers", what, msg.Truncated, got)
	}
	seen, targets := map[string]bool{}, map[string]bool{}
	for _, rr := range msg.Answer {
		seen[rr.String()] = true
		if srv, ok := rr.(*dns.SRV); ok {
			targets[srv.Target] = true
		}
	}
	if len(seen) != got {
		t.Errorf("%s: %d of %d answers are different", what, len(seen), got)
	}
	for _, rr := range msg.Extra {
		switch rr := rr.(type) {
		case *dns.A:
			if !targets[rr.Hdr.Name] {
				t.Errorf("%s: address of %s, which is not in the answer", what, rr.Hdr.Name)
			}
			delete(targets, rr.Hdr.Name)
		}
	}
	if len(targets) > 0 {
		t.Errorf("%s: %d targets without address", what, len(targets))
	}
}

// TestSixty has the figures that were observed on Consul.
func TestSixty(t *testing.T) {
	server := start(t, Defaults(), fleet(60))
	f := func(qtype, edns uint16, want int) {
		t.Helper()
		reply := unpack(t, raw(t, "udp", server.addr, packed(t, "web.service.consul.", qtype, edns)))
		if len(reply.Answer) != want || reply.Truncated {
			t.Errorf("type %d, EDNS %d: %d answers, TC %v; want %d", qtype, edns, len(reply.Answer), reply.Truncated, want)
		}
	}
	f(dns.TypeA, 0, 3)
	f(dns.TypeSRV, 0, 3)
	f(dns.TypeA, 1232, 60)
	f(dns.TypeSRV, 4096, 60)
}

// TestAmplification is A03.
func TestAmplification(t *testing.T) {
	c := Defaults()
	c.EnableTruncate = true
	c.UDPAnswerLimit = 0
	server := start(t, c, fleet(200))
	reply := raw(t, "udp", server.addr, packed(t, "web.service.consul.", dns.TypeA, 0))
	if msg := unpack(t, reply); len(reply) > 512 || !msg.Truncated || len(msg.Answer) == 0 {
		t.Errorf("%d bytes, %d answers, TC %v", len(reply), len(msg.Answer), msg.Truncated)
	}
}

// TestShuffle checks that each instance comes first about as often as others, in every protocol.
func TestShuffle(t *testing.T) {
	c := Defaults()
	c.ARecordLimit = 10
	server := start(t, c, fleet(60))
	for _, edns := range []uint16{0, 4096} {
		first, any := map[string]int{}, map[string]bool{}
		for range 1200 {
			msg := unpack(t, raw(t, "udp", server.addr, packed(t, "web.service.consul.", dns.TypeA, edns)))
			first[msg.Answer[0].String()]++
			for _, rr := range msg.Answer {
				any[rr.String()] = true
			}
			if want := map[bool]int{true: 10, false: 3}[edns > 0]; len(msg.Answer) != want {
				t.Fatalf("%d answers, want %d", len(msg.Answer), want)
			}
		}
		for rr, n := range first {
			if n > 50 { // 20 are to be expected; this many once in 10^9 runs
				t.Errorf("EDNS %d: %s was first %d times of 1200", edns, rr, n)
			}
		}
		if len(any) != 60 || len(first) < 50 {
			t.Errorf("EDNS %d: %d of 60 instances seen, %d of them first", edns, len(any), len(first))
		}
	}
}
