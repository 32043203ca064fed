package config

import "time"

// Defaults are Consul's unless a comment says why not.

func nodeSettings() []setting {
	return []setting{
		{Key: "node_name", Flag: "node", Check: nodeName, Help: "Name of this node, unique in the datacenter. Default: the host's name."},
		{Key: "node_id", Flag: "node-id", Check: uuid, Help: "UUID of this node. Default: a random one, kept in the data directory."},
		{Key: "node_meta", Flag: "node-meta", Check: meta, Reload: true, Help: "Key and value pairs that describe the node, as key:value on the command line."},
		{Key: "datacenter", Flag: "datacenter", Def: "dc1", Check: datacenter, Help: "Name of the datacenter, in lower case."},
		{Key: "primary_datacenter", Check: datacenter, Help: "Datacenter that rules over access control, intentions and the mesh CA. Default: this one."},
		{Key: "data_dir", Flag: "data-dir", Help: "Directory for all that outlives a restart. Needed except with -dev."},
		{Key: "server", Flag: "server", Dev: true, Help: "Run as a server."},
		{Key: "bootstrap", Flag: "bootstrap", Help: "Elect this server by itself. The same as bootstrap_expect = 1."},
		{Key: "bootstrap_expect", Flag: "bootstrap-expect", Check: atLeast(0), Help: "How many servers have to be there before the first election."},
		{Key: "read_replica", Flag: "read-replica non-voting-server", Help: "Be a server that answers reads and has no vote."},
		{Key: "locality.region", Help: "Region in which the node runs."},
		{Key: "locality.zone", Help: "Zone in which the node runs."},
		{Key: "partition", Flag: "partition", Help: "Admin partition of the node. There is one, default."},
		{Key: "segment", Flag: "segment", Help: "Network segment of the node."},
		{Key: "segments", Check: segments, Help: "Network segments that this server takes part in: name, bind, port, advertise, rpc_listener."},
		{Key: "leave_on_terminate", Def: true, Srv: false, Help: "Leave the cluster on SIGTERM. Default: true on clients, false on servers."},
		{Key: "skip_leave_on_interrupt", Def: false, Srv: true, Help: "Stay in the cluster on SIGINT. Default: true on servers, false on clients."},
		{Key: "pid_file", Flag: "pid-file", Help: "File that gets the process id."},
		{Key: "auto_reload_config", Flag: "auto-reload-config", Help: "Reload when a configuration or certificate file changes."},
		{Key: "disable_host_node_id", Flag: "disable-host-node-id", Def: true, Help: "Do not derive the node's id from the host. It is always random or given."},
		{Key: "disable_coordinates", Help: "Do not measure network coordinates."},
		{Key: "disable_remote_exec", Def: true, Help: "Refuse the command exec. Agents refuse it in any case."},
		{Key: "enable_debug", Dev: true, Help: "Serve profiles on /debug/pprof without access control."},
		{Key: "experiments", Help: "Names of features under trial."},
	}
}

