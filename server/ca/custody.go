// Package ca keeps the mesh's certificate authority: the leader makes the first root, signs what agents ask
// for, and replaces the root when it is told to or when its time comes.
package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-uuid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// Config is what a cluster begins with.
type Config struct {
	Datacenter string
	// Provider and Settings are taken up once, by the first leader. The setting cluster_id makes the trust
	// domain; without it that is made at random.
	Provider string
	Settings map[string]any
	// Primary is the datacenter whose root signs, at the moment; nil, or the own one, where that is this one. Abroad
	// reaches it, when it is asked with the header that Ask returns.
	Primary func() string
	Abroad  rpc.Caller
	Ask     func() rpc.Header
	// Applied is the index of the last log entry in the store.
	Applied func() uint64
	Log     *slog.Logger
}

// Custody is a leader's care for the certificate authority. What there is to know is in the store; Custody
// itself remembers only the provider that it made of that. Its methods are for the leader and may be
// called at once.
type Custody struct {
	cfg    Config
	store  *state.Store
	caller rpc.Caller // of this server
	limit  limiter

	changing sync.Mutex    // held while the CA is changed
	seen     atomic.Uint64 // the index of the primary's roots, as they were taken over last

	mu      sync.Mutex
	present *opened
}

// opened is a provider with what it was made of.
type opened struct {
	ca.Provider
	config   *catalog.CAConfig
	keys     *catalog.CAKeys
	settings *ca.Config
	root     *catalog.Root
	chain    string // certificates that lead to roots before it, in PEM
}

// New returns the custody of what the store holds, which it changes through the verbs of caller.
func New(cfg Config, store *state.Store, caller rpc.Caller) *Custody {
	return &Custody{cfg: cfg, store: store, caller: caller}
}

// Check refuses settings that the first leader could not take up.
func (c *Config) Check() error {
	_, _, _, err := c.initial()
	return err
}

// initial reads the settings that a cluster begins with.
func (c *Config) initial() (clusterID string, open map[string]any, secrets map[string]catalog.Secret, err error) {
	raw := map[string]any{}
	for name, v := range c.Settings {
		if name != "cluster_id" && name != "ClusterID" {
			raw[name] = v
			continue
		}
		text, ok := v.(string)
		if _, err := uuid.ParseUUID(text); !ok || err != nil {
			return "", nil, nil, catalog.Errorf(catalog.Invalid, "CA setting %s %v: want a UUID", name, v)
		}
		clusterID = text
	}
	open, secrets, err = ca.Split(c.Provider, raw)
	if err == nil {
		_, err = ca.Parse(c.Provider, open)
	}
	return clusterID, open, secrets, err
}

const errNoRoot = "the CA has no root yet: the leader makes one soon after its election, or its log says why it cannot"

