package config

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// former holds keys at the top of a file that Load moves to where they belong now: service and check,
// and those that Consul renamed. They are empty in what Load returns.
type former struct {
	Service []*catalog.ServiceDefinition `json:"service"`
	Check   []*catalog.AgentCheck        `json:"check"`

	StartJoin       []string `json:"start_join"`
	StartJoinWAN    []string `json:"start_join_wan"`
	NonVotingServer bool     `json:"non_voting_server"`
	OldUI           bool     `json:"ui"`
	OldUIDir        string   `json:"ui_dir"`
	UIContentPath   string   `json:"ui_content_path"`
	RaftBoltDB      struct {
		NoFreelistSync bool `json:"nofreelistsync"`
	} `json:"raft_boltdb"`
	EnableXDSLoadBalancing bool `json:"enable_xds_load_balancing"`

	CAFile                 string        `json:"ca_file"`
	CAPath                 string        `json:"ca_path"`
	CertFile               string        `json:"cert_file"`
	KeyFile                string        `json:"key_file"`
	TLSMinVersion          string        `json:"tls_min_version"`
	TLSCipherSuites        string        `json:"tls_cipher_suites"`
	TLSPreferServerCiphers bool          `json:"tls_prefer_server_cipher_suites"`
	VerifyIncoming         bool          `json:"verify_incoming"`
	VerifyIncomingRPC      bool          `json:"verify_incoming_rpc"`
	VerifyIncomingHTTPS    bool          `json:"verify_incoming_https"`
	VerifyOutgoing         bool          `json:"verify_outgoing"`
	VerifyServerHostname   bool          `json:"verify_server_hostname"`
	Reap                   bool          `json:"reap"`
	ACLEnforceVersion8     bool          `json:"acl_enforce_version_8"`
	ACLDatacenter          string        `json:"acl_datacenter"`
	ACLDefaultPolicy       string        `json:"acl_default_policy"`
	ACLDownPolicy          string        `json:"acl_down_policy"`
	ACLEnableKeyListPolicy bool          `json:"acl_enable_key_list_policy"`
	EnableACLReplication   bool          `json:"enable_acl_replication"`
	ACLToken               string        `json:"acl_token"`
	ACLAgentToken          string        `json:"acl_agent_token"`
	ACLAgentMasterToken    string        `json:"acl_agent_master_token"`
	ACLMasterToken         string        `json:"acl_master_token"`
	ACLReplicationToken    string        `json:"acl_replication_token"`
	ACLTTL                 time.Duration `json:"acl_ttl"`
}