func addressSettings() []setting {
	return []setting{
		{Key: "client_addr", Flag: "client", Def: "127.0.0.1", Template: true, Help: "Addresses, with spaces between them, of the DNS, HTTP and gRPC interfaces."},
		{Key: "addresses.dns", Template: true, Help: "Addresses of the DNS interface, in place of client_addr."},
		{Key: "addresses.http", Template: true, Help: "Addresses of the HTTP API, in place of client_addr; unix:///path is a socket."},
		{Key: "addresses.https", Template: true, Help: "Addresses of the HTTPS API, in place of client_addr; unix:///path is a socket."},
		{Key: "addresses.grpc", Template: true, Help: "Addresses of gRPC, in place of client_addr; unix:///path is a socket."},
		{Key: "addresses.grpc_tls", Template: true, Help: "Addresses of gRPC with TLS, in place of client_addr; unix:///path is a socket."},
		{Key: "ports.dns", Flag: "dns-port", Def: 8600, Check: port, Help: "Port of DNS, UDP and TCP. -1 disables, 0 takes any free port; so below."},
		{Key: "ports.http", Flag: "http-port", Def: 8500, Check: port, Help: "Port of the HTTP API."},
		{Key: "ports.https", Flag: "https-port", Def: -1, Check: port, Help: "Port of the HTTPS API."},
		{Key: "ports.grpc", Flag: "grpc-port", Def: -1, Dev: 8502, Check: port, Help: "Port of gRPC without TLS."},
		{Key: "ports.grpc_tls", Flag: "grpc-tls-port", Def: -1, Srv: 8503, Dev: 8503, Check: port, Help: "Port of gRPC with TLS."},
		{Key: "ports.serf_lan", Flag: "serf-lan-port", Def: 8301, Check: port, Help: "Port of gossip in the datacenter, UDP and TCP."},
		{Key: "ports.serf_wan", Flag: "serf-wan-port", Def: 8302, Check: port, Help: "Port of gossip between datacenters, UDP and TCP. Servers only."},
		{Key: "ports.server", Flag: "server-port", Def: 8300, Check: port, Help: "Port of the servers' RPC."},
		{Key: "ports.sidecar_min_port", Def: 21000, Check: portOrNone, Help: "First port that is given to sidecars, 0 to give none."},
		{Key: "ports.sidecar_max_port", Def: 21255, Check: portOrNone, Help: "Last port that is given to sidecars."},
		{Key: "ports.expose_min_port", Def: 21500, Check: portOrNone, Help: "First port that is given to exposed checks, 0 to give none."},
		{Key: "ports.expose_max_port", Def: 21755, Check: portOrNone, Help: "Last port that is given to exposed checks."},
		{Key: "bind_addr", Flag: "bind", Def: "0.0.0.0", Dev: "127.0.0.1", Template: true, Help: "Address of gossip and RPC between agents."},
		{Key: "serf_lan", Flag: "serf-lan-bind", Template: true, Help: "Address of gossip in the datacenter. Default: bind_addr."},
		{Key: "serf_wan", Flag: "serf-wan-bind", Template: true, Help: "Address of gossip between datacenters. Default: bind_addr."},
		{Key: "serf_lan_allowed_cidrs", Flag: "serf-lan-allowed-cidrs", Check: cidrs, Help: "Networks from which gossip in the datacenter is taken. Default: all."},
		{Key: "serf_wan_allowed_cidrs", Flag: "serf-wan-allowed-cidrs", Check: cidrs, Help: "Networks from which gossip between datacenters is taken. Default: all."},
		{Key: "advertise_addr", Flag: "advertise", Template: true, Help: "Address under which others reach this agent. Default: bind_addr, or the host's private address."},
		{Key: "advertise_addr_ipv4", Template: true, Help: "The same, for IPv4."},
		{Key: "advertise_addr_ipv6", Template: true, Help: "The same, for IPv6."},
		{Key: "advertise_addr_wan", Flag: "advertise-wan", Template: true, Help: "Address under which other datacenters reach this agent. Default: advertise_addr."},
		{Key: "advertise_addr_wan_ipv4", Template: true, Help: "The same, for IPv4."},
		{Key: "advertise_addr_wan_ipv6", Template: true, Help: "The same, for IPv6."},
		{Key: "translate_wan_addrs", Help: "Answer with the WAN addresses of nodes in other datacenters."},
		{Key: "unix_sockets.user", Help: "Name or id of the user who owns the sockets."},
		{Key: "unix_sockets.group", Help: "Name or id of the group that owns the sockets."},
		{Key: "unix_sockets.mode", Check: octal, Help: "Mode of the sockets, in octal."},
	}
}

