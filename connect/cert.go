package connect

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// EncodeCertificate writes a certificate in PEM.
func EncodeCertificate(der []byte) string { return encodePEM("CERTIFICATE", der) }

// ParseCertificates reads certificates in PEM, at least one, and nothing else.
func ParseCertificates(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(list) == 0 || strings.TrimSpace(string(rest)) != "" {
				return nil, catalog.Errorf(catalog.Invalid, "certificate: want PEM blocks of type CERTIFICATE")
			}
			return list, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, catalog.Errorf(catalog.Invalid, "certificate: PEM block of type %.40q: want CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "certificate: %w", err)
		}
		list = append(list, cert)
	}
}

// ParseCertificate reads one certificate in PEM.
func ParseCertificate(text string) (*x509.Certificate, error) {
	list, err := ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, catalog.Errorf(catalog.Invalid, "certificate: got %d, want one", len(list))
	}
	return list[0], nil
}

// Fingerprint tells one certificate from another, in 20 bytes of hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return Hex(sum[:20])
}

// IDOf is the identity that a certificate carries: its one alternative name.
func IDOf(cert *x509.Certificate) (ID, error) {
	if len(cert.URIs) != 1 {
		return ID{}, catalog.Errorf(catalog.Invalid, "certificate: it has %d URIs, want the one of its identity", len(cert.URIs))
	}
	return ParseID(cert.URIs[0].String())
}
