package agent

import (
	"context"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/agent/dns"
)

const dnsInterval = 10 * time.Second

var (
	domainQueries = []string{"dns", "domain_query"}
	ptrQueries    = []string{"dns", "ptr_query"}
	dnsHits       = []string{"dns", "cache_hit"}
	dnsDropped    = []string{"dns", "dropped"}
	dnsFailed     = []string{"dns", "failed"}
)

// measureDNS turns the counts of the DNS server, which are kept without a look-up for each packet, into
// metrics until ctx ends.
func (a *Agent) measureDNS(ctx context.Context) error {
	tick := time.NewTicker(dnsInterval)
	defer tick.Stop()
	var last dns.Stats
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := a.dns.Stats()
		sampleMean(domainQueries, now.DomainTime-last.DomainTime, now.DomainQueries-last.DomainQueries)
		sampleMean(ptrQueries, now.PTRTime-last.PTRTime, now.PTRQueries-last.PTRQueries)
		metrics.IncrCounter(dnsHits, float32(now.Hits-last.Hits))
		metrics.IncrCounter(dnsDropped, float32(now.Dropped-last.Dropped))
		metrics.IncrCounter(dnsFailed, float32(now.Failed-last.Failed))
		last = now
	}
}

// sampleMean adds the mean of an interval, in milliseconds, when anything happened in it.
func sampleMean(key []string, spent time.Duration, count uint64) {
	if count > 0 {
		metrics.AddSample(key, float32(spent.Seconds()*1000/float64(count)))
	}
}
