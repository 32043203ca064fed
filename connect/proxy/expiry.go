package proxy

import (
	"crypto/x509"
	"math/rand/v2"
	"time"
)

// expiryMargin is how long before the end of a certificate callers are told to make another connection, at most; a tenth of what is
// left where that is less.
const expiryMargin = 30 * time.Second

// outlives is until when requests are taken over a connection that two certificates were shown for. A handshake checks them once,
// and a connection that is kept would go on with them after their end. It comes a while before that, and not for all at once.
func outlives(own, peer *x509.Certificate, now time.Time) time.Time {
	end := peer.NotAfter
	if own.NotAfter.Before(end) {
		end = own.NotAfter
	}
	margin := min(expiryMargin, end.Sub(now)/10)
	if margin <= 0 {
		return end
	}
	return end.Add(-margin/2 - rand.N(margin/2+1))
}

// spent reports whether the certificates of the connection end too soon for another request.
func (c *client) spent(now time.Time) bool { return !c.until.IsZero() && !now.Before(c.until) }

// idleTime is how long the next request is waited for.
func (c *client) idleTime(idle time.Duration, now time.Time) time.Duration {
	if c.until.IsZero() {
		return idle
	}
	return min(idle, max(c.until.Sub(now), 0))
}
