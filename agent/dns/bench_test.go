package dns

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/catalog"
)

// fleet is a source with a service of n instances, each on a node of its own.
func fleet(n int) *fakeSource {
	f := newFake()
	for i := range n {
		node := &catalog.Node{Node: fmt.Sprintf("n-%04d", i), Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Datacenter: "dc1"}
		f.nodes[node.Node] = node
		s := &catalog.Service{Service: "web", Port: 8000 + i%1000}
		s.Normalize()
		f.instances = append(f.instances, &catalog.Instance{Node: node, Service: s, Checks: []*catalog.Check{{Status: catalog.Passing}}})
	}
	return f
}

func packed(t testing.TB, name string, qtype, edns uint16) []byte {
	t.Helper()
	msg := new(dns.Msg).SetQuestion(name, qtype)
	if edns > 0 {
		msg.SetEdns0(edns, false)
	}
	pkt, err := msg.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return pkt
}

var rows = []struct {
	name  string
	qtype uint16
	n     int
	edns  uint16
}{
	{"A-3", dns.TypeA, 3, 0}, {"SRV-3", dns.TypeSRV, 3, 0}, {"A-50", dns.TypeA, 50, 4096}, {"SRV-50", dns.TypeSRV, 50, 4096},
}

// BenchmarkShort is what a question costs between its arrival and the departure of its answer.
func BenchmarkShort(b *testing.B) {
	for _, row := range rows {
		b.Run(row.name, func(b *testing.B) {
			s, err := New(Defaults(), fleet(row.n), nil)
			if err != nil {
				b.Fatal(err)
			}
			pkt := packed(b, "web.service.consul.", row.qtype, row.edns)
			w := &worker{writer: newWriter()}
			s.long(b.Context(), w.writer, pkt, netip.Addr{}, false)
			b.ReportAllocs()
			for b.Loop() {
				if s.short(w, pkt, false) != reply {
					b.Fatal("not from memory")
				}
			}
		})
	}
}

// BenchmarkPack is what a change costs the first one who asks after it.
func BenchmarkPack(b *testing.B) {
	for _, n := range []int{3, 50, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			source := fleet(n)
			s, err := New(Defaults(), source, nil)
			if err != nil {
				b.Fatal(err)
			}
			pkt := packed(b, "web.service.consul.", dns.TypeSRV, 4096)
			w := newWriter()
			for b.Loop() {
				source.change(func() {})
				s.long(b.Context(), w, pkt, netip.Addr{}, false)
			}
		})
	}
}

// BenchmarkLoopback asks for two seconds with 32 questions outstanding (run it with -benchtime 1x), and
// reports the whole process's CPU time per question: the askers' half of it is included.
func BenchmarkLoopback(b *testing.B) {
	for _, row := range rows {
		b.Run(row.name, func(b *testing.B) {
			server := start(b, Defaults(), fleet(row.n))
			pkt := packed(b, "web.service.consul.", row.qtype, row.edns)
			for b.Loop() {
				before, began := cpu(), time.Now()
				n := flood(b, server.addr, pkt, began.Add(2*time.Second))
				b.ReportMetric(n/time.Since(began).Seconds(), "questions/s")
				b.ReportMetric(float64((cpu()-before).Microseconds())/n, "cpu-µs/question")
			}
		})
	}
}

// flood asks the same again and again, 32 at a time, and returns how many answers came.
func flood(b *testing.B, addr string, pkt []byte, until time.Time) float64 {
	var answered atomic.Int64
	var askers sync.WaitGroup
	for range 32 {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(until)
		askers.Go(func() {
			buf := make([]byte, maxUDPSize)
			for {
				if _, err := conn.Write(pkt); err != nil {
					return
				}
				if _, err := conn.Read(buf); err != nil {
					return
				}
				answered.Add(1)
			}
		})
	}
	askers.Wait()
	return float64(answered.Load())
}

func cpu() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
