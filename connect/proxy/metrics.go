package proxy

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WriteMetrics writes what passed so far and how the targets stand in the text format of Prometheus. Histograms have
// one bound in each octave from 0.13 ms to 69 s. No caller can make there be more series: their labels are names of
// listeners, targets and routes.
// Source: https://prometheus.io/docs/instrumenting/exposition_formats
func (p *Proxy) WriteMetrics(w io.Writer) error {
	b := bufio.NewWriter(w)
	m := metrics{b}
	edges := p.Edges()
	slices.SortFunc(edges, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.Listener, b.Listener), strings.Compare(a.Target, b.Target), strings.Compare(a.Route, b.Route))
	})
	m.edges(edges)
	clusters := p.Clusters()
	slices.SortFunc(clusters, func(a, b Cluster) int {
		return cmp.Or(strings.Compare(a.Listener, b.Listener), strings.Compare(a.Name, b.Name))
	})
	m.clusters(clusters)
	refused := p.refused()
	m.family("curia_proxy_connections_refused_total", "counter", "Connections that were closed because the listener had its limit of them, or of those from one address.")
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		m.sample("curia_proxy_connections_refused_total", refused[name], "listener", name)
	}
	audited := p.audited()
	m.family("curia_proxy_audited_total", "counter", "Connections and requests that an intention would have denied, were it not only tried out.")
	for _, name := range slices.Sorted(maps.Keys(audited)) {
		m.sample("curia_proxy_audited_total", audited[name], "listener", name)
	}
	m.family("curia_proxy_mirrored_total", "counter", "Copies of requests that routes send to other services, by what became of them.")
	m.sample("curia_proxy_mirrored_total", p.copies.sent.Load(), "result", "sent")
	m.sample("curia_proxy_mirrored_total", p.copies.dropped.Load(), "result", "dropped")
	if unnamed := p.unnamed(); len(unnamed) > 0 {
		m.family("curia_proxy_names_refused_total", "counter", "Connections that a gateway did not pass on by the name in their ClientHello, by the reason.")
		for _, name := range slices.Sorted(maps.Keys(unnamed)) {
			for why, n := range unnamed[name] {
				m.sample("curia_proxy_names_refused_total", n, "listener", name, "reason", namelessNames[why])
			}
		}
	}
	m.family("go_goroutines", "gauge", "Goroutines of the process that the proxy runs in.")
	m.sample("go_goroutines", uint64(runtime.NumGoroutine()))
	if p.Access != nil {
		m.family("curia_proxy_access_log_dropped_total", "counter", "Records of the access log for which there was no room.")
		m.sample("curia_proxy_access_log_dropped_total", p.Access.Dropped.Load())
	}
	if p.Tracer != nil {
		m.family("curia_proxy_spans_total", "counter", "Spans of traces, by what became of them.")
		m.sample("curia_proxy_spans_total", p.Tracer.Sent.Load(), "result", "sent")
		m.sample("curia_proxy_spans_total", p.Tracer.Dropped.Load(), "result", "dropped")
		m.sample("curia_proxy_spans_total", p.Tracer.Failed.Load(), "result", "failed")
	}
	return b.Flush()
}

type metrics struct{ *bufio.Writer }

