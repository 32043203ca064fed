package telemetry

import (
	"bufio"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

// Summary is one interval of 10 s, as /v1/agent/metrics gives it. It is not changed once it is handed out.
// Source: https://developer.hashicorp.com/consul/api-docs/agent#view-metrics
type Summary struct {
	Timestamp string // when the interval began, as time.Time prints it
	Gauges    []GaugeValue
	Points    []PointValue
	Counters  []SampledValue
	Samples   []SampledValue
}

// GaugeValue is the last value of a gauge, if that was set within the last minute.
type GaugeValue struct {
	Name   string
	Value  float64
	Labels map[string]string
}

// PointValue is a key with the values emitted for it. The agent emits none; the field is part of the shape.
type PointValue struct {
	Name   string
	Points []float32
}

// SampledValue is what a counter or sample (timers in milliseconds) saw in the interval. Rate is Sum per second.
type SampledValue struct {
	Name   string
	Count  uint64
	Rate   float64
	Sum    float64
	Min    float64
	Max    float64
	Mean   float64
	Stddev float64
	Labels map[string]string
}

// newSummary has empty lists and not nil ones: JSON shows them as [].
func newSummary(start time.Time) *Summary {
	return &Summary{
		Timestamp: start.Round(time.Second).UTC().String(),
		Gauges:    []GaugeValue{}, Points: []PointValue{}, Counters: []SampledValue{}, Samples: []SampledValue{},
	}
}

// add enters a series that has something to say. JSON knows no NaN, which some gauges hold on purpose, so those stay
// out.
func (sum *Summary) add(s *series, agg aggregate, now time.Time) {
	if s.blocked.Load() {
		return
	}
	if s.kind == KindGauge {
		v := s.value()
		if !s.fresh(now, retain) || !finite(v) {
			return
		}
		sum.Gauges = append(sum.Gauges, GaugeValue{Name: s.hosted, Value: v, Labels: labelMap(s.labels)})
		return
	}
	if agg.count == 0 || !finite(agg.sumSquares) {
		return
	}
	v := SampledValue{
		Name: s.name, Count: agg.count, Rate: agg.sum / interval.Seconds(), Sum: agg.sum, Min: agg.min, Max: agg.max,
		Mean: agg.mean(), Stddev: agg.stddev(), Labels: labelMap(s.labels),
	}
	if s.kind == KindCounter {
		sum.Counters = append(sum.Counters, v)
	} else {
		sum.Samples = append(sum.Samples, v)
	}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func labelMap(labels []metrics.Label) map[string]string {
	m := make(map[string]string, len(labels))
	for _, l := range labels {
		m[l.Name] = l.Value
	}
	return m
}

// dump writes the summary in the form that a Consul agent gives on SIGUSR1.
func (sum *Summary) dump(w *bufio.Writer) {
	for _, g := range sum.Gauges {
		fmt.Fprintf(w, "[%s][G] '%s': %0.3f\n", sum.Timestamp, dumpName(g.Name, g.Labels), g.Value)
	}
	write := func(kind string, list []SampledValue) {
		for _, v := range list {
			fmt.Fprintf(w, "[%s][%s] '%s': Count: %d Min: %0.3f Mean: %0.3f Max: %0.3f Stddev: %0.3f Sum: %0.3f\n",
				sum.Timestamp, kind, dumpName(v.Name, v.Labels), v.Count, v.Min, v.Mean, v.Max, v.Stddev, v.Sum)
		}
	}
	write("C", sum.Counters)
	write("S", sum.Samples)
}

func dumpName(name string, labels map[string]string) string {
	for _, l := range slices.Sorted(maps.Keys(labels)) {
		name += ";" + l + "=" + labels[l]
	}
	return name
}
