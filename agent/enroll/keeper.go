package enroll

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/curia-mesh/curia/agent/leaf"
	"github.com/curia-mesh/curia/connect"
)

// Keeper renews a certificate before it ends: after two thirds of its life, and some time earlier, so that agents that
// were made together do not come together; or when another root signs.
type Keeper struct {
	// Renew gets another certificate and puts it to use. It may block until ctx ends.
	Renew func(ctx context.Context) (*tls.Certificate, error)
	// Roots, which may be nil, returns what verifies those that the present root has signed, nil while that is not known,
	// and a channel that is closed when it changes. It does not block.
	Roots func() (signs *connect.Trust, changed <-chan struct{})
	// Spread is the time over which agents renew after another root has begun to sign; default 30 s.
	Spread time.Duration
	// Failed, which may be nil, hears of each attempt that has failed. It does not block.
	Failed func()
	Log    *slog.Logger
}

// Run renews until ctx ends, beginning with the certificate that is in use now.
func (k *Keeper) Run(ctx context.Context, now *tls.Certificate) error {
	due, retry := dueAt(now), time.Time{}
	failures := 0
	var seen *connect.Trust
	for ctx.Err() == nil {
		signs, changed := k.roots()
		if signs != seen {
			seen = signs
			if other := time.Now().Add(rand.N(cmp.Or(max(k.Spread, 0), 30*time.Second))); !signedBy(now, signs) && other.Before(due) {
				due = other
			}
		}
		at := due
		if retry.After(at) {
			at = retry
		}
		if wait := time.Until(at); wait > 0 {
			leaf.Rest(ctx, wait, changed)
			continue
		}
		next, err := k.Renew(ctx)
		switch {
		case err == nil:
			now, due, retry, failures, seen = next, dueAt(next), time.Time{}, 0, nil
			k.Log.Info("this agent has another certificate", "until", now.Leaf.NotAfter)
			continue
		case ctx.Err() != nil:
			return nil
		}
		failures++
		retry = time.Now().Add(leaf.Backoff(failures))
		k.tell(err, now.Leaf.NotAfter)
	}
	return nil
}

// tell says that a certificate could not be renewed: whoever sees that has until its end.
func (k *Keeper) tell(err error, until time.Time) {
	if k.Failed != nil {
		k.Failed()
	}
	if left := time.Until(until); left > 0 {
		k.Log.Warn("this agent's certificate could not be renewed: the one before stands, and it is tried again", "until", until, "left", left.Round(time.Second), "err", err)
		return
	}
	k.Log.Error("this agent's certificate has ended and could not be renewed: servers refuse it until that succeeds", "ended", until, "err", err)
}

func (k *Keeper) roots() (signs *connect.Trust, changed <-chan struct{}) {
	if k.Roots == nil {
		return nil, nil
	}
	return k.Roots()
}

func dueAt(pair *tls.Certificate) time.Time {
	return leaf.Renewal(pair.Leaf.NotBefore, pair.Leaf.NotAfter)
}

// signedBy reports whether roots have signed a certificate; those that are not known are taken for it.
func signedBy(pair *tls.Certificate, roots *connect.Trust) bool {
	if roots == nil {
		return true
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return false
		}
		chain = append(chain, cert)
	}
	_, err := roots.Verify(chain, x509.ExtKeyUsageClientAuth)
	return err == nil
}
