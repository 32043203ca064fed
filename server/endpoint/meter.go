package endpoint

import (
	"strings"
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

// known are the names that Consul's dashboards have for verbs. Others are named after the verb.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/telemetry
var known = map[string][]string{
	"KV.Apply":                 {"kvs", "apply"},
	"Txn.Apply":                {"txn", "apply"},
	"Txn.Read":                 {"txn", "read"},
	"Session.Apply":            {"session", "apply"},
	"Session.Renew":            {"session", "renew"},
	"Catalog.Register":         {"catalog", "register"},
	"Catalog.Deregister":       {"catalog", "deregister"},
	"Catalog.Services":         {"catalog", "service", "query"},
	"Catalog.ServiceInstances": {"catalog", "service", "query"},
	"Health.ServiceInstances":  {"health", "service", "query"},
	"Coordinate.Update":        {"coordinate", "update"},
}

// meter measures one verb with names built beforehand.
type meter struct {
	kind    kind
	counted []string // of queries
	timed   []string // of the others, in milliseconds
}

func newMeter(v *verb) meter {
	name := known[v.name]
	if name == nil {
		for part := range strings.SplitSeq(v.name, ".") {
			name = append(name, strings.ToLower(part[:1])+part[1:])
		}
	}
	if v.kind == query {
		return meter{kind: query, counted: name}
	}
	return meter{kind: v.kind, timed: name}
}

var (
	queryKey   = []string{"rpc", "query"}
	requestKey = []string{"rpc", "request"}
	errorKey   = []string{"rpc", "request_error"}
)

// measure counts a call, and times it where that says something about the server: a query may just have
// waited for a change.
func (m *meter) measure(start time.Time, err error) {
	metrics.IncrCounter(requestKey, 1)
	if err != nil {
		metrics.IncrCounter(errorKey, 1)
	}
	if m.kind == query {
		metrics.IncrCounter(queryKey, 1)
		metrics.IncrCounter(m.counted, 1)
		return
	}
	metrics.MeasureSince(m.timed, start)
}
