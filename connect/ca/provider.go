// Package ca signs the mesh's certificates: the contract of those who can, the provider that is built in,
// and the one that lets Vault do it.
package ca

import (
	"context"
	"crypto/x509"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// Names of the providers.
const (
	BuiltIn = "consul"
	Vault   = "vault"
)

// Provider holds a root and signs with it, or with what the root has signed. Its methods may block, until
// ctx ends, and may be called at once. Certificates and requests are in PEM. What a provider signs never
// outlives what it signs with.
type Provider interface {
	// Root is the root certificate.
	Root() string
	// Secrets is what Open needs to make the provider anew.
	Secrets() map[string]catalog.Secret
	// SignLeaf signs for an identity of the trust domain, and for the hosts and addresses in the request of an
	// agent, whatever else the request says. It returns the certificate, followed by those between it and the root.
	SignLeaf(ctx context.Context, csr *x509.CertificateRequest, id connect.ID) (string, error)
	// Signer is the certificate that SignLeaf signs with: the root itself, or one below it. It does not block,
	// and is nil while that is not known.
	Signer() *x509.Certificate
	// SignIntermediate signs for an authority of the same trust domain, one that signs only leaves.
	SignIntermediate(ctx context.Context, csr *x509.CertificateRequest) (string, error)
	// CrossSign vouches for another root: it returns a certificate of that root's key, signed by this one. An
	// error with code conflict means that this provider cannot do that for any root.
	CrossSign(ctx context.Context, root *x509.Certificate) (string, error)
	// Maintain renews what is between the root and the leaves when it is due.
	Maintain(ctx context.Context) error
	// Cleanup gives up what the provider has outside, when next takes its place. A root that is shared with
	// next stays.
	Cleanup(ctx context.Context, next Provider) error
}

// Params is what a provider is made of.
type Params struct {
	// Config is the provider's, without its secrets, which are beside it.
	Config  *Config
	Secrets map[string]catalog.Secret
	// TrustDomain and Datacenter are what it signs for.
	TrustDomain string
	Datacenter  string
	// Root is the provider's root from before, in PEM; empty makes one.
	Root string
	// Intermediate is the certificate, in PEM, by which that root lets the provider sign where the root is another
	// datacenter's; empty where the provider has the root.
	Intermediate string
	// Serial is the number that a new root gets.
	Serial uint64
}

// Open makes a provider. It makes a root where there is none yet, but changes nothing else that lasts.
func Open(ctx context.Context, name string, p Params) (Provider, error) {
	switch name {
	case BuiltIn:
		return openBuiltIn(p)
	case Vault:
		return openVault(ctx, p)
	}
	return nil, unknownProvider(name)
}

func unknownProvider(name string) error {
	if name == "aws-pca" {
		return catalog.Errorf(catalog.Invalid, "CA provider %q is not supported yet: use %s or %s", name, BuiltIn, Vault)
	}
	return catalog.Errorf(catalog.Invalid, "unknown CA provider %q: want %s or %s", name, BuiltIn, Vault)
}