func joinSettings() []setting {
	return []setting{
		{Key: "retry_join", Flag: "retry-join join", Template: true, Help: "Agents of this datacenter to join: address, name or provider=…; tried until one answers."},
		{Key: "retry_interval", Flag: "retry-interval", Def: 30 * time.Second, Help: "Time between attempts."},
		{Key: "retry_max", Flag: "retry-max", Check: atLeast(0), Help: "Attempts before the agent gives up and exits; 0 is no end."},
		{Key: "retry_join_wan", Flag: "retry-join-wan join-wan", Template: true, Help: "Servers of other datacenters to join."},
		{Key: "retry_interval_wan", Flag: "retry-interval-wan", Def: 30 * time.Second, Help: "Time between attempts to join other datacenters."},
		{Key: "retry_max_wan", Flag: "retry-max-wan", Check: atLeast(0), Help: "Attempts to join other datacenters; 0 is no end."},
		{Key: "rejoin_after_leave", Flag: "rejoin", Help: "Join again at a start even after a leave."},
		{Key: "reconnect_timeout", Def: 72 * time.Hour, Check: spanOf(8 * time.Hour), Help: "Time after which a failed node is forgotten, at least 8h."},
		{Key: "reconnect_timeout_wan", Def: 72 * time.Hour, Check: spanOf(8 * time.Hour), Help: "Time after which a failed server of another datacenter is forgotten, at least 8h."},
		{Key: "reap_max_failed", Def: 50, Check: between(1, 100), Help: "Percentage of nodes that have failed above which servers remove no node from the catalog that gossip has forgotten: so many fail by a fault of the network."},
		{Key: "reap_after", Check: reapClasses, Reload: true, Help: "Times after which a failed node with metadata key=value is forgotten instead of after reconnect_timeout, at least 1m; the shortest that fits counts. For servers."},
		{Key: "advertise_reconnect_timeout", Help: "Time after which others forget this agent when it fails. Clients only."},
		{Key: "primary_gateways", Flag: "primary-gateway", Template: true, Help: "Mesh gateways of the primary datacenter, for a start without other knowledge."},
		{Key: "primary_gateways_interval", Def: 30 * time.Second, Help: "Time between attempts to reach them."},
	}
}

func serviceSettings() []setting {
	return []setting{
		{Key: "services", Reload: true, Help: "Services of this node. A single one may stand under service."},
		{Key: "checks", Reload: true, Help: "Checks of this node. A single one may stand under check."},
		{Key: "watches", Reload: true, Check: watches, Help: "Handlers that run when something changes: type, its parameters, and args or http_handler_config."},
		{Key: "enable_script_checks", Flag: "enable-script-checks", Help: "Run script checks, those registered over HTTP too. Anyone who may register can then run commands."},
		{Key: "enable_local_script_checks", Flag: "enable-local-script-checks", Help: "Run script checks that are defined in files."},
		{Key: "check_update_interval", Def: 5 * time.Minute, Help: "How long a new output of a check whose state is the same may wait before it is sent; 0 sends at once."},
		{Key: "check_changes_per_minute", Def: 60, Check: atLeast(0), Help: "How often in a minute changes of the states of one service's checks are sent; what changes more often is held, and its last state is sent. 0 is no bound."},
		{Key: "check_output_max_size", Flag: "check_output_max_size check-output-max-size", Def: 4096, Check: atLeast(1), Help: "Bytes of a check's output that are kept."},
		{Key: "check_flap_half_life", Def: time.Minute, Help: "Time after which a change of a check's state counts half. A check with six changes or more is held at its worst state until it has settled; 0 holds none. Not for ttl checks."},
		{Key: "discard_check_output", Reload: true, Help: "Do not keep the output of checks."},
		{Key: "enable_agent_tls_for_checks", Help: "Show the agent's certificate to the targets of HTTP and gRPC checks."},
		{Key: "enable_central_service_config", Def: true, Help: "Merge the servers' service-defaults and proxy-defaults into services."},
		{Key: "session_ttl_min", Def: 10 * time.Second, Check: spanOf(0), Help: "The shortest TTL of a session."},
	}
}

