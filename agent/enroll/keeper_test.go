package enroll_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/enroll"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
)

const domain = "11111111-2222-3333-4444-555555555555.consul"

var agentID = connect.ID{Kind: connect.KindAgent, TrustDomain: domain, Datacenter: "dc1", Name: "n1"}

// authority signs certificates of the agent that live for 72 hours.
type authority struct {
	t        *testing.T
	provider ca.Provider
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	open, secrets, err := ca.Split(ca.BuiltIn, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.Parse(ca.BuiltIn, open)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.Open(t.Context(), ca.BuiltIn, ca.Params{Config: config, Secrets: secrets, TrustDomain: domain, Datacenter: "dc1", Serial: 7})
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, p}
}

func (a *authority) issue() *enroll.Kept {
	a.t.Helper()
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := connect.NewAgentCSR(key, agentID, []string{"n1.example"}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	csr, id, err := connect.ParseAgentCSR(text, "consul")
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := a.provider.SignLeaf(a.t.Context(), csr, id)
	if err != nil {
		a.t.Fatal(err)
	}
	encoded, err := connect.EncodeKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &enroll.Kept{Certificate: signed, Key: encoded}
}

func (a *authority) pair() *tls.Certificate {
	a.t.Helper()
	pair, err := a.issue().Pair()
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

func (a *authority) trust() *connect.Trust {
	a.t.Helper()
	trust, err := connect.NewTrust(domain, a.provider.Root())
	if err != nil {
		a.t.Fatal(err)
	}
	return trust
}

// TestKeeper lets a certificate of three days come to its time: it is renewed between 57 and two thirds of its hundredths;
// while the servers are away it is tried again and again, before and after its end; and another root has it renewed at once.
func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := newAuthority(t), newAuthority(t)
		var mu sync.Mutex
		signer, away := old, false
		signs, changed := old.trust(), make(chan struct{})
		var renewed []*x509.Certificate
		failures := 0
		k := enroll.Keeper{
			Renew: func(context.Context) (*tls.Certificate, error) {
				mu.Lock()
				defer mu.Unlock()
				if away {
					return nil, errors.New("no server")
				}
				pair := signer.pair()
				renewed = append(renewed, pair.Leaf)
				return pair, nil
			},
			Roots: func() (*connect.Trust, <-chan struct{}) {
				mu.Lock()
				defer mu.Unlock()
				return signs, changed
			},
			Failed: func() { failures++ }, Spread: time.Minute,
		}
		k.Log = quiet()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var running sync.WaitGroup
		running.Go(func() { k.Run(ctx, old.pair()) })
		after := func(d time.Duration, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(renewed) != want {
				t.Fatalf("renewed %d times, want %d", len(renewed), want)
			}
		}
		after(40*time.Hour, 0)
		after(9*time.Hour, 1)
		mu.Lock()
		away = true
		mu.Unlock()
		after(100*time.Hour, 1)
		if failures < 50 || failures > 5000 {
			t.Errorf("tried %d times in two days", failures)
		}
		mu.Lock()
		away = false
		mu.Unlock()
		after(2*time.Minute, 2)
		mu.Lock()
		signer, signs = next, next.trust()
		close(changed)
		changed = make(chan struct{})
		mu.Unlock()
		after(2*time.Minute, 3)
		if _, err := next.trust().Verify(renewed[2:], x509.ExtKeyUsageClientAuth); err != nil {
			t.Error(err)
		}
		after(30*time.Hour, 3)
		stop()
		running.Wait()
	})
}
