package gossip

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// FuzzPacket hands bytes to a node that does not encrypt, as one packet and as one connection, behind the
// sockets: those would run out of ports. It has to live on as itself, whomever the bytes introduce.
func FuzzPacket(f *testing.F) {
	cfg := onLoopback("a")
	cfg.Allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} // whoever is introduced is no stranger to this machine
	p, err := Open(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.Close() })
	for _, seed := range []string{
		"\x00\x83\xa4Node\xa1a\xa5SeqNo\x01\xa8SourcePort\x01", // ping
		"\x07\x02\x00\x03\x00\x01\x00\x80\x80\x00",             // compound of two, cut
		"\x09\x82\xa4Algo\x00\xa3Buf\xa4\x01\x02\x03\x04",      // compressed nonsense
		"\x0c\x00\x00\x00\x00\x80",                             // with a checksum that is wrong
		"\xf4\x05label\x00\x80",                                // with a label
		"\x06\x83\xa4Join\xc3\xa5Nodes\x01\xacUserStateLen\xce\x7f\xff\xff\xff\x80",
		"\x06\x83\xa4Join\xc3\xa5Nodes\xce\x7f\xff\xff\xff\xacUserStateLen\x00",
		"\x04\x83\xa4Addr\xc4\x04\x7f\x00\x00\x02\xa4Node\xa1b\xa3Vsn\xc4\x06\x01\x05\x02\x02\x05\x04",
		"\x08\x03\x84\xa4Name\xa1e\xa7Payload\xa1p\xa2CC\xc2\xa5LTime\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		f.Add([]byte(seed))
	}
	from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p.net.packets <- &memberlist.Packet{Buf: bytes.Clone(data[:min(len(data), packetBytes)]), From: from, Timestamp: time.Now()}
		ours, theirs := net.Pipe()
		p.net.incomes <- theirs
		go func() { // ends when the node has read it all, or closes
			ours.Write(data)
			ours.Write(make([]byte, 64)) // the end of a message that the data announced
			ours.Close()
		}()
		io.Copy(io.Discard, ours)
		if me := p.LocalMember(); me.Name != "a" || me.Status != StatusAlive {
			t.Fatalf("it takes itself for %+v", me)
		}
	})
}
