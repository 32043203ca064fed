package ca_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/ca"
	"github.com/curia-mesh/curia/server/endpoint"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/handler"
)

const (
	cluster = "11111111-2222-3333-4444-555555555555"
	domain  = cluster + ".consul"
)

// leader is a lone leader, whose log is the call of Propose.
type leader struct {
	*endpoint.Registry
	*ca.Custody
	store  *state.Store
	index  uint64
	log    bytes.Buffer
	lost   bool   // proposals fail
	name   string // of the datacenter; empty is dc1
	abroad *link  // to the primary datacenter; nil in that
	// entries are the log.
	entries [][]byte
}

func newLeader(settings map[string]any) *leader {
	l := &leader{store: state.New()}
	l.lead(settings)
	return l
}

// lead begins a term over what the store holds.
func (l *leader) lead(settings map[string]any) {
	l.Registry = endpoint.New(l, l.store)
	handler.Register(l.Registry, handler.Deps{Datacenter: l.Datacenter(), Store: l.store, Mesh: true})
	cfg := ca.Config{
		Datacenter: l.Datacenter(), Provider: "consul", Settings: settings, Applied: l.Applied, Log: slog.New(slog.NewTextHandler(&l.log, nil)),
	}
	if l.abroad != nil {
		cfg.Primary, cfg.Abroad = func() string { return "dc1" }, l.abroad
		cfg.Ask = func() rpc.Header { return rpc.Header{Datacenter: "dc1"} }
	}
	l.Custody = ca.New(cfg, l.store, l.Registry)
	endpoint.AddAction(l.Registry, endpoint.Action[api.IntermediateRequest, string]{
		Method: api.CASignIntermediate, Open: "it is a test",
		Do: func(ctx context.Context, _ rpc.Header, req *api.IntermediateRequest) (*string, rpc.Meta, error) {
			rep, err := l.SignIntermediate(ctx, req)
			return rep, rpc.Meta{}, err
		},
	})
}

func (l *leader) Propose(_ context.Context, entry []byte) (any, error) {
	if l.lost {
		return nil, catalog.Errorf(catalog.NoLeader, "no cluster leader")
	}
	l.index++
	l.entries = append(l.entries, entry)
	tx := l.store.Write(l.index)
	reply, err := l.Apply(tx, entry)
	if err != nil {
		tx.Abort()
		return nil, err
	}
	tx.Commit()
	return reply, nil
}

func (l *leader) Datacenter() string                { return cmp.Or(l.name, "dc1") }
func (l *leader) Primary() string                   { return l.Datacenter() }
func (l *leader) Leading() bool                     { return true }
func (l *leader) Leader() (rpc.Caller, error)       { return nil, nil }
func (l *leader) Remote(string) (rpc.Caller, error) { return nil, nil }
func (l *leader) Confirm(context.Context) error     { return nil }
func (l *leader) Leased() bool                      { return true }
func (l *leader) Contact() (time.Duration, bool)    { return 0, true }
func (l *leader) CaughtUp() bool                    { return true }
func (l *leader) Applied() uint64                   { return l.index }

func (l *leader) AwaitLeader(context.Context, rpc.Caller, time.Time) error {
	if l.lost {
		return catalog.Errorf(catalog.NoLeader, "no cluster leader")
	}
	return nil
}

func (l *leader) Authorize(context.Context, string) (acl.Authorizer, error) {
	return acl.AllowAll(), nil
}

