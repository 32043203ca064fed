package ca

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// skew is how far clocks may be behind the signer's: certificates begin that much earlier.
const skew = time.Minute

// issuer is a certificate that may sign, with its key.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
	// renewal says what to do once the certificate has expired.
	renewal string
}

const newRootRenewal = "set a new root"

// newSerial is a random serial number: 159 bits, so that it fits into the 20 bytes that there are for a
// number above zero.
// Source: RFC 5280 section 4.1.2.2
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
}

// issue signs a template for a public key. The template's end is brought forward to the issuer's.
func (i *issuer) issue(template *x509.Certificate, public crypto.PublicKey, ttl time.Duration) (string, error) {
	now := time.Now()
	if now.After(i.cert.NotAfter) {
		return "", catalog.Errorf(catalog.Unavailable, "the CA's certificate has expired on %s: %s", i.cert.NotAfter.UTC().Format(time.DateTime), cmp.Or(i.renewal, newRootRenewal))
	}
	var err error
	if template.SerialNumber == nil {
		if template.SerialNumber, err = newSerial(); err != nil {
			return "", err
		}
	}
	if template.SubjectKeyId == nil {
		if template.SubjectKeyId, err = connect.SubjectKeyID(public); err != nil {
			return "", err
		}
	}
	template.BasicConstraintsValid = true
	template.NotBefore, template.NotAfter = now.Add(-skew), now.Add(ttl)
	if template.NotAfter.After(i.cert.NotAfter) {
		template.NotAfter = i.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, public, i.key)
	if err != nil {
		return "", err
	}
	return connect.EncodeCertificate(der), nil
}

// leaf signs for an identity. An agent's request may have names of hosts and addresses, see connect.ParseAgentCSR.
func (i *issuer) leaf(csr *x509.CertificateRequest, id connect.ID, ttl time.Duration) (string, error) {
	usage := x509.KeyUsageDigitalSignature
	if _, ok := csr.PublicKey.(*rsa.PublicKey); ok {
		usage |= x509.KeyUsageKeyEncipherment
	}
	t := &x509.Certificate{
		URIs: []*url.URL{id.URL()}, KeyUsage: usage,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if id.Kind == connect.KindAgent {
		t.DNSNames, t.IPAddresses = csr.DNSNames, csr.IPAddresses
	}
	return i.issue(t, csr.PublicKey, ttl)
}

const authorityUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature

// authority signs for one who signs leaves.
func (i *issuer) authority(csr *x509.CertificateRequest, trustDomain string, ttl time.Duration) (string, error) {
	id := connect.ID{Kind: connect.KindTrustDomain, TrustDomain: trustDomain}
	return i.issue(&x509.Certificate{
		Subject: csr.Subject, URIs: []*url.URL{id.URL()}, KeyUsage: authorityUsage, IsCA: true, MaxPathLenZero: true,
	}, csr.PublicKey, ttl)
}

// cross signs for another root: the same name and key, so that what it has signed leads here too.
func (i *issuer) cross(root *x509.Certificate, ttl time.Duration) (string, error) {
	return i.issue(&x509.Certificate{
		RawSubject: root.RawSubject, Subject: root.Subject, URIs: root.URIs, SubjectKeyId: root.SubjectKeyId, KeyUsage: authorityUsage, IsCA: true,
	}, root.PublicKey, min(ttl, time.Until(root.NotAfter)))
}

// newRoot makes a root certificate for a key. Every root has its own name, of its key's.
func newRoot(key crypto.Signer, trustDomain string, serial uint64, ttl time.Duration) (string, error) {
	keyID, err := connect.SubjectKeyID(key.Public())
	if err != nil {
		return "", err
	}
	id := connect.ID{Kind: connect.KindTrustDomain, TrustDomain: trustDomain}
	self := &x509.Certificate{
		SerialNumber: new(big.Int).SetUint64(serial), Subject: pkix.Name{CommonName: "Curia mesh CA " + connect.Hex(keyID[:4])},
		URIs: []*url.URL{id.URL()}, SubjectKeyId: keyID, KeyUsage: authorityUsage, IsCA: true, NotAfter: time.Now().Add(ttl),
	}
	return (&issuer{cert: self, key: key}).issue(self, key.Public(), ttl)
}

// checkRoot refuses root certificates that cannot sign for the trust domain.
func checkRoot(text, trustDomain string) (*x509.Certificate, error) {
	cert, err := connect.ParseCertificate(text)
	if err != nil {
		return nil, err
	}
	refuse := func(why string) (*x509.Certificate, error) {
		return nil, catalog.Errorf(catalog.Invalid, "root certificate %q: %s", cert.Subject.CommonName, why)
	}
	id, err := connect.IDOf(cert)
	switch {
	case !cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return refuse("it may not sign others: want CA:TRUE and the key usage certificate sign")
	case cert.CheckSignatureFrom(cert) != nil:
		return refuse("it is not signed by itself")
	case time.Now().After(cert.NotAfter):
		return refuse("it has expired")
	case err != nil || id.Kind != connect.KindTrustDomain || id.TrustDomain != trustDomain:
		return refuse("its one URI must be spiffe://" + trustDomain)
	case len(cert.SubjectKeyId) == 0:
		return refuse("it has no subject key identifier")
	}
	if _, err := connect.SpecOf(cert.PublicKey); err != nil {
		return nil, err
	}
	return cert, nil
}
