// Package telemetry carries the agent's metrics out: as JSON, to Prometheus, statsd, statsite and DogStatsD.
//
// # Emitting
//
// Code emits with go-metrics, as raft, serf and memberlist do, with names built beforehand:
//
//	var applyKey = []string{"fsm", "kvs"}
//	metrics.MeasureSince(applyKey, start)
//
// go-metrics' package functions feed one process-wide instance. That instance is this package's while
// [Telemetry.Run] runs; with several agents in one process, as in tests, it is the one that ran last.
//
// A path that serves thousands of requests a second binds its series once instead, for nothing is looked up then:
//
//	timer := t.Timer([]string{"api", "http"}, metrics.Label{Name: "path", Value: "v1_kv"})
//	timer.Since(start)
//
// # Why not go-metrics' own sinks
//
// One labelled timer through go-metrics' in-memory and Prometheus sinks costs 2.2 µs, 24 allocations and a lock that
// every emitter shares. Here both read one table of series, in which a series is a few sharded counters: 0.3 µs
// through go-metrics, less than 0.1 µs bound (BenchmarkTimer). Its statsd sinks start goroutines that cannot be waited
// for, and panic when something is emitted after they were shut down.
//
// # Names
//
// Names are Consul's, so that its dashboards work: a prefix ("consul"), then the key joined with dots. Gauges carry
// the host's name after the prefix unless DisableHostname is set, but never in Prometheus and DogStatsD, which know
// the host otherwise. Source: https://developer.hashicorp.com/consul/docs/reference/agent/telemetry
package telemetry
