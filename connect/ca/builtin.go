package ca

import (
	"context"
	"crypto/x509"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// privateKey is the name of the built-in provider's one secret.
const privateKey = "PrivateKey"

// builtIn signs with a key that the servers keep in their log.
type builtIn struct {
	p       Params
	root    string
	issuer  issuer
	secrets map[string]catalog.Secret
}

func openBuiltIn(p Params) (Provider, error) {
	if p.Intermediate != "" {
		return openIntermediate(p)
	}
	b := &builtIn{p: p, root: p.Root}
	if b.root == "" {
		b.root = p.Config.RootCert
	}
	given := p.Secrets[privateKey].Reveal()
	var err error
	switch {
	case given != "":
		b.issuer.key, err = connect.ParseKey(given)
	case b.root != "":
		return nil, catalog.Errorf(catalog.Invalid, "RootCert is set and PrivateKey is not: the built-in CA needs both")
	default:
		b.issuer.key, err = connect.GenerateKey(p.Config.Key)
	}
	if err != nil {
		return nil, err
	}
	if b.root == "" {
		if b.root, err = newRoot(b.issuer.key, p.TrustDomain, p.Serial, p.Config.RootTTL); err != nil {
			return nil, err
		}
	}
	if b.issuer.cert, err = checkRoot(b.root, p.TrustDomain); err != nil {
		return nil, err
	}
	if !connect.SameKey(b.issuer.cert.PublicKey, b.issuer.key.Public()) {
		return nil, catalog.Errorf(catalog.Invalid, "PrivateKey is not the key of the root certificate %q", b.issuer.cert.Subject.CommonName)
	}
	encoded, err := connect.EncodeKey(b.issuer.key)
	if err != nil {
		return nil, err
	}
	b.secrets = map[string]catalog.Secret{privateKey: catalog.NewSecret(encoded)}
	return b, nil
}

// Root implements Provider.
func (b *builtIn) Root() string { return b.root }

// Secrets implements Provider.
func (b *builtIn) Secrets() map[string]catalog.Secret { return b.secrets }

// SignLeaf implements Provider.
func (b *builtIn) SignLeaf(_ context.Context, csr *x509.CertificateRequest, id connect.ID) (string, error) {
	return b.issuer.leaf(csr, id, b.p.Config.LeafTTL)
}

// Signer implements Provider.
func (b *builtIn) Signer() *x509.Certificate { return b.issuer.cert }

// SignIntermediate implements Provider.
func (b *builtIn) SignIntermediate(_ context.Context, csr *x509.CertificateRequest) (string, error) {
	return b.issuer.authority(csr, b.p.TrustDomain, b.p.Config.IntermediateTTL)
}

// CrossSign implements Provider.
func (b *builtIn) CrossSign(_ context.Context, root *x509.Certificate) (string, error) {
	return b.issuer.cross(root, b.p.Config.IntermediateTTL)
}

// Maintain implements Provider: there is nothing between the root and the leaves.
func (b *builtIn) Maintain(context.Context) error { return nil }

// Cleanup implements Provider: there is nothing outside.
func (b *builtIn) Cleanup(context.Context, Provider) error { return nil }
