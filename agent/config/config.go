package config

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Config is the configuration of an agent: what Load returns is complete, resolved and valid. What each
// setting means is said in the table, and on the page that Reference writes.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file
type Config struct {
	// Dev is the development profile: a server that leads itself and keeps nothing on disk. It has no
	// key in files.
	Dev bool `json:"-"`

	NodeName               string            `json:"node_name"`
	NodeID                 string            `json:"node_id"`
	NodeMeta               map[string]string `json:"node_meta"`
	Datacenter             string            `json:"datacenter"`
	PrimaryDatacenter      string            `json:"primary_datacenter"`
	DefaultIntentionPolicy string            `json:"default_intention_policy"`
	DataDir                string            `json:"data_dir"`
	Server                 bool              `json:"server"`
	Bootstrap              bool              `json:"bootstrap"`
	// BootstrapExpect is how many servers elect the first leader. Load sets it to 1 for Bootstrap and Dev.
	BootstrapExpect int       `json:"bootstrap_expect"`
	ReadReplica     bool      `json:"read_replica"`
	Locality        Locality  `json:"locality"`
	Partition       string    `json:"partition"`
	Segment         string    `json:"segment"`
	Segments        []Segment `json:"segments"`
	PidFile         string    `json:"pid_file"`
	LicensePath     string    `json:"license_path"`
	Version         string    `json:"version"`
	Experiments     []string  `json:"experiments"`

	// ClientAddr and the addresses below it may hold several addresses with spaces between them.
	ClientAddr                       string      `json:"client_addr"`
	Addresses                        Addresses   `json:"addresses"`
	Ports                            Ports       `json:"ports"`
	UnixSockets                      UnixSockets `json:"unix_sockets"`
	BindAddr                         string      `json:"bind_addr"`
	SerfLAN                          string      `json:"serf_lan"`
	SerfWAN                          string      `json:"serf_wan"`
	SerfLANAllowedCIDRs              []string    `json:"serf_lan_allowed_cidrs"`
	SerfWANAllowedCIDRs              []string    `json:"serf_wan_allowed_cidrs"`
	AdvertiseAddr                    string      `json:"advertise_addr"`
	AdvertiseAddrIPv4                string      `json:"advertise_addr_ipv4"`
	AdvertiseAddrIPv6                string      `json:"advertise_addr_ipv6"`
	AdvertiseAddrWAN                 string      `json:"advertise_addr_wan"`
	AdvertiseAddrWANIPv4             string      `json:"advertise_addr_wan_ipv4"`
	AdvertiseAddrWANIPv6             string      `json:"advertise_addr_wan_ipv6"`
	TranslateWANAddrs                bool        `json:"translate_wan_addrs"`
	LeaveOnTerminate                 bool        `json:"leave_on_terminate"`
	SkipLeaveOnInterrupt             bool        `json:"skip_leave_on_interrupt"`
	RejoinAfterLeave                 bool        `json:"rejoin_after_leave"`
	DisableHostNodeID                bool        `json:"disable_host_node_id"`
	DisableCoordinates               bool        `json:"disable_coordinates"`
	AutoReloadConfig                 bool        `json:"auto_reload_config"`
	UseStreamingBackend              bool        `json:"use_streaming_backend"`
	EnableDebug                      bool        `json:"enable_debug"`
	DisableRemoteExec                bool        `json:"disable_remote_exec"`
	DisableUpdateCheck               bool        `json:"disable_update_check"`
	DisableAnonymousSignature        bool        `json:"disable_anonymous_signature"`
	EnableAgentTLSForChecks          bool        `json:"enable_agent_tls_for_checks"`
	EnableCentralServiceConfig       bool        `json:"enable_central_service_config"`
	EnableScriptChecks               bool        `json:"enable_script_checks"`
	EnableLocalScriptChecks          bool        `json:"enable_local_script_checks"`
	DisableKVKeyValidation           bool        `json:"disable_kv_key_validation"`
	DisableHTTPUnprintableCharFilter bool        `json:"disable_http_unprintable_char_filter"`

	RetryJoin               []string      `json:"retry_join"`
	RetryInterval           time.Duration `json:"retry_interval"`
	RetryMax                int           `json:"retry_max"`
	RetryJoinWAN            []string      `json:"retry_join_wan"`
	RetryIntervalWAN        time.Duration `json:"retry_interval_wan"`
	RetryMaxWAN             int           `json:"retry_max_wan"`
	PrimaryGateways         []string      `json:"primary_gateways"`
	PrimaryGatewaysInterval time.Duration `json:"primary_gateways_interval"`

	ReconnectTimeout    time.Duration `json:"reconnect_timeout"`
	ReconnectTimeoutWAN time.Duration `json:"reconnect_timeout_wan"`
	ReapMaxFailed       int           `json:"reap_max_failed"`
	// ReapAfter has times by metadata of nodes, as key=value.
	ReapAfter                 map[string]time.Duration `json:"reap_after"`
	AdvertiseReconnectTimeout time.Duration            `json:"advertise_reconnect_timeout"`
	ServerRejoinAgeMax        time.Duration            `json:"server_rejoin_age_max"`
	SessionTTLMin             time.Duration            `json:"session_ttl_min"`
	DefaultQueryTime          time.Duration            `json:"default_query_time"`
	MaxQueryTime              time.Duration            `json:"max_query_time"`
	DiscoveryMaxStale         time.Duration            `json:"discovery_max_stale"`
	CheckUpdateInterval       time.Duration            `json:"check_update_interval"`
	CheckChangesPerMinute     int                      `json:"check_changes_per_minute"`
	CheckOutputMaxSize        int                      `json:"check_output_max_size"`
	CheckFlapHalfLife         time.Duration            `json:"check_flap_half_life"`
	DiscardCheckOutput        bool                     `json:"discard_check_output"`

	// Domain and AltDomain are lower case and end in a dot.
	Domain    string   `json:"domain"`
	AltDomain string   `json:"alt_domain"`
	Recursors []string `json:"recursors"`
	DNS       DNS      `json:"dns_config"`
	HTTP      HTTP     `json:"http_config"`
	UI        UI       `json:"ui_config"`
	XDS       XDS      `json:"xds"`

	LogLevel          string        `json:"log_level"`
	LogJSON           bool          `json:"log_json"`
	LogFile           string        `json:"log_file"`
	LogRotateDuration time.Duration `json:"log_rotate_duration"`
	LogRotateBytes    int           `json:"log_rotate_bytes"`
	LogRotateMaxFiles int           `json:"log_rotate_max_files"`
	EnableSyslog      bool          `json:"enable_syslog"`
	SyslogFacility    string        `json:"syslog_facility"`
	Telemetry         Telemetry     `json:"telemetry"`

	Protocol              int           `json:"protocol"`
	RaftProtocol          int           `json:"raft_protocol"`
	RaftSnapshotThreshold int           `json:"raft_snapshot_threshold"`
	RaftSnapshotInterval  time.Duration `json:"raft_snapshot_interval"`
	RaftTrailingLogs      int           `json:"raft_trailing_logs"`
	RaftLogStore          RaftLogStore  `json:"raft_logstore"`
	Performance           Performance   `json:"performance"`
	Limits                Limits        `json:"limits"`
	Cache                 Cache         `json:"cache"`
	Autopilot             Autopilot     `json:"autopilot"`
	RPC                   RPC           `json:"rpc"`
	Peering               Peering       `json:"peering"`
	ConfigEntries         ConfigEntries `json:"config_entries"`

	GossipLAN             Gossip      `json:"gossip_lan"`
	GossipWAN             Gossip      `json:"gossip_wan"`
	Encrypt               string      `json:"encrypt"`
	EncryptVerifyIncoming bool        `json:"encrypt_verify_incoming"`
	EncryptVerifyOutgoing bool        `json:"encrypt_verify_outgoing"`
	DisableKeyringFile    bool        `json:"disable_keyring_file"`
	TLS                   TLS         `json:"tls"`
	ServerName            string      `json:"server_name"`
	AutoEncrypt           AutoEncrypt `json:"auto_encrypt"`
	Join                  Join        `json:"join"`
	AutoConfig            AutoConfig  `json:"auto_config"`
	ACL                   ACL         `json:"acl"`
	Audit                 Audit       `json:"audit"`
	Connect               Connect     `json:"connect"`
	Cloud                 Cloud       `json:"cloud"`
	Reporting             Reporting   `json:"reporting"`

	Services []*catalog.ServiceDefinition `json:"services"`
	Checks   []*catalog.AgentCheck        `json:"checks"`
	Watches  []Watch                      `json:"watches"`

	former
}

