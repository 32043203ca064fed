package catalog

import (
	"crypto/rsa"
	"crypto/tls"
)

// InlineCertificate is a certificate with its key, for the listeners of API gateways.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/inline-certificate
type InlineCertificate struct {
	EntryHead
	Certificate string // PEM
	PrivateKey  string // PEM
}

// FileSystemCertificate is one that lies on the gateways' own disks.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/file-system-certificate
type FileSystemCertificate struct {
	EntryHead
	Certificate string // a path
	PrivateKey  string // a path
}

// Normalize implements ConfigEntry.
func (e *InlineCertificate) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *InlineCertificate) Validate() error {
	c := e.check()
	pair, err := tls.X509KeyPair([]byte(e.Certificate), []byte(e.PrivateKey))
	switch {
	case e.Certificate == "":
		c.fail("Certificate", "is missing")
	case e.PrivateKey == "":
		c.fail("PrivateKey", "is missing")
	case err != nil:
		c.fail("Certificate", "and PrivateKey are no pair in PEM: %v", err)
	}
	if key, ok := pair.PrivateKey.(*rsa.PrivateKey); ok && key.N.BitLen() < minRSA {
		c.fail("PrivateKey", "has %d bits: RSA needs %d", key.N.BitLen(), minRSA)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *InlineCertificate) Clone() ConfigEntry { return clone(e) }

// Normalize implements ConfigEntry.
func (e *FileSystemCertificate) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *FileSystemCertificate) Validate() error {
	c := e.check()
	if e.Certificate == "" {
		c.fail("Certificate", "is missing: want the path of a file")
	}
	if e.PrivateKey == "" {
		c.fail("PrivateKey", "is missing: want the path of a file")
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *FileSystemCertificate) Clone() ConfigEntry { return clone(e) }

// minRSA is the least number of bits of an RSA key.
const minRSA = 2048
