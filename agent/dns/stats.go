package dns

import (
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Stats are counts since the start. DomainQueries and PTRQueries are what Consul names
// consul.dns.domain_query and consul.dns.ptr_query; the durations are the sums over the questions that
// took a look-up, all others being answered in well under a microsecond.
type Stats struct {
	DomainQueries, PTRQueries uint64
	DomainTime, PTRTime       time.Duration
	Hits                      uint64 // answered from packed answers
	Recursed                  uint64 // sent on to recursors
	Failed                    uint64 // SERVFAIL for want of an answer
	Dropped                   uint64 // no question, or too many at a time
}

type counters struct {
	domainHits, ptrHits       atomic.Uint64
	domain, ptr               atomic.Uint64 // that took a look-up
	domainNanos, ptrNanos     atomic.Int64
	recursed, failed, dropped atomic.Uint64
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	c := &s.stats
	domainHits, ptrHits := c.domainHits.Load(), c.ptrHits.Load()
	return Stats{
		DomainQueries: domainHits + c.domain.Load(), PTRQueries: ptrHits + c.ptr.Load(),
		DomainTime: time.Duration(c.domainNanos.Load()), PTRTime: time.Duration(c.ptrNanos.Load()),
		Hits: domainHits + ptrHits, Recursed: c.recursed.Load(), Failed: c.failed.Load(), Dropped: c.dropped.Load(),
	}
}

func (c *counters) hit(qtype uint16) {
	if qtype == dns.TypePTR {
		c.ptrHits.Add(1)
	} else {
		c.domainHits.Add(1)
	}
}

func (c *counters) looked(reverse bool, took time.Duration) {
	if reverse {
		c.ptr.Add(1)
		c.ptrNanos.Add(int64(took))
	} else {
		c.domain.Add(1)
		c.domainNanos.Add(int64(took))
	}
}