// Addresses are where the client interfaces listen, in place of ClientAddr. The HTTP and gRPC ones may be
// unix:// sockets.
type Addresses struct {
	DNS     string `json:"dns"`
	HTTP    string `json:"http"`
	HTTPS   string `json:"https"`
	GRPC    string `json:"grpc"`
	GRPCTLS string `json:"grpc_tls"`
}

// Ports are the ports that the agent listens on, -1 where it does not.
type Ports struct {
	DNS            int `json:"dns"`
	HTTP           int `json:"http"`
	HTTPS          int `json:"https"`
	GRPC           int `json:"grpc"`
	GRPCTLS        int `json:"grpc_tls"`
	SerfLAN        int `json:"serf_lan"`
	SerfWAN        int `json:"serf_wan"`
	Server         int `json:"server"`
	SidecarMinPort int `json:"sidecar_min_port" alias:"proxy_min_port"`
	SidecarMaxPort int `json:"sidecar_max_port" alias:"proxy_max_port"`
	ExposeMinPort  int `json:"expose_min_port"`
	ExposeMaxPort  int `json:"expose_max_port"`
}

// UnixSockets says whom the sockets belong to.
type UnixSockets struct {
	User  string `json:"user"`
	Group string `json:"group"`
	Mode  string `json:"mode"`
}

