package balance

import "time"

// Method is how an endpoint is chosen.
type Method uint8

// The methods. PeakEWMA takes the cheaper of two endpoints that are chosen at random: cost is the latency, by a
// moving average that follows peaks, times the requests it has. LeastRequest takes the one of Choices with the
// fewest requests. RingHash and Maglev send requests of one hash to one endpoint, as far as the endpoints stay.
// Source: https://www.eecs.harvard.edu/~michaelm/postscripts/handbook2001.pdf (the power of two choices),
// https://research.google/pubs/maglev-a-fast-and-reliable-software-network-load-balancer (Maglev)
const (
	PeakEWMA Method = iota
	LeastRequest
	RoundRobin
	Random
	RingHash
	Maglev
)

// Policy says how a pool shares out requests. The zero value is the default of the mesh.
type Policy struct {
	Method Method
	// Choices is how many endpoints LeastRequest compares; 0 is 2.
	Choices int
	// MinRing and MaxRing bound the points of RingHash's ring; 0 is 1024 and 8 million.
	MinRing, MaxRing int
	// FirstLatency is what PeakEWMA takes an endpoint to need that has not answered yet; 0 is 30 ms.
	FirstLatency time.Duration
	// Decay is how long PeakEWMA remembers; 0 is 10 s.
	Decay time.Duration
	// Penalty is the least latency that PeakEWMA counts for an answer that says no (a failure, too many requests),
	// for such answers are quick, and would attract more; 0 is 1 s.
	Penalty time.Duration
	// SlowStart is how long a new endpoint takes to get its whole share; 0 gives it at once.
	SlowStart time.Duration
	// Panic is the percentage of endpoints in service below which all get traffic, since those that are left would
	// not bear it; 0 is 50, negative never.
	Panic int
	// Empty says, in errors, why there are no endpoints, as far as it is known.
	Empty string
	// Outliers says when endpoints are taken out for a while.
	Outliers Outliers
}

// or returns v, or the default where v is zero.
func or[T int | uint32 | float64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (p Policy) withDefaults() Policy {
	p.Choices = max(or(p.Choices, 2), 2)
	p.MinRing = max(or(p.MinRing, 1024), 1)
	p.MaxRing = max(min(or(p.MaxRing, 8<<20), 8<<20), 1)
	p.MinRing = min(p.MinRing, p.MaxRing)
	p.FirstLatency = or(p.FirstLatency, 30*time.Millisecond)
	p.Decay = or(p.Decay, 10*time.Second)
	p.Penalty = or(p.Penalty, time.Second)
	p.Panic = or(p.Panic, 50)
	p.Outliers = p.Outliers.withDefaults()
	return p
}

// Level returns how far a member is from an own place: 0 in the same zone, or where nothing is known; 1 in the
// same region; 2 elsewhere.
func Level(region, zone, memberRegion, memberZone string) uint8 {
	switch {
	case region == "":
		return 0
	case region != memberRegion:
		return 2
	case zone != "" && zone != memberZone:
		return 1
	}
	return 0
}
