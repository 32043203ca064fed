package dns

import (
	"bytes"
	"errors"
	"math"
	"time"

	"github.com/miekg/dns"
)

// draft is an answer before it is packed. All its names are in lower case or as the catalog has them.
type draft struct {
	rcode     int
	records   []dns.RR
	hosts     []int      // for each of records: whose extras come with it, -1 for none; nil if none has any
	extras    [][]dns.RR // by host
	authority []dns.RR
	tail      []dns.RR
	ordered   bool
	limit     int // records that are sent at most; 0: all
	udpLimit  int // the same by UDP without EDNS
	tailored  bool

	stale     []func() bool
	unknown   bool // something in it cannot say whether it is stale
	volatile  bool // not to be used again
	perClient bool // not to be told to others either
}

// uses notes what the draft is made of.
func (d *draft) uses(f Freshness) {
	if f.Stale == nil {
		d.unknown = true
		return
	}
	d.stale = append(d.stale, f.Stale)
}

// beyond is an offset that no name compression points to: names packed there can point only into what
// the compression map held before, which is the question.
const beyond = maxPointer + 1

type packer struct {
	answer   *answer
	scratch  []byte
	names    map[string]int
	question string
}

// pack packs a draft as the answer to the question with this lower-case wire name. Records that no
// message can hold, such as those of nodes whose names are no domain names, are left out.
func (d *draft) pack(s *settings, question []byte) (*answer, error) {
	name, _, err := dns.UnpackDomainName(question, 0)
	if err != nil {
		return nil, err
	}
	a := &answer{
		rcode: byte(d.rcode), authoritative: d.rcode != dns.RcodeServerFailure, recursion: len(s.recursors) > 0, truncate: s.EnableTruncate,
		compress: !s.DisableCompression, ordered: d.ordered || len(d.records) < 2, limit: d.limit, udpLimit: d.udpLimit,
		tailored: d.tailored, stale: d.stale,
	}
	if d.unknown {
		a.expires = time.Now().Add(s.UnknownMaxAge)
	}
	scratch := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(scratch)
	p := &packer{answer: a, scratch: *scratch, names: map[string]int{}, question: name}
	for at, i := 0, 0; question[i] != 0; i += 1 + int(question[i]) {
		p.names[name[at:]] = headerLen + i
		next, end := dns.NextLabel(name, at)
		if end {
			break
		}
		at = next
	}
	if err := p.all(d); err != nil {
		return nil, err
	}
	p.measure()
	a.wire = bytes.Clone(a.wire) // it grew in leaps, and stays for long
	return a, nil
}

func (p *packer) all(d *draft) error {
	a := p.answer
	var failed error
	for i, rr := range d.records {
		s, err := p.pack(rr)
		if err != nil {
			failed = err
			continue
		}
		r := record{span: s, host: -1}
		if srv, ok := rr.(*dns.SRV); ok {
			r.target = int32(s.end-s.off) - int32(targetLen(srv))
			if d.hosts != nil {
				r.host = int32(d.hosts[i])
			}
		}
		a.records = append(a.records, r)
	}
	if len(a.records) == 0 && failed != nil {
		return failed
	}
	for _, extras := range d.extras {
		first := int32(len(a.extras))
		for _, rr := range extras {
			p.extra(rr)
		}
		a.hosts = append(a.hosts, [2]int32{first, int32(len(a.extras))})
	}
	p.section(&a.authority, d.authority)
	p.section(&a.tail, d.tail)
	return nil
}

// targetLen is the length of an SRV target on the wire, where it is never compressed (RFC 2782).
func targetLen(srv *dns.SRV) int {
	var buf [maxNameLen + 1]byte
	end, err := dns.PackDomainName(srv.Target, buf[:], 0, nil, false)
	if err != nil {
		return 0
	}
	return end
}

// pack packs one record at the end of the answer's wire.
func (p *packer) pack(rr dns.RR) (span, error) {
	end, err := dns.PackRR(rr, p.scratch, beyond, p.names, p.answer.compress)
	if err != nil {
		return span{}, err
	}
	off := len(p.answer.wire)
	if off+end-beyond > math.MaxUint32 {
		return span{}, errors.New("answer is too large")
	}
	p.answer.wire = append(p.answer.wire, p.scratch[beyond:end]...)
	return span{uint32(off), uint32(len(p.answer.wire)), !p.answer.compress && rr.Header().Name == p.question}, nil
}

// extra packs an additional record. One whose owner is "" belongs to its host's target and is packed
// without owner: it is packed with the root's name, which is then left out.
func (p *packer) extra(rr dns.RR) {
	header := rr.Header()
	e := extra{owned: header.Name != "", meta: header.Rrtype == dns.TypeTXT}
	if !e.owned {
		header.Name = "."
	}
	s, err := p.pack(rr)
	if err != nil {
		return
	}
	e.off, e.end = s.off, s.end
	if !e.owned {
		e.off++
	}
	p.answer.extras = append(p.answer.extras, e)
}

func (p *packer) section(list *[]span, rrs []dns.RR) {
	for _, rr := range rrs {
		if s, err := p.pack(rr); err == nil {
			*list = append(*list, s)
		}
	}
}

// measure finds the size of all records together; if extras may be out of a pointer's reach, there is
// no such size.
func (p *packer) measure() {
	a := p.answer
	answers := 0
	for _, r := range a.records {
		answers += int(r.end - r.off)
	}
	if headerLen+maxNameLen+4+answers > maxPointer {
		a.allSize = math.MaxInt32
		return
	}
	a.allSize = answers
	met := make([]bool, len(a.hosts))
	for i := range a.records {
		r := &a.records[i]
		if r.host < 0 || met[r.host] {
			continue
		}
		met[r.host] = true
		for _, e := range a.extrasOf(r.host) {
			a.allSize += e.size(a.ownerLen(r, 0))
		}
	}
	for _, list := range [][]span{a.authority, a.tail} {
		for _, s := range list {
			a.allSize += int(s.end - s.off)
		}
	}
}
