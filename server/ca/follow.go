package ca

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/ca"
	"github.com/curia-mesh/curia/server/api"
)

// follows reports whether another datacenter has the root.
func (c *Config) follows() bool {
	return c.Primary != nil && c.Primary() != c.Datacenter
}

// primaryTime bounds a question to the primary datacenter.
const primaryTime = 30 * time.Second

// follow brings the roots, and the intermediate that signs here, in line with the primary's. While that cannot be
// reached, what there is goes on signing.
func (c *Custody) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, primaryTime)
	defer cancel()
	theirs, meta, err := api.CARoots.Call(ctx, c.cfg.Abroad, c.cfg.Ask(), &api.Nothing{})
	if err != nil {
		return catalog.Errorf(catalog.CodeOf(err), "the roots of the primary datacenter %s: %w", c.cfg.Primary(), err)
	}
	active := theirs.Active()
	if active == nil {
		return catalog.Errorf(catalog.Unavailable, "the primary datacenter %s has no root yet: its leader makes one soon, or its log says why it cannot; if it has a primary itself, set primary_datacenter to that on the servers of %s", c.cfg.Primary(), c.cfg.Datacenter)
	}
	clusterID := strings.TrimSuffix(theirs.TrustDomain, connect.TrustDomain(""))
	tx := c.store.Read()
	config, keys := state.CA(tx, nil), state.CAKeys(tx, nil)
	if config != nil && config.ClusterID != clusterID && keys != nil && !c.accepted(tx, clusterID) {
		return c.foreign(config.ClusterID, clusterID)
	}
	c.seen.Store(meta.Index)
	if config == nil || config.ClusterID != clusterID {
		var replaced uint64
		if config != nil {
			replaced = config.ModifyIndex
		}
		if config, err = c.firstFollower(clusterID); err != nil {
			return err
		}
		config.ModifyIndex = replaced
	}
	if !signs(keys, active) {
		return c.renewIntermediate(ctx, config, theirs)
	}
	roots := withIntermediate(theirs, keys.Intermediate)
	if list, _ := state.Roots(tx, nil); sameRoots(list, roots) {
		return nil
	}
	return c.write(ctx, &api.CAWrite{CAS: config.ModifyIndex, Config: config, Roots: roots})
}

// accepted reports whether the operator has let the primary of a trust domain take the place of what is here.
func (c *Custody) accepted(tx *state.Txn, clusterID string) bool {
	ruler := state.Ruler(tx, nil)
	return ruler != nil && ruler.Datacenter == c.cfg.Primary() && ruler.ClusterID == clusterID
}

// foreign refuses a primary of another trust domain than this datacenter has certificates of.
func (c *Custody) foreign(own, theirs string) error {
	return catalog.Errorf(catalog.Conflict, "this datacenter signs for the trust domain %s, and its primary datacenter %s for %s: nothing is taken over. "+
		"Was the primary made anew, restore its snapshot there; had this datacenter a mesh of its own before, whose certificates are no good any more then, let them go with: curia operator federation accept",
		connect.TrustDomain(own), c.cfg.Primary(), connect.TrustDomain(theirs))
}

// firstFollower is the configuration that a datacenter begins with whose root is elsewhere.
func (c *Custody) firstFollower(clusterID string) (*catalog.CAConfig, error) {
	_, open, _, err := c.cfg.initial()
	if err != nil {
		return nil, err
	}
	if c.cfg.Provider != ca.BuiltIn {
		return nil, catalog.Errorf(catalog.Invalid, "connect.ca_provider %q: only the primary datacenter can have it: this one keeps its intermediate itself, with %q", c.cfg.Provider, ca.BuiltIn)
	}
	delete(open, "RootCert")
	merged := ca.Defaults()
	maps.Copy(merged, open)
	return &catalog.CAConfig{Provider: c.cfg.Provider, Config: merged, ClusterID: clusterID}, nil
}

// signs reports whether the intermediate is one of the root's, and need not be renewed yet.
func signs(keys *catalog.CAKeys, root *catalog.Root) bool {
	if keys == nil || keys.Intermediate == "" {
		return false
	}
	cert, err := connect.ParseCertificate(keys.Intermediate)
	return err == nil && connect.Hex(cert.AuthorityKeyId) == root.SigningKeyID && time.Now().Before(ca.Renewal(cert))
}

