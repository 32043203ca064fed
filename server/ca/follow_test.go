package ca_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// link leads to a primary datacenter, whose clock may be ahead.
type link struct {
	to    *leader
	cut   bool
	ahead time.Duration
}

func (l *link) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	if l.cut {
		return rpc.Answer{}, catalog.Errorf(catalog.NoPath, "No path to datacenter %q", call.Header.Datacenter)
	}
	here := *call
	here.Header.Datacenter = ""
	answer, err := l.to.Registry.Call(ctx, &here)
	if signed, ok := answer.Value().(*string); ok && err == nil && l.ahead != 0 && call.Method == api.CASignIntermediate.Name {
		answer.Body = rpc.NewBody(l.to.signedAt(*signed, l.ahead), nil)
	}
	return answer, err
}

// signedAt is a certificate as the root would have signed it by a clock that is ahead.
func (l *leader) signedAt(text string, ahead time.Duration) *string {
	cert, _ := connect.ParseCertificate(text)
	list, _ := state.Roots(l.store.Read(), nil)
	root, _ := connect.ParseCertificate(list[0].RootCert)
	key, _ := connect.ParseKey(state.CAKeys(l.store.Read(), nil).Secrets["PrivateKey"].Reveal())
	cert.NotBefore, cert.NotAfter = cert.NotBefore.Add(ahead), cert.NotAfter.Add(ahead)
	der, err := x509.CreateCertificate(rand.Reader, cert, root, cert.PublicKey, key)
	if err != nil {
		panic(err)
	}
	text = connect.EncodeCertificate(der)
	return &text
}

// pair is a primary datacenter with its root, and a secondary one that has not asked it yet.
func pair(t *testing.T, settings, secondary map[string]any) (one, two *leader) {
	t.Helper()
	one = newLeader(settings)
	one.maintain(t)
	two = &leader{store: state.New(), index: 10, name: "dc2", abroad: &link{to: one}}
	two.lead(secondary)
	return one, two
}

// chain is a certificate of a service of the leader's datacenter.
func (l *leader) chain(t *testing.T) ([]*x509.Certificate, error) {
	t.Helper()
	rep, _ := l.roots(t)
	_, req := request(t, connect.Service(rep.TrustDomain, l.Datacenter(), "web"))
	issued, err := l.Sign(t.Context(), req)
	if err != nil {
		return nil, err
	}
	return connect.ParseCertificates(issued.CertPEM)
}

// trusts verifies with the roots that a datacenter knows.
func (l *leader) trusts(t *testing.T, chain []*x509.Certificate) error {
	t.Helper()
	rep, _ := l.roots(t)
	var texts []string
	for _, r := range rep.Roots {
		texts = append(texts, r.RootCert)
	}
	trust, err := connect.NewTrust(rep.TrustDomain, texts...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = trust.Verify(chain, x509.ExtKeyUsageServerAuth)
	return err
}

func (l *leader) intermediate(t *testing.T) string {
	t.Helper()
	keys := state.CAKeys(l.store.Read(), nil)
	if keys == nil {
		t.Fatal("there is no intermediate")
	}
	return keys.Intermediate
}

// TestFollower: a secondary datacenter makes no root of its own, signs below the primary's, renews what it signs with at
// half of its life, and writes nothing while there is nothing to do.
func TestFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := pair(t, map[string]any{"cluster_id": cluster, "intermediate_cert_ttl": "100h"}, map[string]any{"leaf_cert_ttl": "2h"})
		two.abroad.cut = true
		if err := two.Maintain(t.Context()); catalog.CodeOf(err) != catalog.NoPath {
			t.Fatalf("cut off: %v", err)
		}
		if rep, _ := two.roots(t); len(rep.Roots) > 0 {
			t.Fatalf("it made a root: %+v", rep)
		}
		two.abroad.cut = false
		two.maintain(t)
		chain, err := two.chain(t)
		if err != nil || one.trusts(t, chain) != nil || two.trusts(t, chain) != nil {
			t.Fatalf("%v %v", err, one.trusts(t, chain))
		}
		if life := time.Until(chain[0].NotAfter); life.Round(time.Minute) != 2*time.Hour {
			t.Errorf("a leaf lives %v: the settings of its own datacenter count", life)
		}
		index, first := two.index, two.intermediate(t)
		two.maintain(t)
		time.Sleep(49 * time.Hour)
		two.maintain(t)
		if two.index != index {
			t.Errorf("it wrote %d entries of nothing new", two.index-index)
		}
		time.Sleep(2 * time.Hour)
		two.maintain(t)
		if two.intermediate(t) == first {
			t.Error("it was not renewed at half of its life")
		}
	})
}

// TestFollowerCutOff: one that is cut off signs until its intermediate ends, then says who must do what, and signs again
// when the primary is back.
func TestFollowerCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := pair(t, map[string]any{"intermediate_cert_ttl": "100h"}, map[string]any{"leaf_cert_ttl": "2h"})
		two.maintain(t)
		two.abroad.cut = true
		time.Sleep(99 * time.Hour)
		if err := two.Maintain(t.Context()); err == nil {
			t.Error("nobody is told that it cannot be renewed")
		}
		chain, err := two.chain(t)
		if err != nil || one.trusts(t, chain) != nil {
			t.Fatalf("%v", err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := two.chain(t); catalog.CodeOf(err) != catalog.Unavailable || !strings.Contains(err.Error(), "reaches the primary datacenter") {
			t.Errorf("after the end: %v", err)
		}
		two.abroad.cut = false
		two.maintain(t)
		if chain, err = two.chain(t); err != nil || one.trusts(t, chain) != nil {
			t.Errorf("healed: %v", err)
		}
	})
}