func (l *leader) maintain(t *testing.T) {
	t.Helper()
	if err := l.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (l *leader) set(t *testing.T, raw map[string]any) {
	t.Helper()
	if err := l.Set(t.Context(), &catalog.CAConfig{Provider: "consul", Config: raw}); err != nil {
		t.Fatal(err)
	}
}

func (l *leader) roots(t *testing.T) (*catalog.Roots, uint64) {
	t.Helper()
	rep, meta, err := api.CARoots.Call(t.Context(), l.Registry, rpc.Header{}, &api.Nothing{})
	if err != nil {
		t.Fatal(err)
	}
	return rep, meta.Index
}

func (l *leader) config(t *testing.T) *catalog.CAConfig {
	t.Helper()
	rep, _, err := api.CAConfig.Call(t.Context(), l.Registry, rpc.Header{}, &api.Nothing{})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// newKeyPEM is a private key of the operator's.
func newKeyPEM(t *testing.T) string {
	t.Helper()
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := connect.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func request(t *testing.T, id connect.ID) (crypto.Signer, *api.SignRequest) {
	t.Helper()
	key, err := connect.GenerateKey(connect.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := connect.NewCSR(key, id)
	if err != nil {
		t.Fatal(err)
	}
	return key, &api.SignRequest{CSR: text}
}

func TestFirstRoot(t *testing.T) {
	l := newLeader(map[string]any{"cluster_id": cluster, "leaf_cert_ttl": "2h"})
	if _, err := l.Sign(t.Context(), &api.SignRequest{}); catalog.CodeOf(err) != catalog.Invalid {
		t.Errorf("nothing was signed: %v", err)
	}
	if _, req := request(t, connect.Service(domain, "dc1", "web")); true {
		if _, err := l.Sign(t.Context(), req); catalog.CodeOf(err) != catalog.Unavailable {
			t.Errorf("before there is a root: %v", err)
		}
	}
	l.maintain(t)
	rep, index := l.roots(t)
	if len(rep.Roots) != 1 || rep.TrustDomain != domain || rep.ActiveRootID != rep.Roots[0].ID || index != l.index {
		t.Fatalf("got %+v at %d", rep, index)
	}
	r := rep.Roots[0]
	if r.SerialNumber != 7 || r.PrivateKeyType != "ec" || r.PrivateKeyBits != 256 || r.ExternalTrustDomain != cluster || !r.Active {
		t.Errorf("got %+v", r)
	}
	c := l.config(t)
	if fmt.Sprint(c.Config) != "map[IntermediateCertTTL:8760h LeafCertTTL:2h RootCertTTL:87600h]" || c.Provider != "consul" || c.CreateIndex >= c.ModifyIndex {
		t.Errorf("got %+v", c)
	}
	// Nothing happens when there is nothing to do, nor to another leader with other settings.
	before := l.index
	l.maintain(t)
	l.lead(map[string]any{"leaf_cert_ttl": "9h"})
	l.maintain(t)
	if again, _ := l.roots(t); l.index != before || again.ActiveRootID != rep.ActiveRootID {
		t.Error("what was there was made again")
	}
	if root, signer := l.Expiry(); !root.Equal(r.NotAfter) || !signer.Equal(r.NotAfter) {
		t.Errorf("the root ends at %v, what signs at %v, want %v", root, signer, r.NotAfter)
	}
}

// TestFirstRootResumes: a leader that is lost between the two writes has a successor of the same trust
// domain.
func TestFirstRootResumes(t *testing.T) {
	l := newLeader(nil)
	l.lost = true
	if err := l.Maintain(t.Context()); catalog.CodeOf(err) != catalog.NoLeader {
		t.Fatal(err)
	}
	l.lost = false
	config := &catalog.CAConfig{Provider: "consul", ClusterID: cluster}
	if done, _, err := api.CAStore.Call(t.Context(), l.Registry, rpc.Header{}, &api.CAWrite{Config: config}); err != nil || !*done {
		t.Fatal(err)
	}
	l.maintain(t)
	if rep, _ := l.roots(t); rep.TrustDomain != domain || len(rep.Roots) != 1 {
		t.Errorf("got %+v", rep)
	}
}

func TestSign(t *testing.T) {
	l := newLeader(map[string]any{"cluster_id": cluster})
	l.maintain(t)
	rep, _ := l.roots(t)
	web := connect.Service(domain, "dc1", "web")
	_, req := request(t, web)
	before := l.index
	cert, err := l.Sign(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := connect.ParseCertificate(cert.CertPEM)
	if err != nil || cert.ServiceURI != web.String() || cert.Service != "web" || cert.SerialNumber != connect.Hex(leaf.SerialNumber.Bytes()) || cert.PrivateKeyPEM != "" {
		t.Errorf("got %+v, %v", cert, err)
	}
	if connect.Hex(leaf.AuthorityKeyId) != rep.Roots[0].SigningKeyID {
		t.Error("it is not signed by the root")
	}
	if l.index != before {
		t.Error("signing wrote to the log")
	}
	f := func(code catalog.Code, why string, id connect.ID) {
		t.Helper()
		_, req := request(t, id)
		if _, err := l.Sign(t.Context(), req); catalog.CodeOf(err) != code || !strings.Contains(err.Error(), why) {
			t.Errorf("want %s %q, got %v", code, why, err)
		}
	}
	f(catalog.Invalid, "trust domain", connect.Service("99999999-2222-3333-4444-555555555555.consul", "dc1", "web"))
	f(catalog.Invalid, "datacenter", connect.Service(domain, "dc2", "web"))
	f(catalog.Denied, "identity of a server", connect.ID{Kind: connect.KindServer, TrustDomain: domain, Datacenter: "dc1"})
	f(catalog.Invalid, "datacenter", connect.ID{Kind: connect.KindTrustDomain, TrustDomain: domain})
}

// TestSettings: a change that keeps the root, and those that are refused.
func TestSettings(t *testing.T) {
	l := newLeader(nil)
	l.maintain(t)
	before, index := l.roots(t)
	l.set(t, map[string]any{"LeafCertTTL": "48h", "test_state": map[string]any{"foo": "bar"}})
	l.set(t, map[string]any{"LeafCertTTL": "48h", "PrivateKey": "", "cluster_id": cluster, "test_state": map[string]any{"foo": "bar"}})
	c := l.config(t)
	if after, now := l.roots(t); after.ActiveRootID != before.ActiveRootID || now != index || after.TrustDomain != before.TrustDomain {
		t.Error("the root changed")
	}
	if c.Config["LeafCertTTL"] != "48h" || c.State["foo"] != "bar" {
		t.Errorf("got %+v", c)
	}
	_, req := request(t, connect.Service(before.TrustDomain, "dc1", "web"))
	cert, err := l.Sign(t.Context(), req)
	if err != nil || cert.ValidBefore.Sub(cert.ValidAfter) != 48*time.Hour+time.Minute {
		t.Errorf("got %+v, %v", cert, err)
	}
	for _, bad := range []*catalog.CAConfig{
		{}, {Provider: "paper"}, {Provider: "aws-pca"}, {Provider: "consul", Config: map[string]any{"LeafCertTTL": "1s"}},
		{Provider: "consul", Config: map[string]any{"PrivateKey": "canary"}}, {Provider: "vault", Config: map[string]any{"Address": "http://127.0.0.1:1"}},
		{Provider: "consul", Config: map[string]any{"RootCert": "canary"}},
	} {
		if err := l.Set(t.Context(), bad); catalog.CodeOf(err) != catalog.Invalid || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if again := l.config(t); again.ModifyIndex != c.ModifyIndex {
		t.Error("what was refused was stored")
	}
}

// TestRootKey: what brings another root, and what does not.
func TestRootKey(t *testing.T) {
	l := newLeader(nil)
	l.maintain(t)
	rep, _ := l.roots(t)
	changes := func(want bool, raw map[string]any) {
		t.Helper()
		before := rep.ActiveRootID
		l.set(t, raw)
		rep, _ = l.roots(t)
		if got := rep.ActiveRootID != before; got != want {
			t.Errorf("another root: %v, want %v", got, want)
		}
	}
	key := newKeyPEM(t)
	changes(true, map[string]any{"PrivateKey": key})
	changes(false, map[string]any{"PrivateKey": key, "LeafCertTTL": "3h"})
	changes(false, map[string]any{"LeafCertTTL": "4h"})
	changes(true, map[string]any{"PrivateKeyBits": 384.0})
	changes(false, map[string]any{"PrivateKeyBits": 384.0, "LeafCertTTL": "3h"})
	changes(false, map[string]any{"PrivateKeyBits": 384.0, "RootCert": rep.Active().RootCert})
	changes(true, map[string]any{})
	if len(rep.Roots) != 4 {
		t.Errorf("%d roots are trusted, want 4", len(rep.Roots))
	}
	serials := map[uint64]bool{}
	for _, r := range rep.Roots {
		serials[r.SerialNumber] = true
	}
	if len(serials) != 4 {
		t.Errorf("serial numbers %v", serials)
	}
}

// TestOldRootsGo: a root that was replaced is given up after twice the longest life of its leaves.
func TestOldRootsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeader(nil)
		l.maintain(t)
		first, _ := l.roots(t)
		l.set(t, map[string]any{"LeafCertTTL": "1h"}) // leaves of 72 h are about already
		l.set(t, map[string]any{"LeafCertTTL": "1h", "PrivateKey": newKeyPEM(t)})
		l.set(t, map[string]any{"LeafCertTTL": "1h", "PrivateKey": newKeyPEM(t)})
		count := func(want int) {
			t.Helper()
			l.maintain(t)
			if rep, _ := l.roots(t); len(rep.Roots) != want || len(rep.Active().IntermediateCerts) != want-1 {
				t.Errorf("%d roots, %d certificates lead to old ones, want %d roots", len(rep.Roots), len(rep.Active().IntermediateCerts), want)
			}
		}
		count(3)
		time.Sleep(2*time.Hour + time.Second)
		l.maintain(t)
		if rep, _ := l.roots(t); len(rep.Roots) != 2 {
			t.Errorf("%d roots, want 2", len(rep.Roots))
		}
		time.Sleep(144 * time.Hour)
		count(1)
		if rep, _ := l.roots(t); rep.ActiveRootID == first.ActiveRootID {
			t.Error("the first root signs")
		}
	})
}

// TestManyRotations: however often the root is replaced in a short time, leaves bring few certificates along, and roots that
// sign no more none.
func TestManyRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeader(nil)
		l.maintain(t)
		const n = 10
		for range n {
			l.set(t, map[string]any{"PrivateKey": newKeyPEM(t)})
		}
		rep, _ := l.roots(t)
		if len(rep.Roots) != n+1 {
			t.Errorf("%d roots are trusted, want %d", len(rep.Roots), n+1)
		}
		for _, r := range rep.Roots {
			if want := map[bool]int{true: 3, false: 0}[r.Active]; len(r.IntermediateCerts) != want {
				t.Errorf("a root, active %t, leads to %d others, want %d", r.Active, len(r.IntermediateCerts), want)
			}
		}
	})
}

