// Package jwt verifies JSON Web Tokens (RFC 7519): by keys that are written down, or that a server gives out.
package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
)

// Algorithm is how a token is signed, as its header names it.
type Algorithm = jose.SignatureAlgorithm

// Algorithms are those that may sign: with a private key, whose public half is all that is known here. Those that sign
// with a shared secret, and "none", are no members: who knows a public key could sign with it.
var Algorithms = []Algorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Token is one whose signature has not been looked at.
type Token struct{ *josejwt.JSONWebToken }

// Parse reads a token that names one of the algorithms.
func Parse(bearer string, algs []Algorithm) (*Token, error) {
	t, err := josejwt.ParseSigned(bearer, algs)
	if err != nil || len(t.Headers) != 1 {
		return nil, fmt.Errorf("the token is no JWT that is signed by one of %v", algs)
	}
	return &Token{t}, nil
}

// Claims are what a token says.
type Claims map[string]any

// SignedBy returns the claims of a token that one of the keys has signed. It reports whether one has.
func (t *Token) SignedBy(keys []any) (Claims, bool) {
	for _, key := range keys {
		var raw json.RawMessage
		if t.Claims(key, &raw) == nil {
			claims, err := readClaims(raw)
			return claims, err == nil
		}
	}
	return nil, false
}

// unproven are the claims of a token that may have been signed by anybody.
func (t *Token) unproven() (Claims, error) {
	var raw json.RawMessage
	if err := t.UnsafeClaimsWithoutVerification(&raw); err != nil {
		return nil, err
	}
	return readClaims(raw)
}

func readClaims(raw json.RawMessage) (claims Claims, err error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err = d.Decode(&claims); err == nil && claims == nil {
		err = fmt.Errorf("the token's claims are no object")
	}
	return claims, err
}

// Issuer is who says that it has made the token, empty where none does.
func (c Claims) Issuer() string {
	text, _ := c["iss"].(string)
	return text
}

// For reports whether a token is for one of the audiences.
func (c Claims) For(audiences []string) bool {
	return slices.ContainsFunc(Texts(c["aud"]), func(a string) bool { return slices.Contains(audiences, a) })
}

// Times says when a token was issued, from when on it counts and until when; zero where it does not say.
func (c Claims) Times() (issued, from, until time.Time, err error) {
	for name, at := range map[string]*time.Time{"iat": &issued, "nbf": &from, "exp": &until} {
		if c[name] == nil {
			continue
		}
		n, ok := c[name].(json.Number)
		seconds, bad := strconv.ParseFloat(n.String(), 64)
		if !ok || bad != nil || seconds < 0 || seconds > 1<<40 {
			return issued, from, until, fmt.Errorf("the token's claim %s is no time", name)
		}
		*at = time.UnixMilli(int64(seconds * 1000))
	}
	return issued, from, until, nil
}

// Texts is a claim as a list of texts: a text, a number, a truth value, or a list of them.
func Texts(claim any) (list []string) {
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
				list = append(list, Texts(element)...)
			}
		}
	}
	return list
}

// MayVerify reports whether a key may verify: a public one of a kind that is strong enough.
func MayVerify(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}
