package config

import (
	"time"
)

// Gossip tunes a gossip pool.
type Gossip struct {
	GossipInterval time.Duration `json:"gossip_interval"`
	GossipNodes    int           `json:"gossip_nodes"`
	ProbeInterval  time.Duration `json:"probe_interval"`
	ProbeTimeout   time.Duration `json:"probe_timeout"`
	RetransmitMult int           `json:"retransmit_mult"`
	SuspicionMult  int           `json:"suspicion_mult"`
}

// TLS holds the certificates of the agent. Load copies what Defaults says to each interface that does not
// say otherwise.
type TLS struct {
	Defaults    TLSInterface `json:"defaults"`
	InternalRPC TLSInterface `json:"internal_rpc"`
	HTTPS       TLSInterface `json:"https"`
	GRPC        TLSInterface `json:"grpc"`
}

// TLSInterface holds the certificates and rules of one interface.
type TLSInterface struct {
	CAFile               string `json:"ca_file"`
	CAPath               string `json:"ca_path"`
	CertFile             string `json:"cert_file"`
	KeyFile              string `json:"key_file"`
	MinVersion           string `json:"tls_min_version"`
	CipherSuites         string `json:"tls_cipher_suites"` // with commas between them
	VerifyIncoming       bool   `json:"verify_incoming"`
	VerifyOutgoing       bool   `json:"verify_outgoing"`
	VerifyServerHostname bool   `json:"verify_server_hostname"`
	UseAutoCert          bool   `json:"use_auto_cert"`
}

// Join lets agents join with a token of this cluster.
type Join struct {
	CAFile    string `json:"ca_file"`
	CAKeyFile string `json:"ca_key_file"`
	SeedFile  string `json:"seed_file"`
	Renew     bool   `json:"renew"`
}

// AutoEncrypt lets clients have their certificates from the servers.
type AutoEncrypt struct {
	AllowTLS bool     `json:"allow_tls"`
	TLS      bool     `json:"tls"`
	DNSSAN   []string `json:"dns_san"`
	IPSAN    []string `json:"ip_san"`
}

// AutoConfig lets clients have their configuration from the servers.
type AutoConfig struct {
	Enabled         bool     `json:"enabled"`
	IntroToken      string   `json:"intro_token"`
	IntroTokenFile  string   `json:"intro_token_file"`
	ServerAddresses []string `json:"server_addresses"`
	DNSSANs         []string `json:"dns_sans"`
	IPSANs          []string `json:"ip_sans"`
	Authorization   struct {
		Enabled bool       `json:"enabled"`
		Static  StaticAuth `json:"static"`
	} `json:"authorization"`
}

// StaticAuth says which JWTs a server takes for AutoConfig.
type StaticAuth struct {
	JWTValidationPubKeys []string          `json:"jwt_validation_pub_keys"`
	OIDCDiscoveryURL     string            `json:"oidc_discovery_url"`
	OIDCDiscoveryCACert  string            `json:"oidc_discovery_ca_cert"`
	JWKSURL              string            `json:"jwks_url"`
	JWKSCACert           string            `json:"jwks_ca_cert"`
	JWTSupportedAlgs     []string          `json:"jwt_supported_algs"`
	BoundAudiences       []string          `json:"bound_audiences"`
	BoundIssuer          string            `json:"bound_issuer"`
	ClaimMappings        map[string]string `json:"claim_mappings"`
	ListClaimMappings    map[string]string `json:"list_claim_mappings"`
	ClaimAssertions      []string          `json:"claim_assertions"`
	ExpirationLeeway     time.Duration     `json:"expiration_leeway"`
	NotBeforeLeeway      time.Duration     `json:"not_before_leeway"`
	ClockSkewLeeway      time.Duration     `json:"clock_skew_leeway"`
}

// ACL configures access control.
type ACL struct {
	Enabled                bool          `json:"enabled"`
	DefaultPolicy          string        `json:"default_policy"`
	DownPolicy             string        `json:"down_policy"`
	PolicyTTL              time.Duration `json:"policy_ttl"`
	RoleTTL                time.Duration `json:"role_ttl"`
	TokenTTL               time.Duration `json:"token_ttl"`
	EnableKeyListPolicy    bool          `json:"enable_key_list_policy"`
	EnableTokenPersistence bool          `json:"enable_token_persistence"`
	EnableTokenReplication bool          `json:"enable_token_replication"`
	DisabledTTL            time.Duration `json:"disabled_ttl"`
	Tokens                 Tokens        `json:"tokens"`
}

// Tokens are the agent's own tokens.
type Tokens struct {
	InitialManagement             string          `json:"initial_management" alias:"master"`
	Agent                         string          `json:"agent"`
	AgentRecovery                 string          `json:"agent_recovery" alias:"agent_master"`
	Default                       string          `json:"default"`
	Replication                   string          `json:"replication"`
	DNS                           string          `json:"dns"`
	ConfigFileServiceRegistration string          `json:"config_file_service_registration"`
	ManagedServiceProvider        []ProviderToken `json:"managed_service_provider"`
}

// ProviderToken is a token of an operator who runs the cluster for others.
type ProviderToken struct {
	AccessorID string `json:"accessor_id"`
	SecretID   string `json:"secret_id"`
}

// Audit says where the record of requests goes.
type Audit struct {
	Enabled bool                 `json:"enabled"`
	Sinks   map[string]AuditSink `json:"sink"`
}

// AuditSink is a file that the record of requests goes to.
type AuditSink struct {
	Type              string        `json:"type"`
	Format            string        `json:"format"`
	Path              string        `json:"path"`
	DeliveryGuarantee string        `json:"delivery_guarantee"`
	Mode              string        `json:"mode"`
	RotateDuration    time.Duration `json:"rotate_duration"`
	RotateMaxFiles    int           `json:"rotate_max_files"`
	RotateBytes       int           `json:"rotate_bytes"`
}

// Connect configures the mesh and its certificate authority.
type Connect struct {
	Enabled                        bool           `json:"enabled"`
	CAProvider                     string         `json:"ca_provider"`
	Proxy                          string         `json:"proxy"`
	CAConfig                       map[string]any `json:"ca_config"`
	EnableMeshGatewayWANFederation bool           `json:"enable_mesh_gateway_wan_federation"`
	TestCALeafRootChangeSpread     time.Duration  `json:"test_ca_leaf_root_change_spread"`
}
