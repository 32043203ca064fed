package dns

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// FuzzQuery sends raw packets both ways. Whatever they are, a reply is a well-formed message of bounded
// size that repeats the ID and, if it has one, the question; and both ways say the same.
func FuzzQuery(f *testing.F) {
	for _, name := range []string{"web.service.consul.", "n-0001.node.consul.", "_web._tcp.service.dc1.consul.", "0a000001.addr.consul.", "1.0.0.10.in-addr.arpa.", "consul.", "."} {
		f.Add(packed(f, name, dns.TypeSRV, 0))
		f.Add(packed(f, name, dns.TypeANY, 1232))
	}
	s, err := New(Defaults(), fleet(40), nil)
	if err != nil {
		f.Fatal(err)
	}
	w := &worker{writer: newWriter()}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		for _, tcp := range []bool{false, true} {
			for range 2 {
				switch s.short(w, pkt, tcp) {
				case ignore:
					if len(pkt) >= headerLen && pkt[2]&0x80 == 0 {
						t.Fatalf("a query gets no reply: %x", pkt)
					}
					continue
				case inquire:
					s.long(t.Context(), w.writer, pkt, netip.Addr{}, tcp)
				}
				out := w.message()
				msg := new(dns.Msg)
				if err := msg.Unpack(out); err != nil {
					t.Fatalf("reply %x to %x: %v", out, pkt, err)
				}
				if !msg.Response || out[0] != pkt[0] || out[1] != pkt[1] {
					t.Fatalf("reply %x does not fit query %x", out, pkt)
				}
				if !tcp && len(out) > max(512, min(maxUDPSize, int(w.query.size))) {
					t.Fatalf("reply has %d bytes, %d are allowed", len(out), w.query.size)
				}
			}
		}
	})
}
