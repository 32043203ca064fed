package ca

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/go-uuid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
	"github.com/curia-mesh/curia/server/api"
)

// Maintain does what is due: it makes the first root, gives up roots whose time is over, and replaces the
// one that signs before its end. A leader calls it when it takes up its duties, and then from time to time.
func (c *Custody) Maintain(ctx context.Context) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.cfg.follows() {
		return c.follow(ctx)
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	if err := c.ascended(ctx); err != nil {
		return err
	}
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.prune(ctx), c.renew(ctx, p), p.Maintain(ctx))
}

// begin makes the trust domain and the first root of a cluster.
func (c *Custody) begin(ctx context.Context) error {
	clusterID, open, secrets, err := c.cfg.initial()
	if err != nil {
		return err
	}
	config := state.CA(c.store.Read(), nil)
	if config == nil { // first of all, so that no root is ever of a trust domain that is forgotten
		if clusterID == "" {
			if clusterID, err = uuid.GenerateUUID(); err != nil {
				return err
			}
		}
		merged := ca.Defaults()
		maps.Copy(merged, open)
		if err := c.write(ctx, &api.CAWrite{Config: &catalog.CAConfig{Provider: c.cfg.Provider, Config: merged, ClusterID: clusterID}}); err != nil {
			return err
		}
		config = state.CA(c.store.Read(), nil)
	}
	if state.CAKeys(c.store.Read(), nil) != nil {
		return nil
	}
	settings, err := ca.Parse(config.Provider, config.Config)
	if err != nil {
		return err
	}
	provider, root, err := c.make(ctx, config.Provider, settings, secrets, config.ClusterID)
	if err != nil {
		return err
	}
	next := *config
	next.State, next.LongestLeaf = settings.State, settings.LeafTTL
	err = c.write(ctx, &api.CAWrite{CAS: config.ModifyIndex, Config: &next, Keys: &catalog.CAKeys{Secrets: provider.Secrets()}, Roots: []*catalog.Root{root}})
	if err == nil {
		c.cfg.Log.Info("the mesh has its first root", "trust_domain", connect.TrustDomain(config.ClusterID), "root", root.ID, "provider", config.Provider)
	}
	return err
}

// make opens a provider with a root of its own.
func (c *Custody) make(ctx context.Context, name string, settings *ca.Config, secrets map[string]catalog.Secret, clusterID string) (ca.Provider, *catalog.Root, error) {
	list, _ := state.Roots(c.store.Read(), nil)
	provider, err := ca.Open(ctx, name, ca.Params{
		Config: settings, Secrets: secrets, TrustDomain: connect.TrustDomain(clusterID), Datacenter: c.cfg.Datacenter, Serial: nextSerial(list),
	})
	if err != nil {
		return nil, nil, err
	}
	root, err := describe(provider.Root(), clusterID)
	return provider, root, err
}

// prune gives up the roots whose time is over.
func (c *Custody) prune(ctx context.Context) error {
	tx, now := c.store.Read(), time.Now()
	config := state.CA(tx, nil)
	list, _ := state.Roots(tx, nil)
	kept := slices.DeleteFunc(slices.Clone(list), func(r *catalog.Root) bool {
		return !r.Active && (now.After(r.TrustedUntil) || now.After(r.NotAfter))
	})
	if len(kept) == len(list) {
		return nil
	}
	for i, r := range kept {
		if r.Active {
			trimmed := *r
			trimmed.IntermediateCerts = leading(r.IntermediateCerts, kept)
			kept[i] = &trimmed
		}
	}
	err := c.write(ctx, &api.CAWrite{CAS: config.ModifyIndex, Config: config, Roots: kept})
	if err == nil {
		c.cfg.Log.Info("roots that were replaced are trusted no longer", "removed", len(list)-len(kept))
	}
	return err
}

// leading keeps the certificates that lead to a root that is trusted, or to another of them.
func leading(certs []string, roots []*catalog.Root) []string {
	trusted := map[string]bool{}
	for _, r := range roots {
		trusted[r.SigningKeyID] = true
	}
	return slices.DeleteFunc(slices.Clone(certs), func(text string) bool {
		cert, err := connect.ParseCertificate(text)
		return err != nil || !trusted[connect.Hex(cert.AuthorityKeyId)]
	})
}

// late is when a root must be replaced: what it signs from then on would not live its time.
func late(r *catalog.Root, leafTTL time.Duration) time.Time {
	life := r.NotAfter.Sub(r.NotBefore)
	return r.NotAfter.Add(-max(life/10, min(4*leafTTL, life/2)))
}

// renew replaces a root that comes to its end, if this program has made it.
func (c *Custody) renew(ctx context.Context, p *opened) error {
	if time.Now().Before(late(p.root, p.settings.LeafTTL)) {
		return nil
	}
	if p.config.Provider != ca.BuiltIn || p.settings.RootCert != "" {
		c.cfg.Log.Warn("the mesh's root comes to its end: set a new one", "root", p.root.ID, "end", p.root.NotAfter)
		return nil
	}
	provider, root, err := c.make(ctx, p.config.Provider, p.settings, nil, p.config.ClusterID)
	if err != nil {
		return err
	}
	next := *p.config
	return c.rotate(ctx, p, &next, provider, root)
}