func dnsSettings() []setting {
	return []setting{
		{Key: "domain", Flag: "domain", Def: "consul.", Check: domain, Help: "Domain whose names are answered."},
		{Key: "alt_domain", Flag: "alt-domain", Check: domain, Help: "A second domain whose names are answered."},
		{Key: "recursors", Flag: "recursor", Template: true, Help: "DNS servers for all other names: IP addresses, with a port if it is not 53."},
		{Key: "dns_config.allow_stale", Def: true, Reload: true, Help: "Let every server answer, not only the leader."},
		{Key: "dns_config.max_stale", Def: 87600 * time.Hour, Reload: true, Help: "How far behind the leader the answering server may be."},
		{Key: "dns_config.node_ttl", Reload: true, Help: "TTL of answers about nodes."},
		{Key: "dns_config.service_ttl", Check: spans, Reload: true, Help: "TTL of answers about services: by name, by the beginning of one with * behind it, or *."},
		{Key: "dns_config.enable_truncate", Reload: true, Help: "Set the bit TC when an answer over UDP leaves something out."},
		{Key: "dns_config.only_passing", Reload: true, Help: "Leave out services with a warning."},
		{Key: "dns_config.recursor_strategy", Def: "sequential", Check: oneOf("sequential", "random"), Reload: true, Help: "Order in which recursors are asked: sequential or random."},
		{Key: "dns_config.recursor_timeout", Def: 2 * time.Second, Reload: true, Help: "How long a recursor may take."},
		{Key: "dns_config.disable_compression", Reload: true, Help: "Do not compress names in answers."},
		{Key: "dns_config.udp_answer_limit", Def: 3, Check: atLeast(0), Reload: true, Help: "Most answers over UDP to a client without EDNS."},
		{Key: "dns_config.a_record_limit", Check: atLeast(0), Reload: true, Help: "Most A or AAAA answers; 0 is no limit."},
		{Key: "dns_config.enable_additional_node_meta_txt", Def: true, Reload: true, Help: "Add the nodes' meta as TXT records."},
		{Key: "dns_config.soa.refresh", Def: 3600, Reload: true, Help: "Refresh of the SOA record, in seconds."},
		{Key: "dns_config.soa.retry", Def: 600, Reload: true, Help: "Retry of the SOA record, in seconds."},
		{Key: "dns_config.soa.expire", Def: 86400, Reload: true, Help: "Expiry of the SOA record, in seconds."},
		{Key: "dns_config.soa.min_ttl", Reload: true, Help: "How long resolvers may remember that a name does not exist, in seconds."},
		{Key: "dns_config.use_cache", Help: "Answer from the agent's cache."},
		{Key: "dns_config.cache_max_age", Help: "Oldest cached answer; 0 is no limit."},
	}
}

func httpSettings() []setting {
	return []setting{
		{Key: "http_config.block_endpoints", Check: paths, Reload: true, Help: "Beginnings of paths that are refused, such as /v1/acl."},
		{Key: "http_config.response_headers", Check: headers, Reload: true, Help: "Headers that are added to every answer."},
		{Key: "http_config.allow_write_http_from", Flag: "allow-write-http-from", Check: cidrs, Reload: true, Help: "Networks that may write to the agent's endpoints. Default: all."},
		{Key: "http_config.use_cache", Def: true, Help: "Let ?cached answer from the agent's cache."},
		{Key: "http_config.max_header_bytes", Help: "Most bytes of a request's headers; 0 or less is 64 KiB."},
		{Key: "default_query_time", Flag: "default-query-time", Def: 300 * time.Second, Check: spanOf(time.Second), Help: "How long a blocking query waits that does not say."},
		{Key: "max_query_time", Flag: "max-query-time", Def: 600 * time.Second, Check: spanOf(time.Second), Help: "How long a blocking query may wait."},
		{Key: "discovery_max_stale", Reload: true, Help: "Answer discovery from any server that is at most this far behind the leader; 0 asks the leader."},
		{Key: "cache.entry_fetch_rate", Def: -1, Check: rate, Reload: true, Help: "Most refreshes per second of one cached entry; -1 is no limit."},
		{Key: "cache.entry_fetch_max_burst", Def: 2, Check: atLeast(1), Reload: true, Help: "Refreshes of one cached entry that may come at once."},
		{Key: "use_streaming_backend", Def: true, Help: "Follow services by streams in place of blocking queries."},
		{Key: "ui_config.enabled", Flag: "ui", Dev: true, Help: "Serve the web interface."},
		{Key: "ui_config.dir", Flag: "ui-dir", Help: "Serve the web interface from this directory."},
		{Key: "ui_config.content_path", Flag: "ui-content-path", Def: "/ui/", Check: contentPath, Help: "Path of the web interface."},
		{Key: "ui_config.metrics_provider", Help: "Where the web interface has its metrics from, such as prometheus."},
		{Key: "ui_config.metrics_provider_files", Check: paths, Help: "Scripts that are served as part of the web interface."},
		{Key: "ui_config.metrics_provider_options_json", Check: jsonObject, Help: "Options of the metrics provider, a JSON object."},
		{Key: "ui_config.metrics_proxy.base_url", Check: webURL, Reload: true, Help: "Metrics store that /v1/internal/ui/metrics-proxy passes queries to."},
		{Key: "ui_config.metrics_proxy.path_allowlist", Check: paths, Reload: true, Help: "Paths that may be asked for, each in whole. Default: /api/v1/query and /api/v1/query_range."},
		{Key: "ui_config.metrics_proxy.add_headers", Secret: true, Check: addHeaders, Reload: true, Help: "Headers that are added to the queries: name, value."},
		{Key: "ui_config.dashboard_url_templates", Check: webURLs, Help: "Links to dashboards; service is the one that is used."},
	}
}

