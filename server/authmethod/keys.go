package authmethod

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/curia-mesh/curia/catalog"
)

const (
	// keysKept is how long keys are believed without asking anew.
	keysKept = 10 * time.Minute
	// keysPause is how long after a request for keys the next one is made at the earliest: who shows tokens that
	// nobody has signed must not make us ask all the time.
	keysPause = 10 * time.Second
	// maxKeys bounds the keys of a set, and maxSets how many sets are remembered.
	maxKeys = 128
	maxSets = 256
)

// keySet is the keys at one place.
type keySet struct {
	config *jwtConfig

	turn   chan struct{} // held by whoever reads or asks
	keys   *jose.JSONWebKeySet
	issuer string
	about  *provider // what discovery says; nil when keys come from JWKSURL
	asked  time.Time
	got    time.Time
	err    error // of the last request
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
		set = &keySet{config: c, turn: make(chan struct{}, 1)}
		s.keys[string(sum[:])] = set
	}
	return set
}

// get returns the keys, asked for anew when they are old, or when they may have changed and it is not too soon.
func (k *keySet) get(ctx context.Context, anew bool) (*jose.JSONWebKeySet, string, error) {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, "", catalog.Errorf(catalog.Unavailable, "waiting for the signer's keys: %w", ctx.Err())
	}
	now := time.Now()
	old := k.keys == nil || now.Sub(k.got) > keysKept
	if (old || anew) && now.Sub(k.asked) >= keysPause {
		k.asked = now
		if k.err = k.ask(ctx); k.err == nil {
			k.got = now
		}
		old = k.err != nil && old
	}
	if k.keys == nil || old && k.err != nil {
		return nil, "", catalog.Errorf(catalog.Unavailable, "the signer's keys could not be got: %w", k.err)
	}
	return k.keys, k.issuer, nil
}

// ask gets the keys from where they are.
func (k *keySet) ask(ctx context.Context) error {
	address := k.config.JWKSURL
	var about *provider
	if address == "" {
		var err error
		if about, err = k.config.discover(ctx); err != nil {
			return err
		}
		address = about.JWKSURI
	}
	set := &jose.JSONWebKeySet{}
	if err := k.config.read(ctx, address, set); err != nil {
		return err
	}
	if len(set.Keys) > maxKeys {
		return catalog.Errorf(catalog.Unavailable, "%s has %d keys: at most %d are taken", address, len(set.Keys), maxKeys)
	}
	k.keys, k.about = set, about
	if about != nil {
		k.issuer = about.Issuer
	}
	return nil
}

// discover asks an OpenID provider about itself.
func (c *jwtConfig) discover(ctx context.Context) (*provider, error) {
	about := &provider{}
	base := strings.TrimSuffix(c.OIDCDiscoveryURL, "/")
	if err := c.read(ctx, base+"/.well-known/openid-configuration", about); err != nil {
		return nil, err
	}
	if strings.TrimSuffix(about.Issuer, "/") != base {
		return nil, catalog.Errorf(catalog.Unavailable, "the provider at %s says that it is %q", c.OIDCDiscoveryURL, about.Issuer)
	}
	return about, checkURL("jwks_uri", about.JWKSURI)
}

// read gets a document in JSON.
func (c *jwtConfig) read(ctx context.Context, address string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	body, err := fetch(client(c.roots), r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return catalog.Errorf(catalog.Unavailable, "%s answers no JSON of the right form: %w", r.URL.Host, err)
	}
	return nil
}
