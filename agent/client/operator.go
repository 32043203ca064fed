package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Operator is what those who run the servers need.
// Source: https://developer.hashicorp.com/consul/api-docs/operator
type Operator struct{ c *Client }

// Operator returns the calls of operators.
func (c *Client) Operator() Operator { return Operator{c} }

// RaftServer is a member of the quorum.
type RaftServer struct {
	ID              string
	Node            string
	Address         string
	Leader          bool
	ProtocolVersion string
	Voter           bool
	LastIndex       uint64
}

// RaftConfiguration is the quorum at an index.
type RaftConfiguration struct {
	Servers []*RaftServer
	Index   uint64
}

// RaftConfiguration returns the quorum.
func (o Operator) RaftConfiguration(ctx context.Context, q Query) (*RaftConfiguration, error) {
	cfg := &RaftConfiguration{}
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/raft/configuration", q, nil, cfg)
	return cfg, err
}

// RaftRemovePeer removes a server from the quorum by its id, or where that is empty by its address.
func (o Operator) RaftRemovePeer(ctx context.Context, id, address string, q Query) error {
	if id != "" {
		q = q.With("id", id)
	} else {
		q = q.With("address", address)
	}
	_, err := o.c.Do(ctx, http.MethodDelete, "/v1/operator/raft/peer", q, nil, nil)
	return err
}

// RaftTransferLeader makes another server lead: the one with the id, or any.
func (o Operator) RaftTransferLeader(ctx context.Context, id string, q Query) (bool, error) {
	if id != "" {
		q = q.With("id", id)
	}
	var done struct{ Success bool }
	_, err := o.c.Do(ctx, http.MethodPost, "/v1/operator/raft/transfer-leader", q, nil, &done)
	return done.Success, err
}

// Autopilot configures how servers are looked after.
type Autopilot struct {
	CleanupDeadServers      bool
	LastContactThreshold    catalog.Duration
	MaxTrailingLogs         uint64
	MinQuorum               uint
	ServerStabilizationTime catalog.Duration
	RedundancyZoneTag       string
	DisableUpgradeMigration bool
	UpgradeVersionTag       string
	CreateIndex             uint64
	ModifyIndex             uint64
}

// Autopilot returns the configuration.
func (o Operator) Autopilot(ctx context.Context, q Query) (*Autopilot, error) {
	cfg := &Autopilot{}
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/autopilot/configuration", q, nil, cfg)
	return cfg, err
}

// SetAutopilot changes the configuration if it is still at cfg's ModifyIndex, and reports whether it was.
func (o Operator) SetAutopilot(ctx context.Context, cfg *Autopilot, q Query) (bool, error) {
	q = q.With("cas", strconv.FormatUint(cfg.ModifyIndex, 10))
	var done bool
	_, err := o.c.Do(ctx, http.MethodPut, "/v1/operator/autopilot/configuration", q, cfg, &done)
	return done, err
}

// AutopilotServer is how one server does.
type AutopilotServer struct {
	ID             string
	Name           string
	Address        string
	NodeStatus     string
	Version        string
	LastContact    string
	LastTerm       uint64
	LastIndex      uint64
	Healthy        bool
	StableSince    time.Time
	RedundancyZone string `json:",omitempty"`
	UpgradeVersion string `json:",omitempty"`
	ReadReplica    bool
	Status         string
	Meta           map[string]string
	NodeType       string
}

// AutopilotState is how the quorum does.
type AutopilotState struct {
	Healthy                    bool
	FailureTolerance           int
	OptimisticFailureTolerance int
	Servers                    map[string]*AutopilotServer
	Leader                     string
	Voters                     []string
	ReadReplicas               []string `json:",omitempty"`
}

// AutopilotState returns the state as it is sent.
func (o Operator) AutopilotState(ctx context.Context, q Query) (json.RawMessage, error) {
	var raw json.RawMessage
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/autopilot/state", q, nil, &raw)
	return raw, err
}

// Usage counts what a datacenter holds.
type Usage struct {
	Nodes                    int
	Services                 int
	ServiceInstances         int
	ConnectServiceInstances  map[string]int
	BillableServiceInstances int
}

// Usage returns the counts by datacenter; global asks for all datacenters.
func (o Operator) Usage(ctx context.Context, global bool, q Query) (map[string]Usage, error) {
	if global {
		q = q.With("global", "")
	}
	var answer struct{ Usage map[string]Usage }
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/usage", q, nil, &answer)
	return answer.Usage, err
}

// Keyring is the gossip keys of one pool, each with the number of nodes that have it.
type Keyring struct {
	WAN         bool
	Datacenter  string
	Segment     string
	Messages    map[string]string
	Keys        map[string]int
	PrimaryKeys map[string]int
	NumNodes    int
}

// KeyringQuery says how far a keyring request goes.
type KeyringQuery struct {
	RelayFactor int  // how many further nodes answers are relayed through, 0 to 5
	LocalOnly   bool // not over the WAN
}

func (k KeyringQuery) query() Query {
	q := Query{}
	if k.RelayFactor != 0 {
		q = q.With("relay-factor", strconv.Itoa(k.RelayFactor))
	}
	if k.LocalOnly {
		q = q.With("local-only", "true")
	}
	return q
}

// Keyrings returns the keyrings of all pools.
func (o Operator) Keyrings(ctx context.Context, k KeyringQuery) ([]*Keyring, error) {
	var rings []*Keyring
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/keyring", k.query(), nil, &rings)
	return rings, err
}

// InstallKey gives every node a further key.
func (o Operator) InstallKey(ctx context.Context, key string, k KeyringQuery) error {
	return o.keyring(ctx, http.MethodPost, key, k)
}

// UseKey makes an installed key the one to encrypt with.
func (o Operator) UseKey(ctx context.Context, key string, k KeyringQuery) error {
	return o.keyring(ctx, http.MethodPut, key, k)
}

// RemoveKey takes a key that is not in use away from every node.
func (o Operator) RemoveKey(ctx context.Context, key string, k KeyringQuery) error {
	return o.keyring(ctx, http.MethodDelete, key, k)
}

func (o Operator) keyring(ctx context.Context, method, key string, k KeyringQuery) error {
	k.LocalOnly = false // only lists can be local
	_, err := o.c.Do(ctx, method, "/v1/operator/keyring", k.query(), struct{ Key string }{key}, nil)
	return err
}
