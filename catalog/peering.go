package catalog

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// PeeringState says how far the connection with another cluster has come.
type PeeringState string

// The states of peerings.
const (
	PeeringPending      PeeringState = "PENDING" // a token was made; nobody has used it yet
	PeeringEstablishing PeeringState = "ESTABLISHING"
	PeeringActive       PeeringState = "ACTIVE"
	PeeringFailing      PeeringState = "FAILING"
	PeeringDeleting     PeeringState = "DELETING"
	PeeringTerminated   PeeringState = "TERMINATED"
)

// Peering is the connection with another cluster, under the name that this one gives it.
// Source: https://developer.hashicorp.com/consul/api-docs/peering
type Peering struct {
	ID                  string
	Name                string
	DeletedAt           *time.Time        `json:",omitempty"` // when it was marked for deletion
	Meta                map[string]string `json:",omitempty"`
	State               PeeringState
	PeerID              string   `json:",omitempty"` // the peering's id over there
	PeerCAPems          []string `json:",omitempty"`
	PeerServerName      string   `json:",omitempty"`
	PeerServerAddresses []string `json:",omitempty"`
	// KnownAs is the name that the other cluster gives this one, and Gateways are the addresses of its mesh gateways, host:port:
	// both as it says itself, empty while it has said nothing.
	KnownAs  string   `json:"-" codec:"KnownAs,omitempty"`
	Gateways []string `json:"-" codec:"Gateways,omitempty"`
	// Exchange is where a token that is being used leads, so that the mesh gateways of this cluster lead there too; nil without one.
	Exchange *PeerServers `json:"-" codec:"Exchange,omitempty"`
	// Manual is whether people have written these addresses: they stay then, whatever the other cluster says of itself.
	Manual       bool `json:"-" codec:"Manual,omitempty"`
	StreamStatus PeeringStream
	Remote       PeeringRemote
	// Secrets never leave the servers: nil in what is shown.
	Secrets     *PeeringSecrets `json:"-" codec:"Secrets,omitempty"`
	CreateIndex uint64
	ModifyIndex uint64
}

// PeeringSecrets are what proves one cluster to the other. The cluster that made the token keeps hashes only.
type PeeringSecrets struct {
	// Establishment is the hash of the secret in the last token, until Expires; empty once it was exchanged.
	Establishment string
	Expires       time.Time
	// Spent is the hash of the secret that was exchanged last, and Accepted that of the secret which took its place: who
	// comes with both again has only not heard the answer.
	Spent    string
	Accepted string
	// Stream is the secret that the cluster which dials shows with each stream.
	Stream Secret
}

// HashPeeringSecret is how a secret is kept by those who only compare it.
func HashPeeringSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// SamePeeringSecret reports, in a time that tells nothing, whether a secret has a hash.
func SamePeeringSecret(secret, hash string) bool {
	return hash != "" && subtle.ConstantTimeCompare([]byte(HashPeeringSecret(secret)), []byte(hash)) == 1
}

// Dials reports whether this cluster is the one that connects: it has used a token of the other.
func (p *Peering) Dials() bool { return p.Secrets != nil && p.Secrets.Stream != Secret{} }

// TrustDomain is that of the other cluster, empty while it is not known.
func (p *Peering) TrustDomain() string {
	_, domain, _ := strings.Cut(p.PeerServerName, ".peering.")
	return domain
}

// Ended reports whether nothing goes over the peering any more.
func (p *Peering) Ended() bool {
	return p.State == PeeringDeleting || p.State == PeeringTerminated
}

// Shown is the peering without what proves it.
func (p *Peering) Shown() *Peering {
	row := *p
	row.Secrets = nil
	return &row
}

// Same reports whether two rows say the same, their indexes and what goes over the connection left aside.
func (p *Peering) Same(o *Peering) bool {
	return p.ID == o.ID && p.Name == o.Name && (p.DeletedAt == nil) == (o.DeletedAt == nil) && samePairs(p.Meta, o.Meta) && p.State == o.State && p.PeerID == o.PeerID &&
		slices.Equal(p.PeerCAPems, o.PeerCAPems) && p.PeerServerName == o.PeerServerName && slices.Equal(p.PeerServerAddresses, o.PeerServerAddresses) &&
		p.Exchange.Same(o.Exchange) && p.KnownAs == o.KnownAs && slices.Equal(p.Gateways, o.Gateways) && p.Manual == o.Manual && p.Remote == o.Remote && (p.Secrets == o.Secrets || p.Secrets != nil && o.Secrets != nil && *p.Secrets == *o.Secrets)
}

