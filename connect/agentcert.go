package connect

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// AgentCert is a certificate for connections between agents, which tells servers from client agents by its names.
type AgentCert struct {
	// Kind is server, client or cli; the last one can only ask.
	Kind, Datacenter, Domain string
	// Node, which may be empty, is that of a server, to be named too.
	Node string
	Life time.Duration
	// DNS and IPs are further names.
	DNS []string
	IPs []net.IP
}

// Name is the first name of the certificate, such as server.dc1.consul.
func (c *AgentCert) Name() string { return c.Kind + "." + c.Datacenter + "." + c.Domain }

// NameNode names the node of a server too, unless its name can be in none of DNS.
func (c *AgentCert) NameNode(node string) {
	if catalog.IsDNSLabel(node) {
		c.Node = node
	}
}

// Sign makes the certificate, in DER, for a public key. It never outlives the authority.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls (verify_server_hostname)
func (c *AgentCert) Sign(ca *x509.Certificate, caKey crypto.PrivateKey, key crypto.PublicKey, now time.Time) ([]byte, error) {
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: c.Name()}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(c.Life), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, DNSNames: []string{c.Name(), "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if t.NotAfter.After(ca.NotAfter) {
		return nil, catalog.Errorf(catalog.Invalid, "the certificate would outlive its CA, which ends on %s: set fewer -days", ca.NotAfter.Format(time.DateOnly))
	}
	if c.Kind == "cli" {
		t.ExtKeyUsage, t.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil
	}
	if c.Node != "" {
		t.DNSNames = append(t.DNSNames, c.Node+"."+c.Name())
	}
	t.DNSNames, t.IPAddresses = append(t.DNSNames, c.DNS...), append(t.IPAddresses, c.IPs...)
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key, caKey)
	if err != nil {
		return nil, catalog.Errorf(catalog.Internal, "create the certificate: %w", err)
	}
	return der, nil
}

// NewRequest makes a request, in PEM, for the certificate of an agent, of which the signer takes the key alone.
func NewRequest(key crypto.Signer, node string) (string, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: node}}, key)
	if err != nil {
		return "", err
	}
	return encodePEM("CERTIFICATE REQUEST", der), nil
}

// NewSerial is a random serial number.
// Source: RFC 5280 section 4.1.2.2: at most 20 bytes
func NewSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
