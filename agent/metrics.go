package agent

import (
	"context"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/agent/dns"
)

const measureInterval = 10 * time.Second

// recheckInterval is how often it is seen whether the certificates of those who are connected have ended.
const recheckInterval = time.Minute

// Source of the names: https://developer.hashicorp.com/consul/docs/reference/agent/telemetry
var (
	certExpiry    = []string{"agent", "tls", "cert", "expiry"}
	certFailed    = []string{"agent", "tls", "cert", "renewal_failed"}
	domainQueries = []string{"dns", "domain_query"}
	ptrQueries    = []string{"dns", "ptr_query"}
	dnsHits       = []string{"dns", "cache_hit"}
	dnsDropped    = []string{"dns", "dropped"}
	dnsFailed     = []string{"dns", "failed"}
)

// measure turns the counts of the DNS server, which are kept without a look-up for each packet, into metrics
// until ctx ends, and tells when the agent's certificates do.
func (a *Agent) measure(ctx context.Context) error {
	tick := time.NewTicker(measureInterval)
	defer tick.Stop()
	var last dns.Stats
	var warned expiry
	var looked time.Time
	for {
		if end := a.certificatesEnd(); !end.IsZero() {
			metrics.SetGauge(certExpiry, float32(time.Until(end).Seconds()))
			if !a.renews() && warned.due(end, time.Now()) > 0 {
				a.log.Warn("a certificate of this agent is about to end: replace it, such as with tls cert renew, and reload", "ends", end, "left", time.Until(end).Round(time.Minute))
			}
		}
		if time.Since(looked) >= recheckInterval {
			looked = time.Now()
			a.recheckPeers()
		}
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

// certificatesEnd is when the first of the certificates ends that the agent shows to others; zero when it has none.
func (a *Agent) certificatesEnd() (end time.Time) {
	for _, c := range []*certificates{&a.sockets.https, &a.checkTLS} {
		cfg := c.current.Load()
		if cfg == nil {
			continue
		}
		for _, pair := range cfg.Certificates {
			if pair.Leaf != nil && (end.IsZero() || pair.Leaf.NotAfter.Before(end)) {
				end = pair.Leaf.NotAfter
			}
		}
	}
	if pair := a.peers.Certificate(); pair != nil && (end.IsZero() || pair.Leaf.NotAfter.Before(end)) {
		end = pair.Leaf.NotAfter
	}
	return end
}

// sampleMean adds the mean of an interval, in milliseconds, when anything happened in it.
func sampleMean(key []string, spent time.Duration, count uint64) {
	if count > 0 {
		metrics.AddSample(key, float32(spent.Seconds()*1000/float64(count)))
	}
}