// TestRootsEnd: a root that comes to its end is replaced in time.
func TestRootsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeader(map[string]any{"leaf_cert_ttl": "1h", "intermediate_cert_ttl": "100h", "root_cert_ttl": "100h"})
		l.maintain(t)
		first, _ := l.roots(t)
		time.Sleep(89 * time.Hour)
		l.maintain(t)
		if rep, _ := l.roots(t); rep.ActiveRootID != first.ActiveRootID {
			t.Error("the root was replaced too early")
		}
		time.Sleep(time.Hour)
		l.maintain(t)
		if rep, _ := l.roots(t); rep.ActiveRootID == first.ActiveRootID || len(rep.Roots) != 2 {
			t.Error("the root was not replaced")
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeader(map[string]any{"csr_max_per_second": 10})
		l.maintain(t)
		rep, _ := l.roots(t)
		_, req := request(t, connect.Service(rep.TrustDomain, "dc1", "web"))
		signed, refused := 0, 0
		results := make(chan error)
		start := time.Now()
		for range 20 {
			go func() { _, err := l.Sign(t.Context(), req); results <- err }()
		}
		for range 20 {
			if err := <-results; err == nil {
				signed++
			} else if catalog.CodeOf(err) == catalog.Limited {
				refused++
			} else {
				t.Error(err)
			}
		}
		if took := time.Since(start); signed != 6 || refused != 14 || took != 500*time.Millisecond { // one at once, then one each 100 ms
			t.Errorf("%d signed, %d refused in %v", signed, refused, took)
		}
		time.Sleep(time.Second)
		if _, err := l.Sign(t.Context(), req); err != nil {
			t.Error(err)
		}
		l.set(t, map[string]any{"CSRMaxPerSecond": 0})
		for range 100 {
			if _, err := l.Sign(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 1500*time.Millisecond {
			t.Errorf("requests waited without a limit: %v", took)
		}
	})
}

