package connect

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// maxCSR is the largest request for a certificate, in bytes: one of RSA with 4096 bits takes about 2 KiB.
const maxCSR = 16 << 10

// NewCSR makes a request, in PEM, for a certificate of an identity. The key stays with who asks.
func NewCSR(key crypto.Signer, id ID) (string, error) {
	if err := id.Validate(); err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		return "", err
	}
	return encodePEM("CERTIFICATE REQUEST", der), nil
}

// ParseCSR reads a request in PEM and refuses all that is not a request for one identity by a strong key
// that signed it. What it asks for beside that, such as a subject, is never taken over.
func ParseCSR(text string) (*x509.CertificateRequest, ID, error) {
	fail := func(format string, args ...any) (*x509.CertificateRequest, ID, error) {
		return nil, ID{}, catalog.Errorf(catalog.Invalid, "certificate request: "+format, args...)
	}
	if len(text) > maxCSR {
		return fail("it has %d bytes, at most %d are allowed", len(text), maxCSR)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || strings.TrimSpace(string(rest)) != "" {
		return fail("want one PEM block of type CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fail("%w", err)
	}
	if _, err := SpecOf(csr.PublicKey); err != nil {
		return fail("%w", err)
	}
	if !slices.Contains(signatures, csr.SignatureAlgorithm) {
		return fail("signature algorithm %v: want SHA-256 or stronger with ECDSA or RSA", csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return fail("%w", err)
	}
	if err := checkExtensions(csr.Extensions); err != nil {
		return fail("%w", err)
	}
	if len(csr.URIs) != 1 {
		return fail("it has %d URIs, want the one of the identity", len(csr.URIs))
	}
	id, err := ParseID(csr.URIs[0].String())
	if err != nil {
		return fail("%w", err)
	}
	return csr, id, nil
}

// signatures are the algorithms that requests may be signed with.
var signatures = []x509.SignatureAlgorithm{
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
}

var (
	oidAltName          = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// checkExtensions refuses what would make a certificate more than that of one identity: a second name of
// any kind, those that Go does not read among them, and the right to sign others.
func checkExtensions(list []pkix.Extension) error {
	names := 0
	for _, e := range list {
		switch {
		case e.Id.Equal(oidAltName):
			if names++; names > 1 {
				return catalog.Errorf(catalog.Invalid, "it lists its names twice")
			}
			if err := oneURI(e.Value); err != nil {
				return err
			}
		case e.Id.Equal(oidBasicConstraints):
			var constraints struct {
				IsCA       bool `asn1:"optional"`
				MaxPathLen int  `asn1:"optional,default:-1"`
			}
			if rest, err := asn1.Unmarshal(e.Value, &constraints); err != nil || len(rest) > 0 {
				return catalog.Errorf(catalog.Invalid, "its basic constraints are malformed")
			}
			if constraints.IsCA {
				return catalog.Errorf(catalog.Invalid, "it asks for a certificate that may sign others (CA:TRUE)")
			}
		}
	}
	if names == 0 {
		return catalog.Errorf(catalog.Invalid, "it names no identity: want one URI as its subject's alternative name")
	}
	return nil
}

// oneURI takes a list of alternative names only if it is of one URI.
// Source: RFC 5280 section 4.2.1.6
func oneURI(der []byte) error {
	const tagURI = 6
	var list []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return catalog.Errorf(catalog.Invalid, "its alternative names are malformed")
	}
	if len(list) != 1 || list[0].Class != asn1.ClassContextSpecific || list[0].Tag != tagURI {
		return catalog.Errorf(catalog.Invalid, "it has %d alternative names, want exactly one URI and no DNS name, IP or e-mail address beside it", len(list))
	}
	return nil
}