func telemetrySettings() []setting {
	return []setting{
		{Key: "log_level", Flag: "log-level", Def: "info", Reload: true, Check: oneOf("trace", "debug", "info", "warn", "err", "error"), Help: "Least level that is logged: trace, debug, info, warn or error."},
		{Key: "log_json", Flag: "log-json", Help: "Log JSON."},
		{Key: "log_file", Flag: "log-file", Help: "File, or directory with a slash behind it, that gets the log too."},
		{Key: "log_rotate_duration", Flag: "log-rotate-duration", Def: 24 * time.Hour, Check: spanOf(time.Second), Help: "Age at which a new log file is begun."},
		{Key: "log_rotate_bytes", Flag: "log-rotate-bytes", Check: atLeast(0), Help: "Size at which a new log file is begun; 0 is no limit."},
		{Key: "log_rotate_max_files", Flag: "log-rotate-max-files", Check: atLeast(-1), Help: "Old log files that are kept; 0 keeps all, -1 none."},
		{Key: "enable_syslog", Flag: "syslog", Help: "Log to syslog too."},
		{Key: "syslog_facility", Def: "LOCAL0", Help: "Facility of syslog."},
		{Key: "telemetry.metrics_prefix", Def: "consul", Help: "First part of every metric's name."},
		{Key: "telemetry.disable_hostname", Help: "Leave the host's name out of gauges."},
		{Key: "telemetry.enable_host_metrics", Help: "Measure the host."},
		{Key: "telemetry.prometheus_retention_time", Help: "How long a Prometheus metric is kept that is no longer set."},
		{Key: "telemetry.statsd_address", Check: hostPort, Help: "Address of statsd (UDP)."},
		{Key: "telemetry.statsite_address", Check: hostPort, Help: "Address of statsite (TCP)."},
		{Key: "telemetry.dogstatsd_addr", Check: hostPort, Help: "Address of DogStatsD."},
		{Key: "telemetry.dogstatsd_tags", Help: "Tags for DogStatsD, each as name:value."},
		{Key: "telemetry.filter_default", Def: true, Reload: true, Help: "Whether a metric is sent that no prefix_filter names."},
		{Key: "telemetry.prefix_filter", Reload: true, Help: "Beginnings of metrics to send (+) or not to send (-)."},
		{Key: "telemetry.retry_failed_connection", Def: true, Help: "Go on when a metrics sink cannot be reached at the start."},
		{Key: "telemetry.disable_per_tenancy_usage_metrics", Help: "Leave tenancy out of usage metrics."},
	}
}
