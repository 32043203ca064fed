package frontdoor_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/agent/testkit"
)

// cpuTime is how long this process has had a processor, which does not depend on what else runs on the machine.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestA01_MalformedDNS(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	r := resolve(t, n)
	const rounds = 100
	packets := malformedPackets()
	start := cpuTime(t)
	for what, packet := range packets {
		for range rounds {
			reply := r.bad(packet)
			if reply == nil {
				continue
			}
			if id, rcode := binary.BigEndian.Uint16(reply), int(reply[3]&15); id != 7 || reply[2]&0x80 == 0 || rcode != dns.RcodeFormatError || len(reply) > len(packet)+12 {
				t.Fatalf("%s over UDP: reply % x", what, reply)
			}
		}
	}
	// Two packets and at least one reply each, of the test's doing too; the race detector is given tenfold.
	if each := (cpuTime(t) - start) / time.Duration(rounds*len(packets)); each > 10*time.Millisecond {
		t.Errorf("a bad packet costs %v of a processor", each)
	}
	for what, packet := range packets {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...))
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(patience))
		reply, err := io.ReadAll(conn)
		if rst := err != nil && strings.Contains(err.Error(), "reset"); err != nil && !rst {
			t.Errorf("%s over TCP: %v", what, err)
		}
		if len(reply) > 2 && int(reply[5]&15) != dns.RcodeFormatError {
			t.Errorf("%s over TCP: reply % x", what, reply)
		}
		conn.Close()
	}
}