func (m metrics) family(name, kind, help string) {
	m.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// sample writes a value; labels are names and values by turns, of which those with an empty name are left out.
func (m metrics) sample(name string, value uint64, labels ...string) {
	m.labelled(name, labels)
	m.WriteString(strconv.FormatUint(value, 10))
	m.WriteByte('\n')
}

func (m metrics) labelled(name string, labels []string) {
	m.WriteString(name)
	sep := byte('{')
	for i := 0; i+1 < len(labels); i += 2 {
		if labels[i] == "" {
			continue
		}
		m.WriteByte(sep)
		m.WriteString(labels[i] + `="` + escapes.Replace(labels[i+1]) + `"`)
		sep = ','
	}
	if sep == ',' {
		m.WriteByte('}')
	}
	m.WriteByte(' ')
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

var classNames = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (m metrics) edges(all []Edge) {
	requests, routes := all[:0:0], all[:0:0]
	for _, e := range all {
		if e.Route == "" {
			requests = append(requests, e)
		} else {
			routes = append(routes, e)
		}
	}
	m.requests("curia_proxy_", "target", requests, func(e Edge) string { return e.Target })
	m.requests("curia_proxy_route_", "route", routes, func(e Edge) string { return e.Route })
	for _, f := range []struct {
		name, kind, help string
		value            func(Edge) uint64
	}{
		{"curia_proxy_retries_total", "counter", "Requests that were sent once more.", func(e Edge) uint64 { return e.Retries }},
		{"curia_proxy_connect_failures_total", "counter", "Connections to endpoints that could not be made.", func(e Edge) uint64 { return e.Refused }},
		{"curia_proxy_connections_total", "counter", "Connections of TCP that were passed on.", func(e Edge) uint64 { return e.Conns }},
		{"curia_proxy_connections_active", "gauge", "Connections of TCP that are passed on now.", func(e Edge) uint64 { return uint64(max(e.Active, 0)) }},
		{"curia_proxy_received_bytes_total", "counter", "Bytes of bodies and connections from callers.", func(e Edge) uint64 { return e.BytesThere }},
		{"curia_proxy_sent_bytes_total", "counter", "Bytes of bodies and connections to callers.", func(e Edge) uint64 { return e.Bytes }},
	} {
		m.family(f.name, f.kind, f.help)
		for _, e := range requests {
			m.sample(f.name, f.value(e), "listener", e.Listener, "target", e.Target)
		}
	}
}

// requests writes how many there were by status, and how long they took.
func (m metrics) requests(prefix, label string, all []Edge, of func(Edge) string) {
	m.family(prefix+"requests_total", "counter", "Requests, by the class of the status that the caller got.")
	for _, e := range all {
		for class, n := range e.Classes {
			if n > 0 {
				m.sample(prefix+"requests_total", n, "listener", e.Listener, label, of(e), "status", classNames[class])
			}
		}
	}
	name := prefix + "request_duration_seconds"
	m.family(name, "histogram", "Time to the end of the exchange; of a connection of TCP, until there was one to the endpoint.")
	for _, e := range all {
		sum := uint64(0)
		for i, n := range e.Buckets {
			sum += n
			if d := Bound(i); i%4 == 3 && d >= firstBound && d <= lastBound {
				m.sample(name+"_bucket", sum, "listener", e.Listener, label, of(e), "le", strconv.FormatFloat(d.Seconds(), 'g', 6, 64))
			}
		}
		m.sample(name+"_bucket", sum, "listener", e.Listener, label, of(e), "le", "+Inf")
		m.labelled(name+"_sum", []string{"listener", e.Listener, label, of(e)})
		m.WriteString(strconv.FormatFloat(e.Sum.Seconds(), 'f', 6, 64) + "\n")
		m.sample(name+"_count", sum, "listener", e.Listener, label, of(e))
	}
}

// Bounds of the histograms that are shown.
const (
	firstBound = 1 << 17 * time.Nanosecond
	lastBound  = 1 << 36 * time.Nanosecond
)

func (m metrics) clusters(all []Cluster) {
	m.family("curia_proxy_endpoints", "gauge", "Endpoints of a target by state.")
	for _, c := range all {
		n := map[string]uint64{"in service": 0, "ejected": 0, "silent": 0, "unhealthy": 0, "on trial": 0}
		for _, e := range c.Endpoints {
			n[e.State]++
		}
		for _, state := range slices.Sorted(maps.Keys(n)) {
			m.sample("curia_proxy_endpoints", n[state], "listener", c.Listener, "target", c.Name, "state", state)
		}
	}
	flag := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	for _, f := range []struct {
		name, kind, help string
		value            func(Cluster) uint64
	}{
		{"curia_proxy_panic", "gauge", "1 while endpoints get traffic that are not in service, because too few are.", func(c Cluster) uint64 { return flag(c.Panics) }},
		{"curia_proxy_breaker_open", "gauge", "1 while the circuit breaker stops requests.", func(c Cluster) uint64 { return flag(c.BreakerOpen) }},
		{"curia_proxy_requests_active", "gauge", "Requests that a target has now.", func(c Cluster) uint64 { return uint64(c.Requests) }},
		{"curia_proxy_requests_waiting", "gauge", "Requests that wait for an endpoint or a connection.", func(c Cluster) uint64 { return uint64(c.Pending) }},
		{"curia_proxy_ejections_total", "counter", "Endpoints that were taken out of service.", func(c Cluster) uint64 { return c.Ejections }},
		{"curia_proxy_overflows_total", "counter", "Requests and connections that a limit of the target left no room for.", func(c Cluster) uint64 { return c.Overflows }},
		{"curia_proxy_retries_forbidden_total", "counter", "Retries that the budget did not allow.", func(c Cluster) uint64 { return c.Unbudgeted }},
	} {
		m.family(f.name, f.kind, f.help)
		for _, c := range all {
			m.sample(f.name, f.value(c), "listener", c.Listener, "target", c.Name)
		}
	}
}