// TestFollowerClocks: what a primary has signed whose clock is ahead, or far behind, is not taken up, and the error says which clocks
// to set; what there is goes on signing. It is healed with the clocks.
func TestFollowerClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := pair(t, map[string]any{"intermediate_cert_ttl": "100h"}, map[string]any{"leaf_cert_ttl": "2h"})
		refused := func(ahead time.Duration, want string) {
			t.Helper()
			two.abroad.ahead = ahead
			if err := two.Maintain(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "set the clocks of this datacenter or of the primary's servers right") {
				t.Errorf("%v: %v, want %q", ahead, err, want)
			}
		}
		refused(time.Hour, "it begins on 2000-01-01T00:59:00Z, which here is to come")
		refused(-101*time.Hour, "it has ended on 1999-12-31T23:00:00Z")
		if state.CAKeys(two.store.Read(), nil) != nil {
			t.Error("it was taken up")
		}
		two.abroad.ahead = -time.Hour // which is no hindrance
		two.maintain(t)
		first := two.intermediate(t)
		time.Sleep(50 * time.Hour)
		refused(time.Hour, "which here is to come")
		if chain, err := two.chain(t); err != nil || one.trusts(t, chain) != nil || two.intermediate(t) != first {
			t.Errorf("it does not go on: %v", err)
		}
		two.abroad.ahead = 0
		two.maintain(t)
		if chain, err := two.chain(t); err != nil || one.trusts(t, chain) != nil || two.intermediate(t) == first {
			t.Errorf("healed: %v", err)
		}
	})
}

// TestFollowerRotation: when the primary has another root the secondary is signed anew, and what it signed before stays
// good in both until it ends.
func TestFollowerRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := pair(t, map[string]any{"leaf_cert_ttl": "2h"}, map[string]any{"leaf_cert_ttl": "2h"})
		two.maintain(t)
		old, err := two.chain(t)
		if err != nil {
			t.Fatal(err)
		}
		one.set(t, map[string]any{"PrivateKeyType": "ec", "PrivateKeyBits": 384, "LeafCertTTL": "2h"})
		fresh, err := one.chain(t)
		if err != nil || two.trusts(t, fresh) != nil {
			t.Errorf("the secondary does not know the new root yet, and the old one does not vouch for it: %v", err)
		}
		waiting, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		two.Await(waiting)
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it heard of the new root after %v", took)
		}
		two.maintain(t)
		chain, err := two.chain(t)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []*leader{one, two} {
			for _, c := range [][]*x509.Certificate{old, fresh, chain} {
				if err := at.trusts(t, c); err != nil {
					t.Errorf("%s: %v", at.Datacenter(), err)
				}
			}
		}
		time.Sleep(5 * time.Hour)
		one.maintain(t)
		two.maintain(t)
		if rep, _ := two.roots(t); len(rep.Roots) != 1 {
			t.Errorf("it trusts %d roots", len(rep.Roots))
		}
	})
}

// TestFollowerRefuses: what the primary says is not believed where it cannot be right, and what is asked of the wrong
// datacenter says which one.
func TestFollowerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := pair(t, nil, nil)
		two.maintain(t)
		f := func(err error, want string) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: want %q", err, want)
			}
		}
		anew := newLeader(nil)
		anew.maintain(t)
		two.abroad.to = anew
		index := two.index
		f(two.Maintain(t.Context()), "Was the primary made anew")
		if two.index != index {
			t.Error("it took something over")
		}
		if chain, err := two.chain(t); err != nil || one.trusts(t, chain) != nil {
			t.Errorf("it signs no more: %v", err)
		}
		rep, _ := one.roots(t)
		key, err := connect.GenerateKey(connect.DefaultKey)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := connect.NewCSR(key, connect.ID{Kind: connect.KindTrustDomain, TrustDomain: rep.TrustDomain})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(at *leader, csr, from string) error {
			_, err := at.SignIntermediate(t.Context(), &api.IntermediateRequest{CSR: csr, Datacenter: from})
			return err
		}
		f(ask(two, csr, "dc1"), "datacenters dc2 and dc1 each have the other as primary_datacenter")
		f(ask(two, csr, "dc3"), "set primary_datacenter to that on the servers of dc3")
		f(ask(one, csr, "dc1"), "give one of them another name")
		f(ask(anew, csr, "dc2"), "an intermediate is for the trust domain")
		_, leaf := request(t, connect.Service(rep.TrustDomain, "dc2", "web"))
		f(ask(one, leaf.CSR, "dc2"), "an intermediate is for the trust domain")
		f(two.Set(t.Context(), &catalog.CAConfig{Provider: "consul", Config: map[string]any{"PrivateKey": newKeyPEM(t)}}), "primary datacenter dc1")
		two.set(t, map[string]any{"LeafCertTTL": "3h"})
		if chain, err := two.chain(t); err != nil || time.Until(chain[0].NotAfter).Round(time.Minute) != 3*time.Hour {
			t.Errorf("%v", err)
		}
	})
}
