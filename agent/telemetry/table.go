package telemetry

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

const (
	maxSeries = 10_000 // beyond them new series are dropped: their labels may come from requests
	maxKey    = 1024   // bytes of a series' name and labels
	retain    = time.Minute
)

// table holds every series, and is the sink that go-metrics feeds.
type table struct {
	cfg     *Config
	help    map[string]string // by name, from the definitions
	pushers []*pusher

	mu      sync.RWMutex // guards byKey and filter
	byKey   map[string]*series
	filter  *filter
	refused atomic.Int64 // updates dropped for want of room, since the last turn

	// turning is held while an interval ends, and for reading by those who need a total and its running interval to
	// fit together.
	turning sync.RWMutex
}

// The methods of go-metrics' MetricSink and PrecisionGaugeMetricSink.

func (t *table) SetGauge(key []string, v float32) { t.SetPrecisionGaugeWithLabels(key, widen(v), nil) }
func (t *table) SetGaugeWithLabels(key []string, v float32, labels []metrics.Label) {
	t.SetPrecisionGaugeWithLabels(key, widen(v), labels)
}
func (t *table) SetPrecisionGauge(key []string, v float64) {
	t.SetPrecisionGaugeWithLabels(key, v, nil)
}
func (t *table) SetPrecisionGaugeWithLabels(key []string, v float64, labels []metrics.Label) {
	if s := t.series(KindGauge, key, labels); s != nil {
		s.set(v)
	}
}
func (t *table) IncrCounter(key []string, v float32) { t.IncrCounterWithLabels(key, v, nil) }
func (t *table) IncrCounterWithLabels(key []string, v float32, labels []metrics.Label) {
	if s := t.series(KindCounter, key, labels); s != nil {
		s.observe(widen(v))
	}
}
func (t *table) AddSample(key []string, v float32) { t.AddSampleWithLabels(key, v, nil) }
func (t *table) AddSampleWithLabels(key []string, v float32, labels []metrics.Label) {
	if s := t.series(KindSample, key, labels); s != nil {
		s.observe(widen(v))
	}
}

// EmitKey does nothing: the agent emits no key and value pairs, and of the outputs only statsite knows them.
func (t *table) EmitKey([]string, float32) {}

// series finds or makes a series; nil if there is no room for it or it has no name. A series that is there is found
// without allocation.
func (t *table) series(kind Kind, key []string, labels []metrics.Label) *series {
	var room [256]byte
	id := append(room[:0], byte(kind))
	id = append(id, t.cfg.MetricsPrefix...)
	for _, part := range key {
		id = append(id, '.')
		id = append(id, part...)
	}
	nameEnd := len(id)
	for _, l := range labels {
		id = append(id, 0xff) // no byte of UTF-8, so that nothing in a label can pass for another's
		id = append(id, l.Name...)
		id = append(id, 0xfe)
		id = append(id, l.Value...)
	}
	for i := range id[1:nameEnd] {
		if id[i+1] == ' ' {
			id[i+1] = '_'
		}
	}
	t.mu.RLock()
	s := t.byKey[string(id)]
	t.mu.RUnlock()
	if s != nil {
		return s
	}
	return t.add(kind, key, string(id[1:nameEnd]), string(id), labels)
}

func (t *table) add(kind Kind, key []string, name, id string, labels []metrics.Label) *series {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byKey[id]; s != nil {
		return s
	}
	if len(key) == 0 || len(id) > maxKey || len(t.byKey) >= maxSeries {
		t.refused.Add(1)
		return nil
	}
	s := &series{kind: kind, name: name, hosted: name, key: id, labels: slices.Clone(labels)}
	switch {
	case kind != KindGauge:
		s.shards = make([]shard, shardCount())
	case t.cfg.HostName != "":
		s.hosted = t.cfg.MetricsPrefix + "." + t.cfg.HostName + strings.TrimPrefix(name, t.cfg.MetricsPrefix)
	}
	if t.cfg.PrometheusRetention > 0 {
		s.prom = newPromSeries(s, t.help[name])
		if kind == KindSample {
			s.hist = new(histogram)
		}
	}
	for _, p := range t.pushers {
		s.pushers = append(s.pushers, p)
		s.lines = append(s.lines, p.name(s))
	}
	s.touched.Store(time.Now().UnixNano())
	s.blocked.Store(!t.filter.passes(s.name, s.hosted))
	t.byKey[id] = s
	return s
}

// declare makes the series of a definition. It counts as never updated, so that only Prometheus shows it.
func (t *table) declare(d Definition) {
	t.help[t.cfg.MetricsPrefix+"."+strings.Join(d.Name, ".")] = d.Help
	if s := t.pin(d.Kind, d.Name, nil); s != nil {
		s.declared = true
		s.touched.Store(0)
	}
}

// pin finds or makes a series that is never removed.
func (t *table) pin(kind Kind, key []string, labels []metrics.Label) *series {
	for {
		s := t.series(kind, key, labels)
		if s == nil {
			return nil
		}
		s.pinned.Store(true)
		t.mu.RLock()
		kept := t.byKey[s.key] == s // sweep may have taken it before it was pinned
		t.mu.RUnlock()
		if kept {
			return s
		}
	}
}

// refilter applies new filter rules, to the series there are and to those to come.
func (t *table) refilter(f *filter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.filter = f
	for _, s := range t.byKey {
		s.blocked.Store(!f.passes(s.name, s.hosted))
	}
}

// sorted lists the series by name.
func (t *table) sorted() []*series {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*series, 0, len(t.byKey))
	for _, s := range t.byKey {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *series) int { return cmp.Compare(a.key, b.key) })
	return all
}

// turn ends the running interval, which began at start, and summarises it.
func (t *table) turn(start time.Time) *Summary {
	now := time.Now()
	all := t.sorted()
	t.turning.Lock()
	sum := newSummary(start)
	for _, s := range all {
		agg := s.current(true)
		s.total.merge(agg)
		if agg.count > 0 {
			s.touched.Store(now.UnixNano())
		}
		if s.hist != nil {
			s.hist.turn()
		}
		sum.add(s, agg, now)
	}
	t.turning.Unlock()
	t.sweep(all, now)
	return sum
}

// peek summarises the running interval, which goes on.
func (t *table) peek(start time.Time) *Summary {
	sum, now := newSummary(start), time.Now()
	for _, s := range t.sorted() {
		sum.add(s, s.current(false), now)
	}
	return sum
}

// sweep removes the series that were not updated for long and that nobody holds. An emitter that found one just
// before loses that one update, and makes the series anew with the next.
func (t *table) sweep(all []*series, now time.Time) {
	idle := max(t.cfg.PrometheusRetention, retain)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range all {
		if !s.pinned.Load() && !s.fresh(now, idle) {
			delete(t.byKey, s.key)
		}
	}
}

// fresh reports whether the series was updated within the time before now.
func (s *series) fresh(now time.Time, within time.Duration) bool {
	return now.UnixNano()-s.touched.Load() <= int64(within)
}

// widen makes a float64 of the shortest decimal that gives v, so that 0.1 is shown as 0.1.
func widen(v float32) float64 {
	if w := math.Round(float64(v)*1e6) / 1e6; float32(w) == v {
		return w
	}
	return float64(v)
}
