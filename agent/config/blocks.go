package config

import (
	"fmt"
	"time"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

// DNS tunes the DNS interface.
type DNS struct {
	AllowStale                  bool                     `json:"allow_stale"`
	MaxStale                    time.Duration            `json:"max_stale"`
	NodeTTL                     time.Duration            `json:"node_ttl"`
	ServiceTTL                  map[string]time.Duration `json:"service_ttl"` // by service, "*" or prefix*
	EnableTruncate              bool                     `json:"enable_truncate"`
	OnlyPassing                 bool                     `json:"only_passing"`
	RecursorStrategy            string                   `json:"recursor_strategy"`
	RecursorTimeout             time.Duration            `json:"recursor_timeout"`
	DisableCompression          bool                     `json:"disable_compression"`
	UDPAnswerLimit              int                      `json:"udp_answer_limit"`
	ARecordLimit                int                      `json:"a_record_limit"`
	EnableAdditionalNodeMetaTXT bool                     `json:"enable_additional_node_meta_txt"`
	SOA                         SOA                      `json:"soa"`
	UseCache                    bool                     `json:"use_cache"`
	CacheMaxAge                 time.Duration            `json:"cache_max_age"`
	PreferNamespace             bool                     `json:"prefer_namespace"`
}

// SOA holds the seconds of the SOA record (RFC 1035 section 3.3.13).
type SOA struct {
	Refresh uint32 `json:"refresh"`
	Retry   uint32 `json:"retry"`
	Expire  uint32 `json:"expire"`
	MinTTL  uint32 `json:"min_ttl"`
}

// HTTP tunes the HTTP API.
type HTTP struct {
	BlockEndpoints     []string          `json:"block_endpoints"`
	ResponseHeaders    map[string]string `json:"response_headers"`
	AllowWriteHTTPFrom []string          `json:"allow_write_http_from"`
	UseCache           bool              `json:"use_cache"`
	MaxHeaderBytes     int               `json:"max_header_bytes"`
}

// UI configures the web interface.
type UI struct {
	Enabled                    bool              `json:"enabled"`
	Dir                        string            `json:"dir"`
	ContentPath                string            `json:"content_path"` // begins and ends in a slash
	MetricsProvider            string            `json:"metrics_provider"`
	MetricsProviderFiles       []string          `json:"metrics_provider_files"`
	MetricsProviderOptionsJSON string            `json:"metrics_provider_options_json"`
	MetricsProxy               MetricsProxy      `json:"metrics_proxy"`
	DashboardURLTemplates      map[string]string `json:"dashboard_url_templates"`
}

// MetricsProxy passes the web interface's queries on to a metrics store.
type MetricsProxy struct {
	BaseURL       string      `json:"base_url"`
	PathAllowlist []string    `json:"path_allowlist"`
	AddHeaders    []AddHeader `json:"add_headers"`
}

// AddHeader is a header that MetricsProxy adds.
type AddHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// XDS tunes the server for Envoy proxies.
type XDS struct {
	UpdateMaxPerSecond float64 `json:"update_max_per_second"`
}

// Telemetry says where metrics go.
type Telemetry struct {
	MetricsPrefix              string        `json:"metrics_prefix" alias:"statsite_prefix"`
	DisableHostname            bool          `json:"disable_hostname"`
	EnableHostMetrics          bool          `json:"enable_host_metrics"`
	PrometheusRetentionTime    time.Duration `json:"prometheus_retention_time"`
	StatsdAddr                 string        `json:"statsd_address" alias:"statsd_addr"`
	StatsiteAddr               string        `json:"statsite_address" alias:"statsite_addr"`
	DogstatsdAddr              string        `json:"dogstatsd_addr" alias:"dogstatsd_address"`
	DogstatsdTags              []string      `json:"dogstatsd_tags"`
	FilterDefault              bool          `json:"filter_default"`
	PrefixFilter               []string      `json:"prefix_filter"`
	RetryFailedConnection      bool          `json:"retry_failed_connection"`
	DisablePerTenancyUsage     bool          `json:"disable_per_tenancy_usage_metrics"`
	DisableCompat              bool          `json:"disable_compat" alias:"disable_compat_1.9"`
	CirconusAPIApp             string        `json:"circonus_api_app"`
	CirconusAPIToken           string        `json:"circonus_api_token"`
	CirconusAPIURL             string        `json:"circonus_api_url"`
	CirconusBrokerID           string        `json:"circonus_broker_id"`
	CirconusBrokerSelectTag    string        `json:"circonus_broker_select_tag"`
	CirconusCheckDisplayName   string        `json:"circonus_check_display_name"`
	CirconusCheckForceMetric   string        `json:"circonus_check_force_metric_activation"`
	CirconusCheckID            string        `json:"circonus_check_id"`
	CirconusCheckInstanceID    string        `json:"circonus_check_instance_id"`
	CirconusCheckSearchTag     string        `json:"circonus_check_search_tag"`
	CirconusCheckTags          string        `json:"circonus_check_tags"`
	CirconusSubmissionInterval string        `json:"circonus_submission_interval"`
	CirconusSubmissionURL      string        `json:"circonus_submission_url"`
}

// RaftLogStore chooses where Raft keeps its log.
type RaftLogStore struct {
	Backend         string `json:"backend"`
	DisableLogCache bool   `json:"disable_log_cache"`
	Verification    struct {
		Enabled  bool          `json:"enabled"`
		Interval time.Duration `json:"interval"`
	} `json:"verification"`
	BoltDB struct {
		NoFreelistSync bool `json:"no_freelist_sync"`
	} `json:"boltdb"`
	WAL struct {
		SegmentSizeMB int `json:"segment_size_mb"`
	} `json:"wal"`
}

// Performance tunes servers.
type Performance struct {
	RaftMultiplier         int           `json:"raft_multiplier"`
	LeaveDrainTime         time.Duration `json:"leave_drain_time"`
	RPCHoldTimeout         time.Duration `json:"rpc_hold_timeout"`
	GRPCKeepaliveInterval  time.Duration `json:"grpc_keepalive_interval"`
	GRPCKeepaliveTimeout   time.Duration `json:"grpc_keepalive_timeout"`
	EnableXDSLoadBalancing bool          `json:"enable_xds_load_balancing"`
}

// Limits bounds what others can ask of the agent.
type Limits struct {
	HTTPMaxConnsPerClient int           `json:"http_max_conns_per_client"`
	HTTPSHandshakeTimeout time.Duration `json:"https_handshake_timeout"`
	RPCHandshakeTimeout   time.Duration `json:"rpc_handshake_timeout"`
	RPCClientTimeout      time.Duration `json:"rpc_client_timeout"`
	RPCMaxConnsPerClient  int           `json:"rpc_max_conns_per_client"`
	RPCRate               float64       `json:"rpc_rate"` // below 0 is no limit
	RPCMaxBurst           int           `json:"rpc_max_burst"`
	KVMaxValueSize        int           `json:"kv_max_value_size"`
	TxnMaxReqLen          int           `json:"txn_max_req_len"`
	RequestLimits         struct {
		Mode      string  `json:"mode"`
		ReadRate  float64 `json:"read_rate"`  // below 0 is no limit
		WriteRate float64 `json:"write_rate"` // below 0 is no limit
	} `json:"request_limits"`
}

// Cache tunes the agent's cache.
type Cache struct {
	EntryFetchRate     float64 `json:"entry_fetch_rate"` // below 0 is no limit
	EntryFetchMaxBurst int     `json:"entry_fetch_max_burst"`
}

// Autopilot holds the first settings of autopilot; once there is a leader, the operator API changes them.
type Autopilot struct {
	CleanupDeadServers      bool          `json:"cleanup_dead_servers"`
	LastContactThreshold    time.Duration `json:"last_contact_threshold"`
	MaxTrailingLogs         int           `json:"max_trailing_logs"`
	MinQuorum               int           `json:"min_quorum"`
	ServerStabilizationTime time.Duration `json:"server_stabilization_time"`
	RedundancyZoneTag       string        `json:"redundancy_zone_tag"`
	DisableUpgradeMigration bool          `json:"disable_upgrade_migration"`
	UpgradeVersionTag       string        `json:"upgrade_version_tag"`
}

// RPC tunes the servers' interface for agents.
type RPC struct {
	EnableStreaming bool `json:"enable_streaming"`
}

// Peering switches cluster peering.
type Peering struct {
	Enabled bool `json:"enabled"`
}

// ConfigEntries are written when a leader finds them missing.
type ConfigEntries struct {
	Bootstrap []map[string]any `json:"bootstrap"`
}

// Entries are the entries, normalized and valid.
func (c ConfigEntries) Entries() ([]catalog.ConfigEntry, error) {
	entries := make([]catalog.ConfigEntry, len(c.Bootstrap))
	for i, m := range c.Bootstrap {
		e, err := decode.EntryMap(m)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if e.Normalize(); e.Validate() != nil {
			return nil, fmt.Errorf("entry %d: %w", i, e.Validate())
		}
		entries[i] = e
	}
	return entries, nil
}

// Cloud is read and not used.
type Cloud struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	ResourceID   string `json:"resource_id"`
}

// Reporting is read and not used.
type Reporting struct {
	License struct {
		Enabled bool `json:"enabled"`
	} `json:"license"`
	SnapshotRetentionTime time.Duration `json:"snapshot_retention_time"`
}
