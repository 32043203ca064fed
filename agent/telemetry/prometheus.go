package telemetry

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// PrometheusOff is why there is no Prometheus output while the retention time is 0; Consul says it in the header
// X-Consul-Reason of an otherwise empty answer.
const PrometheusOff = "Prometheus is not enabled since its retention time is not positive"

const maxScrapes = 16 // at a time; further ones get 503

// newPrometheus returns a handler over a registry of its own, which also has client_golang's go_* and process_*
// metrics, as under Consul.
func newPrometheus(t *table, logger *slog.Logger) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(exporter{t, logger}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) // cannot clash: the registry is new
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		ErrorLog:            slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxScrapes,
	})
}

// promSeries is a series in Prometheus' words.
type promSeries struct {
	name string
	id   string // name, help and labels: what Prometheus tells series apart by
	desc *prometheus.Desc
}

// newPromSeries names a series for Prometheus. Names keep letters, digits, colons and underscores; everything else
// becomes an underscore. Of labels with the same name the last counts.
// Source: https://prometheus.io/docs/concepts/data_model/
func newPromSeries(s *series, help string) promSeries {
	name := promName(s.name, true)
	if help == "" {
		help = name
	}
	desc := prometheus.NewDesc(name, help, nil, promLabels(s.labels))
	return promSeries{name, desc.String(), desc}
}

func promLabels(labels []metrics.Label) prometheus.Labels {
	m := make(prometheus.Labels, len(labels))
	for _, l := range labels {
		name := promName(l.Name, false)
		if name == "quantile" || strings.HasPrefix(name, "__") { // these are Prometheus' own
			name = "label_" + name
		}
		m[name] = strings.ToValidUTF8(l.Value, "\ufffd")
	}
	return m
}

func promName(name string, colons bool) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == ':' && colons:
			return r
		}
		return '_'
	}, name)
	if clean == "" || clean[0] >= '0' && clean[0] <= '9' {
		return "_" + clean
	}
	return clean
}

// exporter is the table as a Prometheus collector. It describes nothing ahead, which makes it an unchecked one.
type exporter struct {
	t      *table
	logger *slog.Logger
}

func (exporter) Describe(chan<- *prometheus.Desc) {}

// Collect gives the series that were updated within the retention time. Two that Prometheus cannot tell apart, or
// that give one name to two kinds, would fail the whole scrape: the first by name is kept.
func (e exporter) Collect(out chan<- prometheus.Metric) {
	e.t.turning.RLock()
	defer e.t.turning.RUnlock()
	now := time.Now()
	kinds := map[string]Kind{}
	seen := map[string]bool{}
	for _, s := range e.t.sorted() {
		running := s.current(false)
		if s.blocked.Load() || !s.declared && (s.total.count+running.count == 0 && s.kind != KindGauge || running.count == 0 && !s.fresh(now, e.t.cfg.PrometheusRetention)) {
			continue
		}
		if kind := kinds[s.prom.name]; seen[s.prom.id] || kind != 0 && kind != s.kind {
			e.logger.Debug("a metric is left out for another of the same name", "metric", s.name)
			continue
		}
		kinds[s.prom.name], seen[s.prom.id] = s.kind, true
		m, err := s.metric(running)
		if err != nil {
			e.logger.Debug("a metric cannot be shown to Prometheus", "metric", s.name, "err", err)
			continue
		}
		out <- m
	}
}

// metric is the series as it stands: totals since it began, quantiles of the last 10 to 20 s.
func (s *series) metric(running aggregate) (prometheus.Metric, error) {
	total := s.total
	total.merge(running)
	switch s.kind {
	case KindGauge:
		return prometheus.NewConstMetric(s.prom.desc, prometheus.GaugeValue, s.value())
	case KindCounter:
		return prometheus.NewConstMetric(s.prom.desc, prometheus.CounterValue, total.sum)
	}
	return prometheus.NewConstSummary(s.prom.desc, total.count, total.sum, s.hist.quantiles(0.5, 0.9, 0.99))
}