// TestKeyIsNowhere: the CA's key is in the log and in snapshots, and comes back from there; nothing else
// shows it.
func TestKeyIsNowhere(t *testing.T) {
	l := newLeader(nil)
	l.maintain(t)
	key := newKeyPEM(t)
	l.set(t, map[string]any{"PrivateKey": key})
	secret := strings.Split(key, "\n")[1]
	keys := state.CAKeys(l.store.Read(), nil)
	if got := keys.Secrets["PrivateKey"].Reveal(); got != key {
		t.Fatalf("the store has another key")
	}
	shown, err := json.Marshal(keys)
	if err != nil {
		t.Error(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "keys", keys, "key", keys.Secrets["PrivateKey"])
	for _, text := range []string{string(shown), logged.String(), fmt.Sprintf("%v %+v %#v %s", keys, keys, keys, keys.Secrets), l.log.String(), fmt.Sprint(l.config(t))} {
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprint([]byte(secret)[:8])) {
			t.Errorf("the key is in %s", text)
		}
	}
	if _, err := rpc.Encode(keys); err == nil {
		t.Error("the key can be sent")
	}
	var saved bytes.Buffer
	if err := fsm.Save(&saved, l.store.Read(), l.index); err != nil {
		t.Fatal(err)
	}
	again := state.New()
	if _, _, err := fsm.Load(bytes.NewReader(saved.Bytes()), again); err != nil {
		t.Fatal(err)
	}
	before, _ := l.roots(t)
	l.store = again
	l.lead(nil)
	after, _ := l.roots(t)
	a, _ := json.Marshal(before)
	b, _ := json.Marshal(after)
	if !bytes.Equal(a, b) {
		t.Errorf("roots were\n%s\nand are\n%s", a, b)
	}
	_, req := request(t, connect.Service(after.TrustDomain, "dc1", "web"))
	if _, err := l.Sign(t.Context(), req); err != nil {
		t.Error(err)
	}
	l.maintain(t)
	if rep, _ := l.roots(t); rep.ActiveRootID != before.ActiveRootID || len(rep.Roots) != 2 {
		t.Error("the snapshot's CA was not kept")
	}
}