func samePairs(a, b map[string]string) bool { return len(a) == len(b) && HasPairs(a, b) }

// PeeringStream is what goes over the connection.
type PeeringStream struct {
	ImportedServices []string
	ExportedServices []string
	LastHeartbeat    *time.Time
	LastReceive      *time.Time
	LastSend         *time.Time
	// Error says why there is no connection at the moment, as the leader knows it.
	Error string `json:",omitempty"`
}

// PeeringRemote is where the other cluster is.
type PeeringRemote struct {
	Partition  string
	Datacenter string
}

// PeerServers are the servers of a cluster as peers know them: their name in TLS, and where they are reached, host:port.
type PeerServers struct {
	ServerName string
	Addresses  []string
}

// Same reports whether two, of which each may be nil, say the same.
func (s *PeerServers) Same(o *PeerServers) bool {
	return s == o || s != nil && o != nil && s.ServerName == o.ServerName && slices.Equal(s.Addresses, o.Addresses)
}

// PeerServerName is how peers call the servers of a datacenter, in tokens and in TLS.
func PeerServerName(datacenter, trustDomain string) string {
	return "server." + datacenter + ".peering." + trustDomain
}

// PeerTrust is by what the services of a peer prove who they are.
type PeerTrust struct {
	Peer        string
	Datacenter  string
	TrustDomain string
	Roots       []string // in PEM
	// KnownAs and Gateways are how its mesh gateways are reached and spoken to: see Peering.
	KnownAs  string   `json:",omitempty"`
	Gateways []string `json:",omitempty"`
}

// Same reports whether two say the same.
func (p *PeerTrust) Same(o *PeerTrust) bool {
	return p.Peer == o.Peer && p.Datacenter == o.Datacenter && p.TrustDomain == o.TrustDomain && slices.Equal(p.Roots, o.Roots) && p.KnownAs == o.KnownAs &&
		slices.Equal(p.Gateways, o.Gateways)
}

// PeeringToken is what one cluster gives to another so that it can connect.
type PeeringToken struct {
	CA                    []string
	ManualServerAddresses []string
	ServerAddresses       []string
	ServerName            string
	PeerID                string
	EstablishmentSecret   string
	Remote                PeeringRemote
}

// String is the token as people hand it over: JSON in base64.
func (t *PeeringToken) String() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic("catalog: a peering token cannot be encoded: " + err.Error()) // it holds strings only
	}
	return base64.StdEncoding.EncodeToString(text)
}

// ParsePeeringToken reads what String wrote.
func ParsePeeringToken(text string) (*PeeringToken, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, Errorf(Invalid, "the peering token is damaged: it is not base64: %w", err)
	}
	t := &PeeringToken{}
	if err := json.Unmarshal(raw, t); err != nil {
		return nil, Errorf(Invalid, "the peering token is damaged: %w", err)
	}
	switch {
	case len(t.ServerAddresses)+len(t.ManualServerAddresses) == 0:
		return nil, Errorf(Invalid, "the peering token names no servers to connect to")
	case t.EstablishmentSecret == "" || !IsUUID(t.PeerID):
		return nil, Errorf(Invalid, "the peering token has no secret or no id of the peering")
	}
	return t, nil
}

// Validate checks what who makes a peering says.
func (p *Peering) Validate() error {
	if !IsDNSLabel(p.Name) || p.Name != strings.ToLower(p.Name) {
		return Errorf(Invalid, "peering: name %q must be fit for DNS: lower-case letters, digits and dashes, at most 63", p.Name)
	}
	if err := ValidateMeta(p.Meta, false); err != nil {
		return Errorf(Invalid, "peering %q: %w", p.Name, err)
	}
	return nil
}
