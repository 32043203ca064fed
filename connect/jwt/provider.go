package jwt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/fetch"
	"github.com/curia-mesh/curia/rpc/pause"
)

// How keys are kept where an entry does not say.
const (
	// defaultKept is after which time remote keys are asked for anew.
	// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/jwt-provider
	defaultKept = 5 * time.Minute
	// fileKept is after which time a file of keys is read anew.
	fileKept = 10 * time.Second
	// keptStale is how much longer keys are believed while they cannot be had: a mesh outlives an hour without whoever
	// signs its tokens.
	keptStale = time.Hour
	// maxTries bounds how often keys are asked for in a row.
	maxTries = 10
	// defaultBackoff is how long is waited in between at first, doubled each time up to maxBackoff.
	defaultBackoff, maxBackoff = time.Second, 10 * time.Second
)

// MaxToken bounds a token, in bytes.
const MaxToken = 64 << 10

// Provider verifies the tokens of an entry of kind jwt-provider. It is safe for many goroutines.
type Provider struct {
	*catalog.JWTProvider
	Locations []*catalog.JWTLocation
	keys      *Keys
	cache     cache
}

// defaultLocations are where tokens are found when an entry does not say.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/jwt-provider (Locations)
var defaultLocations = []*catalog.JWTLocation{
	{Header: &catalog.JWTLocationHeader{Name: "Authorization", ValuePrefix: "Bearer "}},
	{QueryParam: &catalog.JWTLocationQueryParam{Name: "access_token"}},
}

// NewProvider returns one that has asked nobody yet. An error says what is wrong with the entry.
func NewProvider(e *catalog.JWTProvider) (*Provider, error) {
	p := &Provider{JWTProvider: e, Locations: e.Locations, cache: cache{size: defaultCached}}
	if len(p.Locations) == 0 {
		p.Locations = defaultLocations
	}
	if c := e.CacheConfig; c != nil && c.Size > 0 {
		p.cache.size = min(c.Size, maxCached)
	}
	var err error
	switch k := e.JSONWebKeySet; {
	case k != nil && k.Remote != nil:
		p.keys = remoteKeys(k.Remote)
	case k != nil && k.Local != nil && k.Local.Filename != "":
		p.keys = NewKeys(func(context.Context) (*Set, error) { return readFile(k.Local.Filename) }, fetch.Time, fileKept, keptStale)
	case k != nil && k.Local != nil:
		p.keys, err = writtenKeys(k.Local.JWKS)
	default:
		err = errors.New("it says nothing of keys")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Head(), err)
	}
	return p, nil
}

// Begin has the keys fetched before anybody needs them, where the entry wants that.
func (p *Provider) Begin() {
	if k := p.JSONWebKeySet; k.Remote != nil && k.Remote.FetchAsynchronously && p.keys.Known() == nil {
		p.keys.begin(time.Now())
	}
}

// writtenKeys are those in an entry, which never change.
func writtenKeys(text string) (*Keys, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("JSONWebKeySet.Local.JWKS: %w", err)
	}
	set := &Set{}
	if err := json.Unmarshal(raw, set); err != nil {
		return nil, fmt.Errorf("JSONWebKeySet.Local.JWKS: %w", err)
	}
	if set.fit() == 0 {
		return nil, errors.New("JSONWebKeySet.Local.JWKS has no key that may verify: want a public one, RSA of 2048 bits and more, ECDSA or Ed25519")
	}
	k := NewKeys(func(context.Context) (*Set, error) { return set, nil }, fetch.Time, 1<<62, 0)
	set.got = time.Now()
	k.set.Store(set)
	k.written = true
	return k, nil
}

func readFile(name string) (*Set, error) {
	about, err := os.Stat(name)
	if err == nil && !about.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fetch.MaxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > fetch.MaxAnswer:
		return nil, fmt.Errorf("%s has more than %d bytes", name, fetch.MaxAnswer)
	}
	set := &Set{}
	if err := json.Unmarshal(text, set); err != nil {
		return nil, fmt.Errorf("%s is no set of keys: %w", name, err)
	}
	return set, nil
}

func remoteKeys(r *catalog.RemoteJWKS) *Keys {
	once := fetch.Time
	if r.RequestTimeoutMs > 0 {
		once = min(once, time.Duration(r.RequestTimeoutMs)*time.Millisecond)
	}
	tries, wait, most := 1, defaultBackoff, maxBackoff
	if p := r.RetryPolicy; p != nil {
		tries += min(p.NumRetries, maxTries)
		if b := p.RetryPolicyBackOff; b != nil {
			if b.BaseInterval > 0 {
				wait = b.BaseInterval
			}
			if b.MaxInterval > 0 {
				most = b.MaxInterval
			}
		}
	}
	kept := r.CacheDuration
	if kept <= 0 {
		kept = defaultKept
	}
	ask := func(ctx context.Context) (*Set, error) {
		roots, err := trusted(r.JWKSCluster)
		if err != nil {
			return nil, err
		}
		between := wait
		for n := 1; ; n++ {
			one, cancel := context.WithTimeout(ctx, once)
			set := &Set{}
			err = fetch.JSON(one, fetch.Client(roots), r.URI, set)
			cancel()
			if err == nil || n == tries || !pause.For(ctx, between) {
				return set, err
			}
			between = min(2*between, most)
		}
	}
	return NewKeys(ask, time.Duration(tries)*once+time.Duration(tries-1)*most, kept, keptStale)
}