// party is a service that follows the roots, each at its own pace.
type party struct {
	id    connect.ID
	pair  *tls.Certificate
	trust *connect.Trust
	// When it learns of the next root, and when it has a new leaf after that.
	learns, renews time.Time
}

func (p *party) Certificate() (*tls.Certificate, error) { return p.pair, nil }
func (p *party) Trust() (*connect.Trust, error)         { return p.trust, nil }

func (p *party) learn(t *testing.T, l *leader) {
	rep, _ := l.roots(t)
	var roots []string
	for _, r := range rep.Roots {
		roots = append(roots, r.RootCert)
	}
	var err error
	if p.trust, err = connect.NewTrust(rep.TrustDomain, roots...); err != nil {
		t.Fatal(err)
	}
}

func (p *party) renew(t *testing.T, l *leader) {
	key, req := request(t, p.id)
	cert, err := l.Sign(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := connect.ParseCertificates(cert.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	p.pair = &tls.Certificate{PrivateKey: key}
	for _, c := range chain {
		p.pair.Certificate = append(p.pair.Certificate, c.Raw)
	}
}

func handshake(client, server *party) error {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { // ends with the pipe
		conn := tls.Server(far, connect.ServerTLS(server))
		_, err := conn.Write([]byte("x"))
		far.Close()
		served <- err
	}()
	_, err := tls.Client(near, connect.ClientTLS(client, server.id)).Read(make([]byte, 1))
	near.Close()
	return errors.Join(err, <-served)
}

// TestRotation: services connect to one another all the time while the root is replaced twice. They learn
// of the new root and get new certificates one after the other, and one of them never does.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeader(nil)
		l.maintain(t)
		rep, _ := l.roots(t)
		random := rand.New(rand.NewPCG(1, 2))
		var parties []*party
		for i := range 6 {
			p := &party{id: connect.Service(rep.TrustDomain, "dc1", fmt.Sprintf("s%d", i))}
			p.learn(t, l)
			p.renew(t, l)
			parties = append(parties, p)
		}
		handshakes := 0
		run := func(seconds int) {
			for range seconds {
				time.Sleep(time.Second)
				for _, p := range parties[1:] { // the first one sleeps through it all
					if now := time.Now(); !p.learns.IsZero() && now.After(p.learns) {
						p.learn(t, l)
						p.learns = time.Time{}
					} else if !p.renews.IsZero() && now.After(p.renews) {
						p.renew(t, l)
						p.renews = time.Time{}
					}
				}
				for range 3 {
					client, server := parties[random.IntN(6)], parties[random.IntN(6)]
					if err := handshake(client, server); err != nil {
						t.Fatalf("after %d handshakes, %s to %s: %v", handshakes, client.id, server.id, err)
					}
					handshakes++
				}
			}
		}
		run(20)
		for range 2 {
			l.set(t, map[string]any{"PrivateKey": newKeyPEM(t)})
			for _, p := range parties {
				p.learns = time.Now().Add(time.Duration(random.IntN(30)) * time.Second)
				p.renews = p.learns.Add(time.Duration(random.IntN(30)) * time.Second)
			}
			run(45) // some are not done yet when the next one comes
		}
		run(60)
		if rep, _ := l.roots(t); len(rep.Roots) != 3 {
			t.Errorf("%d roots are trusted, want 3", len(rep.Roots))
		}
		t.Log(handshakes, "handshakes")
	})
}
