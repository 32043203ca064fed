package ca

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// intermediate signs leaves below a root that is another datacenter's.
type intermediate struct {
	*builtIn
}

// renewIntermediate says what becomes of an intermediate that has expired.
const renewIntermediate = "this datacenter's intermediate is renewed as soon as its leader reaches the primary datacenter: its log says why it does not"

func openIntermediate(p Params) (Provider, error) {
	b := &builtIn{p: p, root: p.Root, secrets: p.Secrets}
	var err error
	if b.issuer.key, err = connect.ParseKey(p.Secrets[privateKey].Reveal()); err != nil {
		return nil, err
	}
	if b.issuer.cert, err = connect.ParseCertificate(p.Intermediate); err != nil {
		return nil, err
	}
	b.issuer.renewal = renewIntermediate
	return &intermediate{b}, nil
}

// SignIntermediate implements Provider.
func (i *intermediate) SignIntermediate(context.Context, *x509.CertificateRequest) (string, error) {
	return "", errNotRoot()
}

// CrossSign implements Provider.
func (i *intermediate) CrossSign(context.Context, *x509.Certificate) (string, error) {
	return "", errNotRoot()
}

func errNotRoot() error {
	return catalog.Errorf(catalog.Conflict, "this datacenter signs with an intermediate, and only its primary datacenter has the root: ask there")
}

// RequestIntermediate makes a key, and the request to a primary datacenter for the certificate that lets it sign.
func RequestIntermediate(spec connect.KeySpec, trustDomain string) (secrets map[string]catalog.Secret, csr string, err error) {
	key, err := connect.GenerateKey(spec)
	if err != nil {
		return nil, "", err
	}
	encoded, err := connect.EncodeKey(key)
	if err != nil {
		return nil, "", err
	}
	csr, err = connect.NewCSR(key, connect.ID{Kind: connect.KindTrustDomain, TrustDomain: trustDomain})
	return map[string]catalog.Secret{privateKey: catalog.NewSecret(encoded)}, csr, err
}

// CheckIntermediate refuses a certificate that does not let the key of these secrets sign leaves of the trust domain below
// the root now.
func CheckIntermediate(text string, secrets map[string]catalog.Secret, root, trustDomain string) error {
	refuse := func(why string) error {
		return catalog.Errorf(catalog.Invalid, "the intermediate certificate that the primary datacenter has signed: %s", why)
	}
	cert, err := connect.ParseCertificate(text)
	if err != nil {
		return err
	}
	above, err := connect.ParseCertificate(root)
	if err != nil {
		return err
	}
	key, err := connect.ParseKey(secrets[privateKey].Reveal())
	if err != nil {
		return err
	}
	id, err := connect.IDOf(cert)
	now := time.Now()
	switch {
	case cert.CheckSignatureFrom(above) != nil:
		return refuse("it is not signed by the primary's active root")
	case !cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return refuse("it may not sign others")
	case !connect.SameKey(cert.PublicKey, key.Public()):
		return refuse("it is for another key than was asked for")
	case err != nil || id.Kind != connect.KindTrustDomain || id.TrustDomain != trustDomain:
		return refuse("its one URI is not spiffe://" + trustDomain)
	case now.Before(cert.NotBefore):
		return refuse("it begins on " + cert.NotBefore.UTC().Format(time.RFC3339) + ", which here is to come: set the clocks of this datacenter or of the primary's servers right")
	case now.After(cert.NotAfter):
		return refuse("it has ended on " + cert.NotAfter.UTC().Format(time.RFC3339) + ": set the clocks of this datacenter or of the primary's servers right, or a new root in the primary")
	}
	return nil
}

// Renewal is when a certificate that signs leaves, and is signed by another, is to be renewed: at half of its life.
func Renewal(cert *x509.Certificate) time.Time { return halfLife(cert) }
