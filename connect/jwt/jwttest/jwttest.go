// Package jwttest signs tokens for tests, as whoever issues them does.
package jwttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Claims are what a token says.
type Claims = map[string]any

// Signer signs tokens with a key. Its fields may be changed before it does.
type Signer struct {
	Key crypto.Signer
	Alg jose.SignatureAlgorithm // that goes with the key
	ID  string                  // of the key
}

// New makes a signer whose key is new, for ES256.
func New(t testing.TB, id string) *Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{key, jose.ES256, id}
}

// Sign makes a token of some claims with others in place of them; nil leaves one out.
func (s *Signer) Sign(t testing.TB, some, others Claims) string {
	t.Helper()
	all := Claims{}
	maps.Copy(all, some)
	maps.Copy(all, others)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return With(t, jose.SigningKey{Algorithm: s.Alg, Key: jose.JSONWebKey{Key: s.Key, KeyID: s.ID}}, all)
}

// With signs claims with any key, also one that no signer should use.
func With(t testing.TB, key jose.SigningKey, all Claims) string {
	t.Helper()
	by, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(by).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Keys are the public keys of signers as a set, which RFC 7517 calls a JWK set.
func Keys(all ...*Signer) []byte {
	var set jose.JSONWebKeySet
	for _, s := range all {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.Key.Public(), KeyID: s.ID, Use: "sig"})
	}
	text, err := json.Marshal(set)
	if err != nil {
		panic(err) // of keys that nobody can have
	}
	return text
}
