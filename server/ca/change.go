package ca

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
	"github.com/curia-mesh/curia/server/api"
)

// Set takes up another configuration. One that brings another root lets it take over from the present one,
// which vouches for it and stays trusted until what it has signed has ended. Secrets that the request leaves
// out stay as they are, so that what was read can be written back.
func (c *Custody) Set(ctx context.Context, req *catalog.CAConfig) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	raw := maps.Clone(req.Config)
	delete(raw, "cluster_id") // of configuration files; it never changes
	delete(raw, "ClusterID")
	open, secrets, err := ca.Split(req.Provider, raw)
	if err != nil {
		return err
	}
	settings, err := ca.Parse(req.Provider, open)
	if err != nil {
		return err
	}
	present, err := c.open(ctx)
	if err != nil {
		return err
	}
	if c.cfg.follows() {
		return c.setFollower(ctx, present, req.Provider, open, settings, secrets)
	}
	next := *present.config
	next.Provider, next.Config, next.State, next.ForceWithoutCrossSigning = req.Provider, open, settings.State, req.ForceWithoutCrossSigning
	provider, root, err := c.candidate(ctx, present, req.Provider, settings, secrets)
	if err != nil {
		return err
	}
	if root.ID != present.root.ID {
		return c.rotate(ctx, present, &next, provider, root)
	}
	next.LongestLeaf = max(next.LongestLeaf, settings.LeafTTL)
	return c.write(ctx, &api.CAWrite{CAS: present.config.ModifyIndex, Config: &next, Keys: &catalog.CAKeys{Secrets: provider.Secrets()}})
}

// candidate opens the provider that a configuration asks for, with the present root unless it asks for
// another.
func (c *Custody) candidate(ctx context.Context, present *opened, name string, settings *ca.Config, secrets map[string]catalog.Secret) (ca.Provider, *catalog.Root, error) {
	if name != present.config.Provider {
		return c.make(ctx, name, settings, secrets, present.config.ClusterID)
	}
	if name == ca.BuiltIn {
		if len(secrets) == 0 && keepsRoot(present, settings) {
			secrets = present.keys.Secrets
			settings = withRoot(settings, present.root.RootCert)
		} else if sameSecret(secrets, present.keys.Secrets) && settings.RootCert == "" {
			settings = withRoot(settings, present.root.RootCert)
		}
		return c.make(ctx, name, settings, secrets, present.config.ClusterID)
	}
	merged := maps.Clone(present.keys.Secrets)
	maps.Copy(merged, secrets)
	return c.make(ctx, name, settings, merged, present.config.ClusterID)
}

// keepsRoot reports whether settings without a key go with the present root.
func keepsRoot(present *opened, settings *ca.Config) bool {
	if settings.RootCert != "" {
		return settings.RootCert == present.root.RootCert
	}
	return settings.Key == present.settings.Key || settings.Key == connect.KeySpec{Type: present.root.PrivateKeyType, Bits: present.root.PrivateKeyBits}
}

func withRoot(settings *ca.Config, root string) *ca.Config {
	out := *settings
	out.RootCert = root
	return &out
}

func sameSecret(a, b map[string]catalog.Secret) bool {
	return len(a) == len(b) && maps.Equal(a, b)
}

// maxCross is how many roots before it lead to a new one. Each makes every handshake longer; who has not heard of the roots
// for that many rotations has to hear of them first.
const maxCross = 3

// rotate lets another root sign from now on.
func (c *Custody) rotate(ctx context.Context, present *opened, config *catalog.CAConfig, provider ca.Provider, root *catalog.Root) error {
	cert, err := connect.ParseCertificate(root.RootCert)
	if err != nil {
		return err
	}
	list, _ := state.Roots(c.store.Read(), nil)
	cross, err := present.CrossSign(ctx, cert)
	switch {
	case err == nil:
		before := present.root.IntermediateCerts
		root.IntermediateCerts = append([]string{cross}, before[:min(len(before), maxCross-1)]...)
	case config.ForceWithoutCrossSigning:
		c.cfg.Log.Warn("the new root takes over without a word of the old one: connections fail until everybody knows it", "root", root.ID, "err", err)
	default:
		return catalog.Errorf(catalog.CodeOf(err), "the present root cannot vouch for the new one, nothing was changed; ForceWithoutCrossSigning does without: %w", err)
	}
	settings, err := ca.Parse(config.Provider, config.Config)
	if err != nil {
		return err
	}
	roots := []*catalog.Root{root}
	for _, r := range list {
		if r.ID == root.ID { // it signed before, and signs again
			continue
		}
		if r.Active {
			replaced := *r
			replaced.Active, replaced.TrustedUntil = false, end(present.config, time.Now())
			replaced.IntermediateCerts = nil // nothing is signed by it any more
			r = &replaced
		}
		roots = append(roots, r)
	}
	config.LongestLeaf = settings.LeafTTL
	err = c.write(ctx, &api.CAWrite{CAS: present.config.ModifyIndex, Config: config, Keys: &catalog.CAKeys{Secrets: provider.Secrets()}, Roots: roots})
	if err != nil {
		return errors.Join(err, provider.Cleanup(ctx, present.Provider))
	}
	c.cfg.Log.Info("another root signs the mesh's certificates", "root", root.ID, "before", present.root.ID, "provider", config.Provider)
	if err := present.Cleanup(ctx, provider); err != nil {
		c.cfg.Log.Warn("the provider before could not be cleaned up", "provider", present.config.Provider, "err", err)
	}
	return nil
}
