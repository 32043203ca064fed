package leaf

import (
	"context"
	"crypto/x509"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// entry is one certificate and whoever keeps it.
type entry struct {
	cache *Cache
	key   key

	// Guarded by the cache's lock.
	readers int
	left    time.Time          // when the last reader was
	stop    context.CancelFunc // ends the keeper; nil when there is none

	mu    sync.Mutex
	state view
}

// view is what readers see of an entry. It is never changed.
type view struct {
	leaf    *held
	err     error         // why there is none
	changed chan struct{} // closed when another view takes its place
}

// held is a certificate with what is known of it.
type held struct {
	*catalog.IssuedCert
	chain []*x509.Certificate
	renew time.Time // when to renew it, if nothing happens before
}

// trusted are the roots, read.
type trusted struct {
	active string // the id of the one that signs
	domain string
	signs  *connect.Trust
	all    []string
	any    *connect.Trust
}

// newTrusted returns nil while no root signs.
func newTrusted(rep *catalog.Roots) (*trusted, error) {
	root := rep.Active()
	if root == nil {
		return nil, nil
	}
	t := &trusted{active: root.ID, domain: rep.TrustDomain}
	for _, r := range rep.Roots {
		t.all = append(t.all, r.RootCert)
	}
	var err error
	if t.signs, err = connect.NewTrust(rep.TrustDomain, root.RootCert); err == nil {
		t.any, err = connect.NewTrust(rep.TrustDomain, t.all...)
	}
	return t, err
}

// Bounds of attempts to get a certificate.
const (
	signTimeout  = 15 * time.Second
	rootsWait    = 10 * time.Second
	rootsGrace   = time.Second // what lies on disk waits so long to be compared with the roots
	firstPause   = time.Second
	longestPause = time.Minute
	retriesLeft  = 8 // a renewal that failed is not put off by more than this part of what is left of the life
)

// Backoff doubles a pause with each failure, and takes off or adds up to a half.
func Backoff(failures int) time.Duration {
	d := min(firstPause<<min(failures-1, 10), longestPause)
	return d/2 + rand.N(d)
}

// Sleep waits for so long, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) { Rest(ctx, d, nil) }

// Rest waits for so long, until a channel is closed, or ctx ends.
func Rest(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
	}
}

// Renewal is when to renew a certificate that lives from one time to another: after two thirds of its life,
// and up to a tenth earlier, so that those that were signed together are not renewed together.
func Renewal(from, to time.Time) time.Time {
	life := max(to.Sub(from), 0)
	return from.Add(life*2/3 - rand.N(life/10+1))
}

func (e *entry) look() view {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

func (e *entry) show(leaf *held, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.state.changed)
	e.state = view{leaf: leaf, err: err, changed: make(chan struct{})}
}

// begin forgets why there was no certificate before. The cache's lock is held.
func (e *entry) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state.err = nil
}

// keep gets the certificate and renews it, until ctx ends, nobody asks for it, or there is none to keep.
func (e *entry) keep(ctx context.Context) {
	c := e.cache
	defer c.ended(e)
	leaf := e.look().leaf
	if leaf == nil {
		if leaf = e.standing(ctx, e.load()); leaf != nil {
			e.show(leaf, nil)
		}
	}
	var seen *trusted   // the roots that other stands for
	var other time.Time // when to renew because of them; zero when they have signed it
	failures, retry := 0, time.Time{}
	for ctx.Err() == nil && !c.idle(e) {
		roots, changed := c.known()
		now := time.Now()
		if roots != seen {
			seen, other = roots, c.due(leaf, roots, now)
		}
		at := now
		if leaf != nil {
			at = leaf.renew
			if !other.IsZero() && other.Before(at) {
				at = other
			}
			if retry.After(at) {
				at = retry
			}
		}
		if wait := at.Sub(now); wait > 0 {
			Rest(ctx, min(wait, c.o.Idle), changed)
			continue
		}
		next, err := e.issue(ctx, leaf)
		if err == nil {
			leaf, seen, failures, retry = next, nil, 0, time.Time{}
			e.show(leaf, nil)
			continue
		}
		if ctx.Err() != nil {
			err = catalog.Errorf(catalog.Unavailable, "this agent gives up the certificate of service %q", e.key.service)
		}
		if leaf == nil || time.Now().After(leaf.ValidBefore) {
			e.show(nil, err)
			return
		}
		failures++
		retry = time.Now().Add(min(Backoff(failures), max(time.Until(leaf.ValidBefore)/retriesLeft, firstPause)))
		c.o.Log.Warn("a certificate could not be renewed: the one before stands", "service", e.key.service, "until", leaf.ValidBefore, "err", err)
	}
	if e.look().leaf == nil { // whoever waits must learn it
		e.show(nil, catalog.Errorf(catalog.Unavailable, "this agent gives up the certificate of service %q", e.key.service))
	}
}

