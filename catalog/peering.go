package catalog

import (
	"encoding/base64"
	"encoding/json"
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
	Meta                map[string]string `json:",omitempty"`
	State               PeeringState
	PeerID              string   `json:",omitempty"` // the peering's id over there
	PeerCAPems          []string `json:",omitempty"`
	PeerServerName      string   `json:",omitempty"`
	PeerServerAddresses []string `json:",omitempty"`
	StreamStatus        PeeringStream
	Remote              PeeringRemote
	// Secret of the last token that was made: who shows it is the other cluster.
	Secret      string `json:"-" codec:"Secret"`
	CreateIndex uint64
	ModifyIndex uint64
}

// PeeringStream is what goes over the connection.
type PeeringStream struct {
	ImportedServices []string
	ExportedServices []string
	LastHeartbeat    *time.Time
	LastReceive      *time.Time
	LastSend         *time.Time
}

// PeeringRemote is where the other cluster is.
type PeeringRemote struct {
	Partition  string
	Datacenter string
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
