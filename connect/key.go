package connect

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// KeySpec is a kind of private key: "ec" with 256, 384 or 521 bits, or "rsa" with 2048 or 4096.
type KeySpec struct {
	Type string
	Bits int
}

// DefaultKey is the kind of keys where nobody asks for another.
var DefaultKey = KeySpec{"ec", 256}

var curves = map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}

// Validate refuses kinds of keys that are too weak, too slow, or unknown.
func (s KeySpec) Validate() error {
	if s.Type == "ec" && curves[s.Bits] != nil || s.Type == "rsa" && (s.Bits == 2048 || s.Bits == 4096) {
		return nil
	}
	return catalog.Errorf(catalog.Invalid, "private key of type %q with %d bits: want ec with 256, 384 or 521, or rsa with 2048 or 4096", s.Type, s.Bits)
}

// GenerateKey makes a private key.
func GenerateKey(s KeySpec) (crypto.Signer, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Type == "rsa" {
		return rsa.GenerateKey(rand.Reader, s.Bits)
	}
	return ecdsa.GenerateKey(curves[s.Bits], rand.Reader)
}

// SpecOf is the kind of a public key, an error for one that Validate would refuse.
func SpecOf(public crypto.PublicKey) (KeySpec, error) {
	var s KeySpec
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		s = KeySpec{"ec", key.Curve.Params().BitSize}
	case *rsa.PublicKey:
		s = KeySpec{"rsa", key.N.BitLen()}
	default:
		return s, catalog.Errorf(catalog.Invalid, "public key is a %T: want an EC or RSA key", public)
	}
	return s, s.Validate()
}

// EncodeKey writes a private key in PEM.
func EncodeKey(key crypto.Signer) (string, error) {
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(key)
		return encodePEM("EC PRIVATE KEY", der), err
	case *rsa.PrivateKey:
		return encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), nil
	}
	return "", fmt.Errorf("a private key of type %T cannot be encoded", key)
}

// ParseKey reads a private key in PEM: PKCS #1, PKCS #8 or SEC 1. Its errors do not repeat the text.
func ParseKey(text string) (crypto.Signer, error) {
	refused := func(why string) (crypto.Signer, error) {
		return nil, catalog.Errorf(catalog.Invalid, "private key: %s", why)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return refused("it is no PEM")
	}
	if strings.TrimSpace(string(rest)) != "" {
		return refused("something follows it")
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return refused(fmt.Sprintf("PEM block of type %.40q", block.Type))
	}
	if err != nil {
		return refused("its encoding is damaged")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return refused(fmt.Sprintf("it is a %T", key))
	}
	if _, err := SpecOf(signer.Public()); err != nil {
		return nil, err
	}
	return signer, nil
}

// SubjectKeyID is the identifier of a public key: the SHA-256 of its PKIX form.
// Source: RFC 7093 section 2, method 4
func SubjectKeyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

// Hex writes bytes in hexadecimal with colons between them.
func Hex(b []byte) string {
	var out strings.Builder
	for i, c := range b {
		if i > 0 {
			out.WriteByte(':')
		}
		fmt.Fprintf(&out, "%02x", c)
	}
	return out.String()
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// SameKey reports whether two public keys are one.
func SameKey(a, b crypto.PublicKey) bool {
	one, err := SubjectKeyID(a)
	if err != nil {
		return false
	}
	other, err := SubjectKeyID(b)
	return err == nil && bytes.Equal(one, other)
}
