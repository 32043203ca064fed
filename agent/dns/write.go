package dns

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/miekg/dns"
)

const (
	pointerLen = 2      // of a name that is only a pointer
	maxPointer = 0x3fff // the farthest offset a pointer reaches (RFC 1035 section 4.1.4)
	optLen     = 11     // an OPT record without options
	prefixLen  = 2      // a TCP message's length, before the message
)

// writer puts messages together in a buffer that it uses again and again; one goroutine at a time.
type writer struct {
	buf   []byte   // prefixLen bytes, then the message
	deck  []uint32 // 0, 1, 2 and so on
	pick  []uint32 // scratch: which records, in which order
	at    []uint32 // scratch: their offsets in the message
	seen  []uint32 // scratch: the round in which a host was met last
	round uint32
}

func newWriter() *writer { return &writer{buf: make([]byte, prefixLen, prefixLen+maxUDPSize)} }

// message returns the message that was written last.
func (w *writer) message() []byte { return w.buf[prefixLen:] }

// framed returns it behind its length, as TCP wants it.
func (w *writer) framed() []byte {
	binary.BigEndian.PutUint16(w.buf, uint16(len(w.buf)-prefixLen))
	return w.buf
}

// fail writes a reply without records. The question is repeated if it could be read.
func (w *writer) fail(q *query, rcode int, recursion bool) {
	w.begin(q)
	if recursion {
		w.buf[prefixLen+3] |= 0x80
	}
	w.buf[prefixLen+3] |= byte(rcode & 0xf)
	if q.opt {
		w.option(q, rcode>>4, false)
	}
}

// begin writes header and question.
func (w *writer) begin(q *query) {
	b := append(w.buf[:prefixLen], q.header[:]...)
	h := b[prefixLen:]
	h[2] = h[2]&0x79 | 0x80 // keep opcode and RD
	clear(h[3:])
	if q.name != nil {
		h[5] = 1
		b = append(b, q.name...)
		b = binary.BigEndian.AppendUint16(b, q.qtype)
		b = binary.BigEndian.AppendUint16(b, q.class)
	}
	w.buf = b
}

// option writes the OPT record (RFC 6891), with the query's client subnet (RFC 7871 section 7.2.1).
func (w *writer) option(q *query, extended int, tailored bool) {
	size := q.size
	b := append(w.buf, 0, 0, byte(dns.TypeOPT), byte(size>>8), byte(size), byte(extended), 0, 0, 0, 0, 0)
	if q.do {
		b[len(b)-4] = 0x80
	}
	if q.ecs != nil {
		n := len(q.ecs)
		b[len(b)-1] = byte(4 + n)
		b = append(b, 0, dns.EDNS0SUBNET, 0, byte(n))
		b = append(b, q.ecs...)
		if tailored {
			b[len(b)-n+3] = q.ecs[2]
		}
	}
	w.buf = b
	w.count(10, 1)
}

// count adds to one of the header's counts.
func (w *writer) count(at, n int) {
	field := w.buf[prefixLen+at:]
	binary.BigEndian.PutUint16(field, binary.BigEndian.Uint16(field)+uint16(n))
}

// put writes the answer to q: as much of it as fits, but never a success that is empty for want of
// room without saying so.
func (w *writer) put(a *answer, q *query) {
	w.begin(q)
	h := w.buf[prefixLen:]
	h[3] = a.rcode
	if a.authoritative {
		h[2] |= 0x04
	}
	if a.recursion {
		h[3] |= 0x80
	}
	limit := w.limit(q)
	n, cut := a.quota(q)
	w.choose(a, n)
	keep := all
	if n < len(a.records) || len(w.buf)+a.allSize > limit {
		n, keep = w.fit(a, limit)
	}
	if cut = cut || n < len(w.pick); cut && a.truncate || n == 0 && len(w.pick) > 0 {
		h[2] |= 0x02
	}
	w.at = w.at[:0]
	for _, i := range w.pick[:n] {
		r := &a.records[i]
		w.at = append(w.at, uint32(len(w.buf)-prefixLen))
		w.span(a, q, r.span)
	}
	w.count(6, n)
	w.spans(a, q, a.authority, 8, limit)
	if len(a.hosts) > 0 && keep != none {
		w.extras(a, n, keep)
	}
	w.spans(a, q, a.tail, 10, limit)
	if q.opt {
		w.option(q, 0, a.tailored)
	}
}

// limit is how long w.buf may become before the OPT record.
func (w *writer) limit(q *query) int {
	limit := prefixLen + q.size
	if q.tcp {
		limit = prefixLen + maxTCPSize
	}
	if q.opt {
		limit -= optLen
	}
	if q.ecs != nil {
		limit -= 4 + len(q.ecs)
	}
	return limit
}

