package ca

import (
	"context"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
	"github.com/curia-mesh/curia/server/api"
)

// Heir is a root that is about to take over from that of the primary datacenter.
type Heir struct {
	// Root is its certificate, in PEM, and Cross the word of the root before for it; empty while there is none.
	Root, Cross string
	provider    ca.Provider
}

// Heir makes a root for the time when this datacenter is the primary.
func (c *Custody) Heir(ctx context.Context) (*Heir, error) {
	config := state.CA(c.store.Read(), nil)
	if config == nil {
		return nil, catalog.Errorf(catalog.Unavailable, "this datacenter has no intermediate of its primary yet")
	}
	settings, err := ca.Parse(config.Provider, config.Config)
	if err != nil {
		return nil, err
	}
	provider, root, err := c.make(ctx, config.Provider, settings, nil, config.ClusterID)
	if err != nil {
		return nil, err
	}
	return &Heir{Root: root.RootCert, provider: provider}, nil
}

// Vouch signs for the root of the datacenter that takes over. Only a root that is kept here can end here.
func (c *Custody) Vouch(ctx context.Context, root string) (string, error) {
	p, err := c.open(ctx)
	if err != nil {
		return "", err
	}
	if p.config.Provider != ca.BuiltIn {
		return "", catalog.Errorf(catalog.Conflict, "the mesh's CA is that of the provider %s, which only a primary datacenter can have: set %s first", p.config.Provider, ca.BuiltIn)
	}
	cert, err := connect.ParseCertificate(root)
	if err != nil {
		return "", err
	}
	id, err := connect.IDOf(cert)
	if domain := connect.TrustDomain(p.config.ClusterID); err != nil || id.Kind != connect.KindTrustDomain || id.TrustDomain != domain || cert.CheckSignatureFrom(cert) != nil {
		return "", catalog.Errorf(catalog.Invalid, "what is to take over is no root of the trust domain %s", domain)
	}
	return p.CrossSign(ctx, cert)
}

// Ascend calls take, which makes this datacenter the primary, and lets the heir sign from then on.
func (c *Custody) Ascend(ctx context.Context, heir *Heir, take func() error) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if err := take(); err != nil {
		return err
	}
	return c.succeed(ctx, heir)
}

// ascended lets a root of its own sign where this datacenter has become the primary and still signs with an intermediate.
func (c *Custody) ascended(ctx context.Context) error {
	if keys := state.CAKeys(c.store.Read(), nil); keys == nil || keys.Intermediate == "" {
		return nil
	}
	heir, err := c.Heir(ctx)
	if err != nil {
		return err
	}
	return c.succeed(ctx, heir)
}

// succeed lets the heir sign. The roots before stay trusted until what they have signed has ended.
func (c *Custody) succeed(ctx context.Context, heir *Heir) error {
	tx := c.store.Read()
	config := state.CA(tx, nil)
	list, _ := state.Roots(tx, nil)
	keys := state.CAKeys(tx, nil)
	root, err := describe(heir.Root, config.ClusterID)
	if err != nil {
		return err
	}
	if heir.Cross != "" {
		root.IntermediateCerts = []string{heir.Cross}
	} else {
		c.cfg.Log.Warn("the root of this datacenter takes over without a word of the one before: connections fail until everybody knows it", "root", root.ID)
	}
	roots := []*catalog.Root{root}
	for _, r := range list {
		before := *r
		before.IntermediateCerts = nil
		if r.Active {
			before.Active, before.TrustedUntil = false, end(config, time.Now())
			for _, cert := range r.IntermediateCerts {
				if heir.Cross != "" && (keys == nil || cert != keys.Intermediate) {
					root.IntermediateCerts = append(root.IntermediateCerts, cert)
				}
			}
		}
		roots = append(roots, &before)
	}
	err = c.write(ctx, &api.CAWrite{CAS: config.ModifyIndex, Config: config, Keys: &catalog.CAKeys{Secrets: heir.provider.Secrets()}, Roots: roots})
	if err == nil {
		c.cfg.Log.Info("the root of this datacenter signs the mesh's certificates", "root", root.ID)
	}
	return err
}