// open returns the provider of what the store holds.
func (c *Custody) open(ctx context.Context) (*opened, error) {
	tx := c.store.Read()
	config, keys := state.CA(tx, nil), state.CAKeys(tx, nil)
	list, _ := state.Roots(tx, nil)
	root := (&catalog.Roots{Roots: list}).Active()
	if config == nil || keys == nil || root == nil {
		return nil, catalog.Errorf(catalog.Unavailable, "%s", errNoRoot)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.present; p != nil && p.config == config && p.keys == keys && p.root == root {
		return p, nil
	}
	settings, err := ca.Parse(config.Provider, config.Config)
	if err != nil {
		return nil, err
	}
	next := &opened{config: config, keys: keys, settings: settings, root: root}
	for _, cert := range root.IntermediateCerts {
		next.chain += cert
	}
	params := ca.Params{Config: settings, Secrets: keys.Secrets, TrustDomain: connect.TrustDomain(config.ClusterID), Datacenter: c.cfg.Datacenter, Root: root.RootCert, Intermediate: keys.Intermediate}
	if next.Provider, err = ca.Open(ctx, config.Provider, params); err != nil {
		return nil, fmt.Errorf("CA provider %s: %w", config.Provider, err)
	}
	c.limit.set(settings.CSRMaxPerSecond, settings.CSRMaxConcurrent)
	c.present = next
	return next, nil
}

// Expiry tells when the active root ends, and the certificate that signs leaves. Either is zero while it is not
// known. It does not block.
func (c *Custody) Expiry() (root, signer time.Time) {
	list, _ := state.Roots(c.store.Read(), nil)
	active := (&catalog.Roots{Roots: list}).Active()
	if active == nil {
		return root, signer
	}
	root = active.NotAfter
	if !c.mu.TryLock() {
		return root, signer // a provider is being opened
	}
	defer c.mu.Unlock()
	if c.present != nil && c.present.root == active {
		if cert := c.present.Signer(); cert != nil {
			signer = cert.NotAfter
		}
	}
	return root, signer
}

// Sign signs for a service, an agent or a mesh gateway of this datacenter. Over the limits of requests the
// error has code limited.
func (c *Custody) Sign(ctx context.Context, req *api.SignRequest) (*catalog.IssuedCert, error) {
	csr, id, err := connect.ParseCSR(req.CSR)
	if err != nil {
		return nil, err
	}
	return c.sign(ctx, csr, id)
}

// SignAgent signs for an agent of this datacenter, with the names that its request has. Over the limits of requests the
// error has code limited.
func (c *Custody) SignAgent(ctx context.Context, req *api.SignRequest, domain string) (*catalog.IssuedCert, error) {
	csr, id, err := connect.ParseAgentCSR(req.CSR, domain)
	if err != nil {
		return nil, err
	}
	return c.sign(ctx, csr, id)
}

// SignServer signs for this server itself, by what the store holds: it need not lead. No request of others leads here.
func (c *Custody) SignServer(ctx context.Context, text string) (*catalog.IssuedCert, error) {
	csr, id, err := connect.ParseCSR(text)
	if err != nil {
		return nil, err
	}
	return c.issue(ctx, csr, id, connect.KindServer)
}

func (c *Custody) sign(ctx context.Context, csr *x509.CertificateRequest, id connect.ID) (*catalog.IssuedCert, error) {
	return c.issue(ctx, csr, id, connect.KindService, connect.KindAgent, connect.KindMeshGateway)
}

// issue signs for an identity of one of the kinds.
func (c *Custody) issue(ctx context.Context, csr *x509.CertificateRequest, id connect.ID, kinds ...connect.Kind) (*catalog.IssuedCert, error) {
	p, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	if domain := connect.TrustDomain(p.config.ClusterID); id.TrustDomain != domain {
		return nil, catalog.Errorf(catalog.Invalid, "certificate request of %s: this cluster's trust domain is %s", id, domain)
	}
	if id.Datacenter != c.cfg.Datacenter {
		return nil, catalog.Errorf(catalog.Invalid, "certificate request of %s: this datacenter is %s", id, c.cfg.Datacenter)
	}
	if !slices.Contains(kinds, id.Kind) {
		return nil, catalog.Errorf(catalog.Denied, "certificate request of %s: nobody may ask for the identity of a %s", id, id.Kind)
	}
	release, err := c.limit.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	signed, err := p.SignLeaf(ctx, csr, id)
	if err != nil {
		return nil, err
	}
	certs, err := connect.ParseCertificates(signed)
	if err != nil {
		return nil, err
	}
	index := c.cfg.Applied()
	return &catalog.IssuedCert{
		SerialNumber: connect.Hex(certs[0].SerialNumber.Bytes()), CertPEM: signed + p.chain, Service: id.Name, ServiceURI: id.String(),
		ValidAfter: certs[0].NotBefore, ValidBefore: certs[0].NotAfter, CreateIndex: index, ModifyIndex: index,
	}, nil
}

// write stores, if the configuration is still the one that was read.
func (c *Custody) write(ctx context.Context, w *api.CAWrite) error {
	done, _, err := api.CAStore.Call(ctx, c.caller, rpc.Header{}, w)
	if err == nil && !*done {
		err = catalog.Errorf(catalog.Conflict, "the CA's configuration was changed at the same time: read it again and repeat")
	}
	return err
}

// describe makes the catalog's entry of a root.
func describe(text, clusterID string) (*catalog.Root, error) {
	cert, err := connect.ParseCertificate(text)
	if err != nil {
		return nil, err
	}
	spec, err := connect.SpecOf(cert.PublicKey)
	if err != nil {
		return nil, err
	}
	return &catalog.Root{
		ID: connect.Fingerprint(cert), Name: "Curia mesh CA", SerialNumber: cert.SerialNumber.Uint64(), SigningKeyID: connect.Hex(cert.SubjectKeyId),
		ExternalTrustDomain: clusterID, NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), RootCert: text, Active: true,
		PrivateKeyType: spec.Type, PrivateKeyBits: spec.Bits,
	}, nil
}

// firstSerial is the number of a cluster's first root: the one that it has with Consul, which tools show.
const firstSerial = 7

// nextSerial counts on from the roots that there are. Numbers that others have chosen at random do not
// count: only the names of roots, and not their numbers, must differ.
func nextSerial(roots []*catalog.Root) uint64 {
	next := uint64(firstSerial)
	for _, r := range roots {
		if r.SerialNumber < 1<<32 {
			next = max(next, r.SerialNumber+1)
		}
	}
	return next
}

// end is when a root that is replaced now is given up: when the certificates that it has signed have ended,
// with as much time again for clocks and for those who were away.
func end(config *catalog.CAConfig, now time.Time) time.Time {
	return now.Add(2 * config.LongestLeaf).UTC()
}