// trusted are the authorities that the server of keys is checked against, nil for the machine's own.
func trusted(c *catalog.JWKSCluster) (*x509.CertPool, error) {
	if c == nil || c.TLSCertificates == nil || c.TLSCertificates.TrustedCA == nil {
		return nil, nil
	}
	const field = "JWKSCluster.TLSCertificates.TrustedCA"
	switch ca := c.TLSCertificates.TrustedCA; {
	case ca.Filename != "":
		text, err := os.ReadFile(ca.Filename)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		return certificates(field+".Filename", string(text))
	case ca.EnvironmentVariable != "":
		return certificates(field+".EnvironmentVariable", os.Getenv(ca.EnvironmentVariable))
	case len(ca.InlineBytes) > 0:
		return certificates(field+".InlineBytes", string(ca.InlineBytes))
	default:
		return certificates(field+".InlineString", ca.InlineString)
	}
}

// certificates are those in a PEM text, which has to hold some: an empty one does not stand for the machine's own.
func certificates(field, text string) (*x509.CertPool, error) {
	if text == "" {
		return nil, fmt.Errorf("%s is empty", field)
	}
	return fetch.Pool(field, text)
}

// Verify returns the claims of a token that counts at a time. It waits for keys, no longer than ctx. An error with code
// unavailable means that they cannot be had; each other says what is wrong with the token.
func (p *Provider) Verify(ctx context.Context, bearer []byte, now time.Time) (Claims, error) {
	set, err := p.keys.Get(ctx, false)
	if err != nil {
		return nil, err
	}
	claims, err := p.signed(ctx, bearer, set, !p.keys.written)
	if err != nil {
		return nil, err
	}
	_, from, until, err := claims.Times()
	skew := time.Duration(p.ClockSkewSeconds) * time.Second
	switch {
	case err != nil:
		return nil, err
	case !until.IsZero() && now.After(until.Add(skew)):
		return nil, errors.New("the token has expired")
	case now.Add(skew).Before(from):
		return nil, errors.New("the token does not count yet: do the clocks agree?")
	}
	return claims, nil
}

// Again returns the claims of a token that was verified before, whenever that was. It does not wait: where there are no
// keys at hand it reports that it cannot say.
func (p *Provider) Again(bearer []byte) (claims Claims, known bool, err error) {
	set := p.keys.Known()
	if set == nil {
		return nil, false, nil
	}
	claims, err = p.signed(context.Background(), bearer, set, false)
	return claims, true, err
}

// signed are the claims of a token that is by this provider, for its audiences. Where no key fits, the keys may be asked
// for anew.
func (p *Provider) signed(ctx context.Context, bearer []byte, set *Set, anew bool) (Claims, error) {
	if len(bearer) > MaxToken {
		return nil, fmt.Errorf("the token has %d bytes: at most %d are taken", len(bearer), MaxToken)
	}
	sum := sha256.Sum256(bearer)
	if claims := p.cache.get(sum, set); claims != nil {
		return claims, nil
	}
	token, err := Parse(string(bearer), Algorithms)
	if err != nil {
		return nil, err
	}
	said, err := token.unproven()
	switch {
	case err != nil:
		return nil, errors.New("the token's claims are no object in JSON")
	case p.Issuer != "" && said.Issuer() != p.Issuer: // nobody's keys are asked for by tokens of others
		return nil, fmt.Errorf("the token is of another issuer than %q", p.Issuer)
	case len(p.Audiences) > 0 && !said.For(p.Audiences):
		return nil, fmt.Errorf("the token is for none of the audiences %q", p.Audiences)
	}
	claims, ok := token.SignedBy(set.For(token))
	if !ok && anew {
		if set, err = p.keys.Get(ctx, true); err != nil { // the signer may have changed its keys
			return nil, err
		}
		claims, ok = token.SignedBy(set.For(token))
	}
	if !ok {
		return nil, errors.New("none of the provider's keys has signed the token")
	}
	if len(bearer) <= maxCachedToken {
		p.cache.put(sum, set, claims)
	}
	return claims, nil
}

// Payload is the middle part of a token that has been verified, in base64 as it is written, with padding where wanted.
func (p *Provider) Payload(b, bearer []byte) []byte {
	_, rest, _ := bytes.Cut(bearer, []byte{'.'})
	payload, _, _ := bytes.Cut(rest, []byte{'.'})
	b = append(b, payload...)
	if p.Forwarding.PadForwardPayloadHeader {
		for n := len(payload); n%4 != 0; n++ {
			b = append(b, '=')
		}
	}
	return b
}