// standing returns a certificate from the disk, nil if it is known to be of another cluster, or of roots that
// are gone. Where the servers are away it is taken for good.
func (e *entry) standing(ctx context.Context, leaf *held) *held {
	if leaf == nil {
		return nil
	}
	late := time.NewTimer(rootsGrace)
	defer late.Stop()
	for {
		roots, changed := e.cache.known()
		if roots != nil {
			if _, err := roots.any.Verify(leaf.chain, x509.ExtKeyUsageClientAuth); err != nil {
				return nil
			}
			return leaf
		}
		select {
		case <-changed:
		case <-late.C:
			return leaf
		case <-ctx.Done():
			return leaf
		}
	}
}

// due is when to renew a certificate because of the roots that there are: within the spread when another
// root than its own signs, at once when its own is not even trusted, never when its own signs.
func (c *Cache) due(leaf *held, roots *trusted, now time.Time) time.Time {
	if leaf == nil || roots == nil {
		return time.Time{}
	}
	if _, err := roots.signs.Verify(leaf.chain, x509.ExtKeyUsageClientAuth); err == nil {
		return time.Time{}
	}
	if _, err := roots.any.Verify(leaf.chain, x509.ExtKeyUsageClientAuth); err != nil {
		return now
	}
	return now.Add(rand.N(c.o.Spread))
}

// domain waits for the trust domain, which comes with the roots. Who follows them may pause for longer, since
// the servers were away.
func (e *entry) domain(ctx context.Context) (string, error) {
	late, cancel := context.WithTimeout(ctx, rootsWait)
	defer cancel()
	for {
		roots, changed := e.cache.known()
		if roots != nil {
			return roots.domain, nil
		}
		select {
		case <-changed:
		case <-late.Done():
			rep, _, err := api.CARoots.Call(ctx, e.cache.o.Caller, rpc.Header{Token: e.key.token}, &api.Nothing{})
			if err != nil {
				return "", err
			}
			if rep.Active() != nil {
				return rep.TrustDomain, nil
			}
			return "", catalog.Errorf(catalog.Unavailable, "the servers have no root certificate yet: see the leader's log")
		}
	}
}

// issue makes a key and has the servers sign for it.
func (e *entry) issue(ctx context.Context, before *held) (*held, error) {
	ctx, cancel := context.WithTimeout(ctx, signTimeout+rootsWait)
	defer cancel()
	domain, err := e.domain(ctx)
	if err != nil {
		return nil, err
	}
	id := connect.Service(domain, e.cache.o.Datacenter, e.key.service)
	secret, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		return nil, err
	}
	csr, err := connect.NewCSR(secret, id)
	if err != nil {
		return nil, err
	}
	signed, _, err := api.ConnectSign.Call(ctx, e.cache.o.Caller, rpc.Header{Token: e.key.token}, &api.SignRequest{CSR: csr})
	if err != nil {
		return nil, err
	}
	cert := *signed
	if cert.PrivateKeyPEM, err = connect.EncodeKey(secret); err != nil {
		return nil, err
	}
	if before != nil { // readers go by the index
		cert.ModifyIndex = max(cert.ModifyIndex, before.ModifyIndex+1)
		cert.CreateIndex = cert.ModifyIndex
	}
	leaf, err := hold(&cert, e.key.service, e.cache.o.Datacenter)
	if err != nil {
		return nil, catalog.Errorf(catalog.Internal, "the servers signed another certificate than they were asked for: %w", err)
	}
	if err := e.save(leaf); err != nil {
		e.cache.o.Log.Warn("a certificate could not be stored: it will not outlive this agent", "service", e.key.service, "err", err)
	}
	return leaf, nil
}
