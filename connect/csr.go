package connect

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
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

// NewAgentCSR makes a request, in PEM, for the certificate of an agent, with further names.
func NewAgentCSR(key crypto.Signer, id ID, dns []string, ips []net.IP) (string, error) {
	if err := id.Validate(); err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}, DNSNames: dns, IPAddresses: ips}, key)
	if err != nil {
		return "", err
	}
	return encodePEM("CERTIFICATE REQUEST", der), nil
}

// ParseCSR reads a request in PEM and refuses all that is not a request for one identity by a strong key
// that signed it. What it asks for beside that, such as a subject, is never taken over.
func ParseCSR(text string) (*x509.CertificateRequest, ID, error) { return parseCSR(text, oneURI) }

// maxNames bounds the names of an agent's certificate beside its identity.
const maxNames = 32

// ParseAgentCSR is ParseCSR for requests of agents, which may have names of hosts and addresses beside their identity:
// in a domain such as consul, none that is a server's, and none that stands for others.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/encryption (auto_encrypt.dns_san)
func ParseAgentCSR(text, domain string) (*x509.CertificateRequest, ID, error) {
	fail := func(format string, args ...any) (*x509.CertificateRequest, ID, error) {
		return nil, ID{}, catalog.Errorf(catalog.Invalid, "certificate request: "+format, args...)
	}
	csr, id, err := parseCSR(text, agentNames)
	if err != nil {
		return nil, ID{}, err
	}
	if id.Kind != KindAgent {
		return fail("it is of %s, which is no agent", id)
	}
	for _, name := range csr.DNSNames {
		role, rest, _ := strings.Cut(strings.ToLower(strings.TrimSuffix(name, ".")), ".")
		switch {
		case !isHost(name):
			return fail("DNS name %.255q: want a whole name of a host", name)
		case role == "server" && (rest == domain || strings.HasSuffix(rest, "."+domain)):
			return fail("DNS name %.255q is one of servers", name)
		}
	}
	return csr, id, nil
}

// isHost reports whether a name is that of a host: labels of letters, digits, dashes and underscores.
func isHost(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func parseCSR(text string, names func(der []byte) error) (*x509.CertificateRequest, ID, error) {
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
	if err := checkExtensions(csr.Extensions, names); err != nil {
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
func checkExtensions(list []pkix.Extension, check func(der []byte) error) error {
	names := 0
	for _, e := range list {
		switch {
		case e.Id.Equal(oidAltName):
			if names++; names > 1 {
				return catalog.Errorf(catalog.Invalid, "it lists its names twice")
			}
			if err := check(e.Value); err != nil {
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

// Tags of alternative names.
// Source: RFC 5280 section 4.2.1.6
const (
	tagDNS = 2
	tagURI = 6
	tagIP  = 7
)

func altNames(der []byte) ([]asn1.RawValue, error) {
	var list []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return nil, catalog.Errorf(catalog.Invalid, "its alternative names are malformed")
	}
	return list, nil
}

// agentNames takes a list of alternative names only if it is of one URI, hosts and addresses.
func agentNames(der []byte) error {
	list, err := altNames(der)
	if err != nil {
		return err
	}
	if len(list) > maxNames {
		return catalog.Errorf(catalog.Invalid, "it has %d alternative names: at most %d are taken", len(list), maxNames)
	}
	for _, name := range list {
		if name.Class != asn1.ClassContextSpecific || name.Tag != tagURI && name.Tag != tagDNS && name.Tag != tagIP {
			return catalog.Errorf(catalog.Invalid, "it has an alternative name that is no URI, DNS name or IP address")
		}
	}
	return nil
}

// oneURI takes a list of alternative names only if it is of one URI.
func oneURI(der []byte) error {
	list, err := altNames(der)
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].Class != asn1.ClassContextSpecific || list[0].Tag != tagURI {
		return catalog.Errorf(catalog.Invalid, "it has %d alternative names, want exactly one URI and no DNS name, IP or e-mail address beside it", len(list))
	}
	return nil
}