// quota is how many records the answer may have for the question, and whether the protocol is why
// there are not more.
func (a *answer) quota(q *query) (n int, cut bool) {
	n = len(a.records)
	if a.limit > 0 {
		n = min(n, a.limit)
	}
	if a.udpLimit > 0 && !q.tcp && !q.opt && n > a.udpLimit {
		return a.udpLimit, true
	}
	return n, false
}

// choose picks n records at random, in random order: a Fisher-Yates shuffle of the numbers below
// len(a.records) that stops after n and puts them back, so that few of many cost little.
func (w *writer) choose(a *answer, n int) {
	total := len(a.records)
	for i := len(w.deck); i < total; i++ {
		w.deck = append(w.deck, uint32(i))
	}
	w.pick = append(w.pick[:0], w.deck[:n]...)
	if a.ordered {
		return
	}
	w.at = w.at[:0]
	for i := range n {
		j := uint32(i) + rand.Uint32N(uint32(total-i))
		w.pick[i], w.deck[j] = w.deck[j], w.deck[i]
		w.at = append(w.at, j)
	}
	for i, j := range w.at {
		w.deck[i], w.deck[j] = uint32(i), j
	}
}

// keep says which extras go with the records.
type keep int

const (
	all       keep = iota
	addresses      // texts are the first to go when room is short
	none           // then a lone record goes without its address
)

// fit returns how many of the picked records fit, and with what.
func (w *writer) fit(a *answer, limit int) (int, keep) {
	if n := w.measure(a, all, limit); n == len(w.pick) {
		return n, all
	}
	if n := w.measure(a, addresses, limit); n > 0 {
		return n, addresses
	}
	if w.measure(a, none, limit) > 0 {
		return 1, none
	}
	return 0, none
}

// measure counts how many of the picked records fit with the extras that are kept.
func (w *writer) measure(a *answer, keep keep, limit int) int {
	w.visit(a)
	answers := len(w.buf)
	extras := 0
	for n, i := range w.pick {
		r := &a.records[i]
		at := answers - prefixLen + int(r.target)
		answers += int(r.end - r.off)
		if keep != none && w.first(r.host) {
			owner := a.ownerLen(r, at)
			for _, e := range a.extrasOf(r.host) {
				if !e.meta || keep == all {
					extras += e.size(owner)
				}
			}
		}
		if answers+extras > limit {
			return n
		}
	}
	return len(w.pick)
}

// extras writes what belongs to the first n records that were picked.
func (w *writer) extras(a *answer, n int, keep keep) {
	w.visit(a)
	count := 0
	for k, i := range w.pick[:n] {
		r := &a.records[i]
		if !w.first(r.host) {
			continue
		}
		at := int(w.at[k]) + int(r.target)
		for _, e := range a.extrasOf(r.host) {
			if e.meta && keep != all {
				continue
			}
			if !e.owned && a.ownerLen(r, at) == pointerLen {
				w.buf = append(w.buf, 0xc0|byte(at>>8), byte(at))
			} else if !e.owned {
				w.buf = append(w.buf, a.wire[r.off+uint32(r.target):r.end]...)
			}
			w.buf = append(w.buf, a.wire[e.off:e.end]...)
			count++
		}
	}
	w.count(10, count)
}

// ownerLen is how long the target of r, that lies at the offset, is as an owner: pointed to where it
// can be, else in full.
func (a *answer) ownerLen(r *record, at int) int {
	if a.compress && at <= maxPointer {
		return pointerLen
	}
	return int(r.end-r.off) - int(r.target)
}

func (a *answer) extrasOf(host int32) []extra {
	h := a.hosts[host]
	return a.extras[h[0]:h[1]]
}

func (e extra) size(owner int) int {
	if e.owned {
		owner = 0
	}
	return int(e.end-e.off) + owner
}

// visit begins a round in which every host is met once.
func (w *writer) visit(a *answer) {
	if len(w.seen) < len(a.hosts) {
		w.seen = make([]uint32, len(a.hosts))
	}
	if w.round++; w.round == 0 {
		clear(w.seen)
		w.round = 1
	}
}

// first reports whether the host is met for the first time in this round.
func (w *writer) first(host int32) bool {
	if host < 0 || w.seen[host] == w.round {
		return false
	}
	w.seen[host] = w.round
	return true
}

func (w *writer) span(a *answer, q *query, s span) {
	at := len(w.buf)
	w.buf = append(w.buf, a.wire[s.off:s.end]...)
	if s.asked {
		copy(w.buf[at:], q.name)
	}
}

// spans writes those records of a section that fit.
func (w *writer) spans(a *answer, q *query, list []span, section, limit int) {
	n := 0
	for _, s := range list {
		if len(w.buf)+int(s.end-s.off) > limit {
			break
		}
		w.span(a, q, s)
		n++
	}
	w.count(section, n)
}
