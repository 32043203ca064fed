package authmethod

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/fetch"
	"github.com/curia-mesh/curia/connect/jwt"
)

// jwtConfig is the Config of the types jwt and oidc.
// Source: https://developer.hashicorp.com/consul/docs/secure/acl/auth-method/jwt, …/oidc
type jwtConfig struct {
	JWTSupportedAlgs     []string
	BoundAudiences       []string
	BoundIssuer          string
	ClaimMappings        map[string]string
	ListClaimMappings    map[string]string
	JWTValidationPubKeys []string
	JWKSURL              string
	JWKSCACert           string
	OIDCDiscoveryURL     string
	OIDCDiscoveryCACert  string
	OIDCClientID         string
	OIDCClientSecret     string
	OIDCClientUsePKCE    *bool
	OIDCScopes           []string
	OIDCACRValues        []string
	AllowedRedirectURIs  []string
	VerboseOIDCLogging   bool
	ExpirationLeeway     catalog.Duration
	NotBeforeLeeway      catalog.Duration
	ClockSkewLeeway      catalog.Duration

	static []any // the keys of JWTValidationPubKeys
	roots  *x509.CertPool
}

// Leeways where none is set; one below zero is none.
const (
	defaultLeeway = 150 * time.Second
	defaultSkew   = 60 * time.Second
)

func leeway(d catalog.Duration, def time.Duration) time.Duration {
	switch {
	case d == 0:
		return def
	case d < 0:
		return 0
	}
	return time.Duration(d)
}

// readJWT reads and checks the Config of an auth method.
func readJWT(m *catalog.AuthMethod) (*jwtConfig, error) {
	c := &jwtConfig{}
	if err := settings(m, c); err != nil {
		return nil, err
	}
	for _, alg := range c.JWTSupportedAlgs {
		if !slices.Contains(jwt.Algorithms, jwt.Algorithm(alg)) {
			return nil, catalog.Errorf(catalog.Invalid, "JWTSupportedAlgs: %q is not among %v", alg, jwt.Algorithms)
		}
	}
	if err := c.checkMappings(); err != nil {
		return nil, err
	}
	if m.Type == catalog.AuthOIDC {
		return c, c.checkOIDC()
	}
	return c, c.checkSources()
}

func (c *jwtConfig) checkMappings() error {
	seen := map[string]bool{}
	for _, mappings := range []map[string]string{c.ClaimMappings, c.ListClaimMappings} {
		for claim, name := range mappings {
			switch {
			case claim == "" || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "":
				return catalog.Errorf(catalog.Invalid, "ClaimMappings: %q to %q: want the name of a claim and one of letters, digits, - and _", claim, name)
			case seen[name]:
				return catalog.Errorf(catalog.Invalid, "ClaimMappings: two claims are mapped to %q", name)
			}
			seen[name] = true
		}
	}
	return nil
}

// checkSources checks where keys come from: from one place.
func (c *jwtConfig) checkSources() (err error) {
	sources := 0
	if c.OIDCDiscoveryURL != "" {
		sources++
		if err = fetch.CheckURL("OIDCDiscoveryURL", c.OIDCDiscoveryURL); err != nil {
			return err
		}
		if c.roots, err = fetch.Pool("OIDCDiscoveryCACert", c.OIDCDiscoveryCACert); err != nil {
			return err
		}
	}
	if c.JWKSURL != "" {
		sources++
		if err = fetch.CheckURL("JWKSURL", c.JWKSURL); err != nil {
			return err
		}
		if c.roots, err = fetch.Pool("JWKSCACert", c.JWKSCACert); err != nil {
			return err
		}
	}
	if len(c.JWTValidationPubKeys) > 0 {
		sources++
		if c.static, err = publicKeys(c.JWTValidationPubKeys); err != nil {
			return err
		}
	}
	switch {
	case sources != 1:
		return catalog.Errorf(catalog.Invalid, "Config: set one of JWTValidationPubKeys, JWKSURL and OIDCDiscoveryURL")
	case c.OIDCClientID != "" || c.OIDCClientSecret != "" || len(c.AllowedRedirectURIs) > 0:
		return catalog.Errorf(catalog.Invalid, "Config: OIDCClientID, OIDCClientSecret and AllowedRedirectURIs are for the type oidc")
	}
	return nil
}

