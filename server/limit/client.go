package limit

import (
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/catalog"
)

// Client bounds the calls that one client agent makes to servers: a rate, and so many at once.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general (limits.rpc_rate, rpc_max_burst)
type Client struct {
	since  time.Time
	bucket atomic.Pointer[bucket]
}

// NewClient returns one that bounds nothing yet.
func NewClient() *Client { return &Client{since: time.Now().Add(-time.Hour)} }

// Set bounds the calls that follow; a rate below 0 bounds nothing, and one of 0 lets nothing through.
func (c *Client) Set(rate float64, burst int) {
	b := &bucket{}
	b.set(rate)
	if b.interval > 0 {
		b.slack = int64(max(burst, 1)-1) * b.interval
	}
	c.bucket.Store(b)
}

// Admit returns an error with code limited when a call comes too quickly.
func (c *Client) Admit() error {
	if b := c.bucket.Load(); b == nil || b.take(int64(time.Since(c.since))) {
		return nil
	}
	metrics.IncrCounter([]string{"client", "rpc", "exceeded"}, 1)
	return catalog.Errorf(catalog.Limited, "rate limit exceeded: this agent asks the servers no more at the moment (limits.rpc_rate and rpc_max_burst): try again later")
}
