package telemetry

import (
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

// Timer is a series of durations, bound once and then updated without a look-up, an allocation or a lock that other
// series share. A nil Timer discards.
type Timer struct{ s *series }

// Timer binds the sample series with this name, without the prefix, and labels. It is meant for a fixed set of series
// such as the routes of an API: a bound series is kept as long as t is. A nil t gives a Timer that discards.
func (t *Telemetry) Timer(name []string, labels ...metrics.Label) *Timer {
	if t == nil {
		return nil
	}
	return &Timer{t.table.pin(KindSample, name, labels)}
}

// Since records the time from start until now.
func (t *Timer) Since(start time.Time) { t.Observe(time.Since(start)) }

// Observe records one duration, in milliseconds as all of Consul's timers.
func (t *Timer) Observe(d time.Duration) {
	if t != nil && t.s != nil {
		t.s.observe(float64(d) / float64(time.Millisecond))
	}
}

// Counter is a series that counts, bound as a Timer is. A nil Counter discards.
type Counter struct{ s *series }

// Counter binds the counter series with this name, without the prefix, and labels.
func (t *Telemetry) Counter(name []string, labels ...metrics.Label) *Counter {
	if t == nil {
		return nil
	}
	return &Counter{t.table.pin(KindCounter, name, labels)}
}

// Add counts n more. A negative n is ignored.
func (c *Counter) Add(n float64) {
	if c != nil && c.s != nil {
		c.s.observe(n)
	}
}
