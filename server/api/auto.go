package api

import (
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// AutoRequest is what a client agent asks a server that has nothing but the CA of the servers, and a JWT.
type AutoRequest struct {
	Node string
	JWT  catalog.SecretID
	// CSR is a request in PEM for the agent's certificate, with its identity and further names.
	CSR string
}

// AutoReply is what such an agent needs. It is a secret.
type AutoReply struct {
	// Certificate is in PEM, with those between it and the root behind it.
	Certificate string
	Settings    AutoSettings
}

// AutoSettings are settings of an agent that the servers tell it, by the names that they have in a configuration. What the
// agent's own configuration says counts before them.
type AutoSettings struct {
	Datacenter            string      `json:"datacenter"`
	PrimaryDatacenter     string      `json:"primary_datacenter"`
	Encrypt               string      `json:"encrypt,omitempty"`
	EncryptVerifyIncoming bool        `json:"encrypt_verify_incoming"`
	EncryptVerifyOutgoing bool        `json:"encrypt_verify_outgoing"`
	RetryJoin             []string    `json:"retry_join,omitempty"`
	ACL                   AutoACL     `json:"acl"`
	TLS                   AutoDefault `json:"tls"`
}

// AutoACL is how an agent checks tokens, and its own. Times are in the form of a configuration, such as 30s.
type AutoACL struct {
	Enabled             bool       `json:"enabled"`
	DefaultPolicy       string     `json:"default_policy,omitempty"`
	DownPolicy          string     `json:"down_policy,omitempty"`
	PolicyTTL           string     `json:"policy_ttl,omitempty"`
	RoleTTL             string     `json:"role_ttl,omitempty"`
	TokenTTL            string     `json:"token_ttl,omitempty"`
	EnableKeyListPolicy bool       `json:"enable_key_list_policy"`
	Tokens              AutoTokens `json:"tokens"`
}

// AutoTokens are the tokens of an agent.
type AutoTokens struct {
	Agent string `json:"agent,omitempty"`
}

// AutoDefault is how connections to servers are secured. It stands among the defaults, so that whatever the agent's own
// configuration demands counts.
type AutoDefault struct {
	Defaults AutoTLS `json:"defaults"`
}

// AutoTLS are the rules of TLS that agents share with their servers.
type AutoTLS struct {
	MinVersion           string `json:"tls_min_version,omitempty"`
	CipherSuites         string `json:"tls_cipher_suites,omitempty"`
	VerifyOutgoing       bool   `json:"verify_outgoing,omitempty"`
	VerifyServerHostname bool   `json:"verify_server_hostname,omitempty"`
}

// Verbs by which client agents get their certificates, and their settings, from the servers.
var (
	AutoSign      = rpc.Method[SignRequest, catalog.IssuedCert]{Name: "AutoEncrypt.Sign", From: rpc.FromAnyone}
	AutoConfigure = rpc.Method[AutoRequest, AutoReply]{Name: "AutoConfig.InitialConfiguration", From: rpc.FromAnyone}
)
