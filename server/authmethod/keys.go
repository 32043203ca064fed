package authmethod

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/fetch"
	"github.com/curia-mesh/curia/connect/jwt"
)

const (
	// keysKept is how long keys are believed without asking anew.
	keysKept = 10 * time.Minute
	// maxSets bounds how many sets are remembered.
	maxSets = 256
)

// keySet is the keys at one place.
type keySet struct {
	*jwt.Keys
	about atomic.Pointer[provider] // what discovery says; nil when keys come from JWKSURL
}

// provider is what an OpenID provider says of itself.
// Source: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata
type provider struct {
	Issuer        string `json:"issuer"`
	AuthEndpoint  string `json:"authorization_endpoint"`
	TokenEndpoint string `json:"token_endpoint"`
	JWKSURI       string `json:"jwks_uri"`
}

// keySet returns the set of a configuration, the same for the same place.
func (s *Service) keySet(c *jwtConfig) *keySet {
	sum := sha256.Sum256([]byte(strings.Join([]string{c.JWKSURL, c.JWKSCACert, c.OIDCDiscoveryURL, c.OIDCDiscoveryCACert}, "\x00")))
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.keys[string(sum[:])]
	if set == nil {
		if len(s.keys) >= maxSets {
			clear(s.keys)
		}
		set = &keySet{}
		set.Keys = jwt.NewKeys(func(ctx context.Context) (*jwt.Set, error) { return set.ask(ctx, c) }, 2*fetch.Time, keysKept, 0)
		s.keys[string(sum[:])] = set
	}
	return set
}

// ask gets the keys from where they are.
func (k *keySet) ask(ctx context.Context, c *jwtConfig) (*jwt.Set, error) {
	address := c.JWKSURL
	if address == "" {
		about, err := c.discover(ctx)
		if err != nil {
			return nil, err
		}
		k.about.Store(about)
		address = about.JWKSURI
	}
	set := &jwt.Set{}
	return set, fetch.JSON(ctx, fetch.Client(c.roots), address, set)
}

// issuer is the one that discovery tells.
func (k *keySet) issuer() string {
	if about := k.about.Load(); about != nil {
		return about.Issuer
	}
	return ""
}

// discover asks an OpenID provider about itself.
func (c *jwtConfig) discover(ctx context.Context) (*provider, error) {
	about := &provider{}
	base := strings.TrimSuffix(c.OIDCDiscoveryURL, "/")
	if err := fetch.JSON(ctx, fetch.Client(c.roots), base+"/.well-known/openid-configuration", about); err != nil {
		return nil, err
	}
	if strings.TrimSuffix(about.Issuer, "/") != base {
		return nil, catalog.Errorf(catalog.Unavailable, "the provider at %s says that it is %q", c.OIDCDiscoveryURL, about.Issuer)
	}
	return about, fetch.CheckURL("jwks_uri", about.JWKSURI)
}