// publicKeys reads public keys or certificates in PEM.
func publicKeys(texts []string) (keys []any, err error) {
	for i, text := range texts {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, catalog.Errorf(catalog.Invalid, "JWTValidationPubKeys: key %d is no PEM", i+1)
		}
		var key any
		switch block.Type {
		case "CERTIFICATE":
			cert, e := x509.ParseCertificate(block.Bytes)
			if err = e; e == nil {
				key = cert.PublicKey
			}
		case "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		default:
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		}
		if err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "JWTValidationPubKeys: key %d: %w", i+1, err)
		}
		if !jwt.MayVerify(key) {
			return nil, catalog.Errorf(catalog.Invalid, "JWTValidationPubKeys: key %d is a %T: want RSA of 2048 bits and more, ECDSA or Ed25519", i+1, key)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (c *jwtConfig) algs() []jwt.Algorithm {
	if len(c.JWTSupportedAlgs) == 0 {
		return []jwt.Algorithm{jose.RS256}
	}
	var list []jwt.Algorithm
	for _, alg := range c.JWTSupportedAlgs {
		list = append(list, jwt.Algorithm(alg))
	}
	return list
}

func (s *Service) loginJWT(ctx context.Context, m *catalog.AuthMethod, bearer string) (*Subject, error) {
	c, err := readJWT(m)
	if err != nil {
		return nil, err
	}
	claims, issuer, err := s.verify(ctx, c, bearer)
	if err != nil {
		return nil, err
	}
	if err := c.checkClaims(claims, issuer, c.BoundAudiences, time.Now()); err != nil {
		return nil, err
	}
	return c.subject(claims), nil
}

// verify returns the claims of a token that one of the method's keys has signed, and the issuer that discovery tells.
func (s *Service) verify(ctx context.Context, c *jwtConfig, bearer string) (claims jwt.Claims, issuer string, err error) {
	token, err := jwt.Parse(bearer, c.algs())
	if err != nil {
		return nil, "", err
	}
	if len(c.static) > 0 {
		claims, signed := token.SignedBy(c.static)
		if !signed {
			return nil, "", errUnsigned
		}
		return claims, "", nil
	}
	set := s.keySet(c)
	for _, anew := range []bool{false, true} { // the signer may have changed its keys
		keys, err := set.Get(ctx, anew)
		if err != nil {
			return nil, "", err
		}
		if claims, signed := token.SignedBy(keys.For(token)); signed {
			return claims, set.issuer(), nil
		}
	}
	return nil, "", errUnsigned
}

var errUnsigned = errors.New("none of the method's keys has signed the token")

// checkClaims checks for whom, by whom and for when a token is.
func (c *jwtConfig) checkClaims(claims jwt.Claims, issuer string, audiences []string, now time.Time) error {
	if c.BoundIssuer != "" {
		issuer = c.BoundIssuer
	}
	if got := claims.Issuer(); issuer != "" && got != issuer {
		return fmt.Errorf("the token is of issuer %q, not of %q", got, issuer)
	}
	aud := jwt.Texts(claims["aud"])
	switch {
	case len(audiences) == 0 && len(aud) > 0:
		return fmt.Errorf("the token is for the audience %q, and the method has no BoundAudiences", aud)
	case len(audiences) > 0 && !claims.For(audiences):
		return fmt.Errorf("the token is for the audience %q, not for one of %q", aud, audiences)
	}
	return c.checkTimes(claims, now)
}

// checkTimes checks when a token counts. An end that it does not name is worked out of its beginning, and the other way
// round where NotBeforeLeeway is set; one without any is refused.
func (c *jwtConfig) checkTimes(claims jwt.Claims, now time.Time) error {
	issued, from, until, err := claims.Times()
	if err != nil {
		return err
	}
	if issued.IsZero() && from.IsZero() && until.IsZero() {
		return errors.New("the token says neither iat nor nbf nor exp")
	}
	if until.IsZero() {
		latest := issued
		if from.After(latest) {
			latest = from
		}
		until = latest.Add(leeway(c.ExpirationLeeway, defaultLeeway))
	}
	if from.IsZero() && issued.IsZero() && c.NotBeforeLeeway > 0 {
		from = until.Add(-time.Duration(c.NotBeforeLeeway))
	}
	skew := leeway(c.ClockSkewLeeway, defaultSkew)
	switch {
	case now.After(until.Add(skew)):
		return errors.New("the token has expired")
	case now.Add(skew).Before(from):
		return errors.New("the token does not count yet: do the clocks agree?")
	case now.Add(skew).Before(issued):
		return errors.New("the token is issued in the future: do the clocks agree?")
	}
	return nil
}

// subject is who has claims. What they lack is empty.
func (c *jwtConfig) subject(claims map[string]any) *Subject {
	out := &Subject{Variables: map[string]string{}}
	values, lists := map[string]any{}, map[string]any{}
	for claim, name := range c.ClaimMappings {
		value := ""
		if list := jwt.Texts(find(claims, claim)); len(list) == 1 {
			value = list[0]
		}
		values[name], out.Variables["value."+name] = value, value
	}
	for claim, name := range c.ListClaimMappings {
		lists[name] = jwt.Texts(find(claims, claim))
	}
	out.Fields = structOf(map[string]any{"value": structOf(values), "list": structOf(lists)})
	return out
}

// structOf makes a struct of what selectors speak of: unlike a map's, the names of its fields are known, so that a
// selector with another one is found wrong.
func structOf(fields map[string]any) any {
	names := slices.Sorted(maps.Keys(fields))
	types := make([]reflect.StructField, len(names))
	for i, name := range names {
		types[i] = reflect.StructField{Name: "F" + strconv.Itoa(i), Type: reflect.TypeOf(fields[name]), Tag: reflect.StructTag(`bexpr:"` + name + `"`)}
	}
	s := reflect.New(reflect.StructOf(types)).Elem()
	for i, name := range names {
		s.Field(i).Set(reflect.ValueOf(fields[name]))
	}
	return s.Interface()
}

// find returns a claim, by its name or by a JSON pointer (RFC 6901).
func find(claims map[string]any, name string) any {
	path, pointer := strings.CutPrefix(name, "/")
	if !pointer {
		return claims[name]
	}
	var at any = claims
	for _, part := range strings.Split(path, "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch in := at.(type) {
		case map[string]any:
			at = in[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(in) {
				return nil
			}
			at = in[n]
		default:
			return nil
		}
	}
	return at
}
