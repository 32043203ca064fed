package catalog

import "time"

// Root is a root certificate of the mesh: one that signs, or one that signed and is still trusted.
// Source: https://developer.hashicorp.com/consul/api-docs/connect/ca
type Root struct {
	ID           string // the certificate's fingerprint
	Name         string
	SerialNumber uint64 // the lowest 64 bits of the certificate's
	// SigningKeyID is the identifier of the root's key, by which certificates name who signed them.
	SigningKeyID        string
	ExternalTrustDomain string // the cluster's id
	NotBefore           time.Time
	NotAfter            time.Time
	RootCert            string // in PEM
	// IntermediateCerts lead from what this root signs to roots before it: leaf certificates bring them
	// along, for peers that do not know this root yet.
	IntermediateCerts []string
	Active            bool
	PrivateKeyType    string
	PrivateKeyBits    int
	// TrustedUntil is when a root is given up whose place another has taken; zero while it is active.
	TrustedUntil time.Time `codec:"TrustedUntil" json:"-"`
	CreateIndex  uint64
	ModifyIndex  uint64
}

// Roots are all roots that are trusted.
type Roots struct {
	ActiveRootID string
	TrustDomain  string
	Roots        []*Root
}

// Active returns the root that signs, nil when there is none.
func (r *Roots) Active() *Root {
	for _, root := range r.Roots {
		if root.Active {
			return root
		}
	}
	return nil
}

// CAConfig says who signs the mesh's certificates, and how. What in it is secret is kept beside it, in
// CAKeys.
type CAConfig struct {
	Provider string
	Config   map[string]any
	State    map[string]string
	// ForceWithoutCrossSigning lets another root take over although the present one cannot vouch for it.
	ForceWithoutCrossSigning bool
	CreateIndex              uint64
	ModifyIndex              uint64

	// ClusterID makes the trust domain. It never changes.
	ClusterID string `codec:"ClusterID" json:"-"`
	// LongestLeaf is the longest life that a leaf may have got from the active root.
	LongestLeaf time.Duration `codec:"LongestLeaf" json:"-"`
}

// CAKeys is what the provider of certificates has to know and nobody may see.
type CAKeys struct {
	Secrets map[string]Secret
	// Intermediate is the certificate, in PEM, by which the primary datacenter lets this one sign; empty in the primary,
	// which signs with its root.
	Intermediate string `codec:",omitempty" json:",omitempty"`
	ModifyIndex  uint64
}

// IssuedCert is a certificate as the agent hands it out.
// Source: https://developer.hashicorp.com/consul/api-docs/agent/connect
type IssuedCert struct {
	SerialNumber string
	CertPEM      string `json:",omitempty"`
	// PrivateKeyPEM never leaves the node whose agent made it.
	PrivateKeyPEM string `json:",omitempty"`
	Service       string `json:",omitempty"`
	ServiceURI    string `json:",omitempty"`
	ValidAfter    time.Time
	ValidBefore   time.Time
	CreateIndex   uint64
	ModifyIndex   uint64
}