// renewIntermediate has the primary sign an intermediate for a new key, and takes it up.
func (c *Custody) renewIntermediate(ctx context.Context, config *catalog.CAConfig, theirs *catalog.Roots) error {
	settings, err := ca.Parse(config.Provider, config.Config)
	if err != nil {
		return err
	}
	active := theirs.Active()
	secrets, csr, err := ca.RequestIntermediate(settings.Key, theirs.TrustDomain)
	if err != nil {
		return err
	}
	signed, _, err := api.CASignIntermediate.Call(ctx, c.cfg.Abroad, c.cfg.Ask(), &api.IntermediateRequest{CSR: csr, Datacenter: c.cfg.Datacenter})
	if err != nil {
		return catalog.Errorf(catalog.CodeOf(err), "an intermediate from the primary datacenter %s: %w", c.cfg.Primary(), err)
	}
	if err := ca.CheckIntermediate(*signed, secrets, active.RootCert, theirs.TrustDomain); err != nil {
		return err
	}
	next := *config
	next.State, next.LongestLeaf = settings.State, max(next.LongestLeaf, settings.LeafTTL)
	keys := &catalog.CAKeys{Secrets: secrets, Intermediate: *signed}
	if err := c.write(ctx, &api.CAWrite{CAS: config.ModifyIndex, Config: &next, Keys: keys, Roots: withIntermediate(theirs, *signed)}); err != nil {
		return err
	}
	cert, err := connect.ParseCertificate(*signed)
	if err == nil {
		c.cfg.Log.Info("an intermediate of the primary datacenter signs the mesh's certificates", "primary", c.cfg.Primary(), "root", active.ID, "trust_domain", theirs.TrustDomain, "end", cert.NotAfter)
	}
	return err
}

// withIntermediate is the primary's roots as they are kept here: what signs leads to the active one by the intermediate.
func withIntermediate(theirs *catalog.Roots, text string) []*catalog.Root {
	list := make([]*catalog.Root, 0, len(theirs.Roots))
	for _, r := range theirs.Roots {
		if r.Active {
			own := *r
			own.IntermediateCerts = append([]string{text}, r.IntermediateCerts...)
			r = &own
		}
		list = append(list, r)
	}
	return list
}

func sameRoots(a, b []*catalog.Root) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r *catalog.Root) bool {
		return !slices.ContainsFunc(b, func(o *catalog.Root) bool {
			return r.ID == o.ID && r.Active == o.Active && r.TrustedUntil.Equal(o.TrustedUntil) && slices.Equal(r.IntermediateCerts, o.IntermediateCerts)
		})
	})
}

// Await blocks until the roots of the primary datacenter have changed, or ctx ends; where the root is here, until that.
func (c *Custody) Await(ctx context.Context) {
	if end, ok := ctx.Deadline(); ok && c.cfg.follows() && c.seen.Load() > 0 {
		h := c.cfg.Ask()
		h.MinIndex, h.MaxWait = c.seen.Load(), time.Until(end)
		if _, meta, err := api.CARoots.Call(ctx, c.cfg.Abroad, h, &api.Nothing{}); err == nil && meta.Index != h.MinIndex {
			return
		}
	}
	<-ctx.Done()
}

// SignIntermediate signs for another datacenter, which signs its leaves with that. It is the primary's to do. Over the
// limits of requests the error has code limited.
func (c *Custody) SignIntermediate(ctx context.Context, req *api.IntermediateRequest) (*string, error) {
	switch {
	case c.cfg.follows() && c.cfg.Primary() == req.Datacenter && state.Primacy(c.store.Read(), nil) == nil:
		return nil, api.EachOther(c.cfg.Datacenter, req.Datacenter)
	case c.cfg.follows():
		return nil, catalog.Errorf(catalog.Conflict, "datacenter %s is no primary: it signs with an intermediate of %s: set primary_datacenter to that on the servers of %s", c.cfg.Datacenter, c.cfg.Primary(), req.Datacenter)
	case req.Datacenter == c.cfg.Datacenter:
		return nil, catalog.Errorf(catalog.Conflict, "a request for an intermediate from a datacenter that is called %s as this one: give one of them another name", req.Datacenter)
	}
	csr, id, err := connect.ParseCSR(req.CSR)
	if err != nil {
		return nil, err
	}
	p, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	if domain := connect.TrustDomain(p.config.ClusterID); id.Kind != connect.KindTrustDomain || id.TrustDomain != domain {
		return nil, catalog.Errorf(catalog.Invalid, "certificate request of %s: an intermediate is for the trust domain %s", id, domain)
	}
	release, err := c.limit.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	signed, err := p.SignIntermediate(ctx, csr)
	if err != nil {
		return nil, err
	}
	c.cfg.Log.Info("signed the intermediate of another datacenter", "datacenter", req.Datacenter, "root", p.root.ID)
	return &signed, nil
}

// setFollower takes up other settings of a datacenter whose root is elsewhere: all that does not touch the root.
func (c *Custody) setFollower(ctx context.Context, present *opened, provider string, open map[string]any, settings *ca.Config, secrets map[string]catalog.Secret) error {
	if provider != present.config.Provider || len(secrets) > 0 || settings.RootCert != "" {
		return catalog.Errorf(catalog.Invalid, "the root is that of the primary datacenter %s: set provider, PrivateKey and RootCert there", c.cfg.Primary())
	}
	next := *present.config
	next.Config, next.State, next.LongestLeaf = open, settings.State, max(next.LongestLeaf, settings.LeafTTL)
	return c.write(ctx, &api.CAWrite{CAS: present.config.ModifyIndex, Config: &next})
}
