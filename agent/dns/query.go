package dns

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// Bounds of messages (RFC 1035 section 2.3.4, RFC 6891 section 6.2.5).
const (
	headerLen   = 12
	maxNameLen  = 255
	minUDPSize  = 512
	maxUDPSize  = 4096 // what is sent at most by UDP, whatever a query allows: amplification has a bound
	maxTCPSize  = 65535
	maxQueryLen = 4096 // of a query; more than a question and its options is never of use
)

// query is a parsed question. name points into the packet.
type query struct {
	header  [headerLen]byte
	name    []byte // as it was asked, in wire form
	qtype   uint16
	class   uint16
	opt     bool // has EDNS
	badVers bool
	do      bool
	size    int          // of UDP payload that the client takes
	ecs     []byte       // data of the client subnet option
	subnet  netip.Prefix // the same, parsed
	tcp     bool
}

// verdict is what parse thinks of a packet.
type verdict int

const (
	good           verdict = iota
	drop                   // no reply at all
	malformed              // FORMERR
	notImplemented         // NOTIMP
)

// parse reads a packet by the one parser that decides for both ways; nothing else reads questions.
func (q *query) parse(pkt []byte) verdict {
	q.name, q.ecs, q.opt, q.badVers, q.do, q.size, q.subnet = nil, nil, false, false, false, minUDPSize, netip.Prefix{}
	if len(pkt) < headerLen || pkt[2]&0x80 != 0 { // never a reply to a reply
		return drop
	}
	copy(q.header[:], pkt)
	if pkt[2]&0x78 != 0 { // any opcode but QUERY
		return notImplemented
	}
	if binary.BigEndian.Uint16(pkt[4:]) != 1 { // RFC 9619
		return malformed
	}
	end := wireName(pkt, headerLen)
	if end < 0 || end+4 > len(pkt) {
		return malformed
	}
	q.name = pkt[headerLen:end]
	q.qtype, q.class = binary.BigEndian.Uint16(pkt[end:]), binary.BigEndian.Uint16(pkt[end+2:])
	return q.parseRecords(pkt, end+4)
}

// parseRecords walks the records after the question and reads the OPT among them.
func (q *query) parseRecords(pkt []byte, at int) verdict {
	plain := int(binary.BigEndian.Uint16(pkt[6:])) + int(binary.BigEndian.Uint16(pkt[8:]))
	total := plain + int(binary.BigEndian.Uint16(pkt[10:]))
	for i := range total { // ends with the packet: every record takes at least 11 bytes
		end := skipName(pkt, at)
		if end < 0 || end+10 > len(pkt) {
			return malformed
		}
		rr := pkt[end : end+10]
		size := int(binary.BigEndian.Uint16(rr[8:]))
		data := end + 10
		if data+size > len(pkt) {
			return malformed
		}
		if binary.BigEndian.Uint16(rr) == dns.TypeOPT {
			if i < plain || q.opt || pkt[at] != 0 {
				return malformed
			}
			q.opt, q.badVers, q.do = true, rr[5] != 0, rr[6]&0x80 != 0
			q.size = max(minUDPSize, min(maxUDPSize, int(binary.BigEndian.Uint16(rr[2:]))))
			if !q.parseOptions(pkt[data : data+size]) {
				return malformed
			}
		}
		at = data + size
	}
	if at != len(pkt) {
		return malformed
	}
	return good
}

func (q *query) parseOptions(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		code, size := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		data = data[4:]
		if size > len(data) {
			return false
		}
		if code == dns.EDNS0SUBNET {
			if q.ecs != nil || !q.parseSubnet(data[:size]) {
				return false
			}
			q.ecs = data[:size]
		}
		data = data[size:]
	}
	return true
}

// parseSubnet reads a client subnet option (RFC 7871 section 6).
func (q *query) parseSubnet(data []byte) bool {
	if len(data) < 4 || data[3] != 0 { // the scope is the server's to say
		return false
	}
	bits, addr := int(data[2]), data[4:]
	if len(addr) != (bits+7)/8 {
		return false
	}
	var full [16]byte
	copy(full[:], addr)
	switch family := binary.BigEndian.Uint16(data); {
	case family == 0 && bits == 0: // the client wants no tailored answer
		return true
	case family == 1 && bits <= 32:
		q.subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte(full[:4])), bits)
	case family == 2 && bits <= 128:
		q.subnet = netip.PrefixFrom(netip.AddrFrom16(full), bits)
	default:
		return false
	}
	return q.subnet.Masked() == q.subnet // bits beyond the prefix must be zero
}

// wireName returns where the uncompressed name at the offset ends, or -1. The first name of a message
// has nothing to point at, so pointers are refused, and with them every loop.
func wireName(pkt []byte, at int) int {
	for start := at; at < len(pkt); {
		size := int(pkt[at])
		at++
		switch {
		case at-start > maxNameLen || size > 63:
			return -1
		case size == 0:
			return at
		}
		at += size
	}
	return -1
}

// skipName returns where the name at the offset ends, which may be in a pointer that nobody follows.
func skipName(pkt []byte, at int) int {
	for at < len(pkt) {
		switch size := int(pkt[at]); {
		case size == 0:
			return at + 1
		case size >= 0xc0:
			return at + 2
		case size > 63:
			return -1
		default:
			at += 1 + size
		}
	}
	return -1
}

// maxKeyLen is the length of the longest key.
const maxKeyLen = maxNameLen + 2

// key writes what tells this question from others into buf: its type and its name in lower case. All
// types that every name answers alike share one key.
func (q *query) key(buf *[maxKeyLen]byte) []byte {
	k := append(buf[:0], 0, 0)
	switch q.qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeANY, dns.TypeSRV, dns.TypeTXT, dns.TypeCNAME, dns.TypeNS, dns.TypeSOA, dns.TypePTR:
		binary.BigEndian.PutUint16(k, q.qtype)
	}
	for _, c := range q.name { // lengths are below 64, so never taken for letters
		k = append(k, lowerByte(c))
	}
	return k
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
