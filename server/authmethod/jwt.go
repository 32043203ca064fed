package authmethod

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
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
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/curia-mesh/curia/catalog"
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

// algorithms are those that may sign: with a private key, whose public half is all that is known here. Those that sign
// with a shared secret, and "none", are no members: who knows a public key could sign with it.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
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
		if !slices.Contains(algorithms, jose.SignatureAlgorithm(alg)) {
			return nil, catalog.Errorf(catalog.Invalid, "JWTSupportedAlgs: %q is not among %v", alg, algorithms)
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
		if err = checkURL("OIDCDiscoveryURL", c.OIDCDiscoveryURL); err != nil {
			return err
		}
		if c.roots, err = pool("OIDCDiscoveryCACert", c.OIDCDiscoveryCACert); err != nil {
			return err
		}
	}
	if c.JWKSURL != "" {
		sources++
		if err = checkURL("JWKSURL", c.JWKSURL); err != nil {
			return err
		}
		if c.roots, err = pool("JWKSCACert", c.JWKSCACert); err != nil {
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
		if !publicKey(key) {
			return nil, catalog.Errorf(catalog.Invalid, "JWTValidationPubKeys: key %d is a %T: want RSA of 2048 bits and more, ECDSA or Ed25519", i+1, key)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// publicKey reports whether a key may verify: a public one of a kind that is strong enough.
func publicKey(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

func (c *jwtConfig) algs() []jose.SignatureAlgorithm {
	if len(c.JWTSupportedAlgs) == 0 {
		return []jose.SignatureAlgorithm{jose.RS256}
	}
	var list []jose.SignatureAlgorithm
	for _, alg := range c.JWTSupportedAlgs {
		list = append(list, jose.SignatureAlgorithm(alg))
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
func (s *Service) verify(ctx context.Context, c *jwtConfig, bearer string) (claims map[string]any, issuer string, err error) {
	token, err := jwt.ParseSigned(bearer, c.algs())
	if err != nil {
		return nil, "", fmt.Errorf("the token is no JWT that is signed by one of %v", c.algs())
	}
	if len(c.static) > 0 {
		claims, err = signedBy(token, c.static)
		return claims, "", err
	}
	set := s.keySet(c)
	keys, issuer, err := set.get(ctx, false)
	if err != nil {
		return nil, "", err
	}
	if claims, err = signedBy(token, withID(keys, token)); err == nil {
		return claims, issuer, nil
	}
	if keys, issuer, err = set.get(ctx, true); err != nil { // the signer may have changed its keys
		return nil, "", err
	}
	claims, err = signedBy(token, withID(keys, token))
	return claims, issuer, err
}

// withID returns the keys that may have signed a token: those with the id that it names, if it names one.
func withID(set *jose.JSONWebKeySet, token *jwt.JSONWebToken) (keys []any) {
	id := ""
	if len(token.Headers) == 1 {
		id = token.Headers[0].KeyID
	}
	for i := range set.Keys {
		k := &set.Keys[i]
		if (id == "" || k.KeyID == id) && (k.Use == "" || k.Use == "sig") && publicKey(k.Key) {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

var errUnsigned = errors.New("none of the method's keys has signed the token")

func signedBy(token *jwt.JSONWebToken, keys []any) (map[string]any, error) {
	for _, key := range keys {
		var raw json.RawMessage
		if token.Claims(key, &raw) != nil {
			continue
		}
		claims := map[string]any{}
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.UseNumber()
		if err := d.Decode(&claims); err != nil {
			return nil, fmt.Errorf("the token's claims: %w", err)
		}
		return claims, nil
	}
	return nil, errUnsigned
}

// checkClaims checks for whom, by whom and for when a token is.
func (c *jwtConfig) checkClaims(claims map[string]any, issuer string, audiences []string, now time.Time) error {
	if c.BoundIssuer != "" {
		issuer = c.BoundIssuer
	}
	if got, _ := claims["iss"].(string); issuer != "" && got != issuer {
		return fmt.Errorf("the token is of issuer %q, not of %q", got, issuer)
	}
	aud := texts(claims["aud"])
	switch {
	case len(audiences) == 0 && len(aud) > 0:
		return fmt.Errorf("the token is for the audience %q, and the method has no BoundAudiences", aud)
	case len(audiences) > 0 && !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(audiences, a) }):
		return fmt.Errorf("the token is for the audience %q, not for one of %q", aud, audiences)
	}
	return c.checkTimes(claims, now)
}

// checkTimes checks when a token counts. An end that it does not name is worked out of its beginning, and the other way
// round where NotBeforeLeeway is set; one without any is refused.
func (c *jwtConfig) checkTimes(claims map[string]any, now time.Time) error {
	var times [3]time.Time
	for i, name := range []string{"iat", "nbf", "exp"} {
		if claims[name] == nil {
			continue
		}
		n, ok := claims[name].(json.Number)
		seconds, err := strconv.ParseFloat(n.String(), 64)
		if !ok || err != nil || seconds < 0 || seconds > 1<<40 {
			return fmt.Errorf("the token's claim %s is no time", name)
		}
		times[i] = time.UnixMilli(int64(seconds * 1000))
	}
	issued, from, until := times[0], times[1], times[2]
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
		if list := texts(find(claims, claim)); len(list) == 1 {
			value = list[0]
		}
		values[name], out.Variables["value."+name] = value, value
	}
	for claim, name := range c.ListClaimMappings {
		lists[name] = texts(find(claims, claim))
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

// texts is a claim as a list of texts: a text, a number, a truth value, or a list of them.
func texts(claim any) (list []string) {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case json.Number:
		return []string{v.String()}
	case bool:
		return []string{strconv.FormatBool(v)}
	case []any:
		for _, element := range v {
			if _, nested := element.([]any); !nested {
				list = append(list, texts(element)...)
			}
		}
	}
	return list
}
