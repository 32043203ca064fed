package dns

import (
	"sync/atomic"
	"time"
)

// answer is a packed answer to one question, for every size and protocol. It never changes, so that
// all goroutines send from it: each picks records and their order anew and copies them behind the
// question it was asked. That works because a packed record points, if anywhere, into the question,
// which lies at the same offset in every message.
type answer struct {
	rcode         byte
	authoritative bool
	recursion     bool // recursors are there
	truncate      bool // tell by TC when instances were left out
	compress      bool
	ordered       bool // as they are; else in a new random order each time
	limit         int  // records at most; 0: all
	udpLimit      int  // the same for UDP without EDNS
	tailored      bool // for one client subnet

	wire      []byte   // the records that the rest points into
	records   []record // the answer section
	extras    []extra  // additional records that belong to a record of the answer, by host
	hosts     [][2]int32
	authority []span
	tail      []span // additional records that belong to the answer as a whole
	allSize   int    // of the records of all sections, extras with their owners' pointers

	stale   []func() bool
	expires time.Time   // if not zero
	gone    atomic.Bool // found stale; spares asking again
	key     string      // in the cache
}

// span is a packed record in wire.
type span struct {
	off, end uint32
	asked    bool // begins with the question's name in full: it takes the casing of the query
}

// record is a record of the answer section.
type record struct {
	span
	host   int32 // whose extras come with it; -1: none
	target int32 // offset of its target's name in it, for SRV; its length is what remains
}

// extra is an additional record. Without own owner it belongs to the target of an SRV record.
type extra struct {
	off, end uint32
	owned    bool
	meta     bool // TXT: the first to go when room is short
}

// fresh reports whether the answer may still be sent.
func (a *answer) fresh() bool {
	if a.gone.Load() {
		return false
	}
	for _, stale := range a.stale {
		if stale() {
			a.gone.Store(true)
			return false
		}
	}
	return a.expires.IsZero() || time.Now().Before(a.expires)
}

// cost is about how many bytes the answer holds.
func (a *answer) cost() int {
	return len(a.wire) + len(a.key) + 16*len(a.records) + 12*len(a.extras) + 8*len(a.hosts) + 256
}