// Locality is where the node runs; it converts to a catalog.Locality.
type Locality struct {
	Region string `json:"region"`
	Zone   string `json:"zone"`
}

// Segment is one network segment of a server.
type Segment struct {
	Name        string `json:"name"`
	Bind        string `json:"bind"`
	Port        int    `json:"port"`
	Advertise   string `json:"advertise"`
	RPCListener bool   `json:"rpc_listener"`
}

// Watch runs a handler when what it watches changes.
// Source: https://developer.hashicorp.com/consul/docs/automate/watch
type Watch struct {
	Type        string           `json:"type"`
	Handler     string           `json:"handler,omitempty"`
	Args        []string         `json:"args,omitempty"`
	HandlerType string           `json:"handler_type,omitempty"`
	HTTPHandler WatchHTTPHandler `json:"http_handler_config,omitzero"`
	Datacenter  string           `json:"datacenter,omitempty"`
	Token       string           `json:"token,omitempty"`
	Stale       bool             `json:"stale,omitempty"`
	Filter      string           `json:"filter,omitempty"`
	Key         string           `json:"key,omitempty"`
	Prefix      string           `json:"prefix,omitempty"`
	Service     string           `json:"service,omitempty"`
	Tag         []string         `json:"tag,omitempty"`
	PassingOnly bool             `json:"passingonly,omitempty"`
	State       string           `json:"state,omitempty"`
	Name        string           `json:"name,omitempty"`
	ServiceID   string           `json:"service_id,omitempty"`
}

// WatchHTTPHandler is called over HTTP in place of a command.
type WatchHTTPHandler struct {
	Path          string              `json:"path"`
	Method        string              `json:"method"`
	Header        map[string][]string `json:"header"`
	Timeout       time.Duration       `json:"timeout"`
	TLSSkipVerify bool                `json:"tls_skip_verify"`
}
