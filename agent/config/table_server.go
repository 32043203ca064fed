package config

import "time"

func serverSettings() []setting {
	return []setting{
		// Consul's default is 5, which makes an election five times as long; only slow disks need that.
		{Key: "performance.raft_multiplier", Def: 1, Check: between(0, 10), Help: "Factor of all times of Raft, 1 to 10."},
		{Key: "performance.leave_drain_time", Def: 5 * time.Second, Help: "How long a leaving server still answers."},
		{Key: "performance.rpc_hold_timeout", Def: 7 * time.Second, Help: "How long a request is repeated while there is no leader."},
		{Key: "performance.grpc_keepalive_interval", Def: 30 * time.Second, Help: "Time between signs of life to gRPC clients."},
		{Key: "performance.grpc_keepalive_timeout", Def: 20 * time.Second, Help: "How long a gRPC client may leave one unanswered."},
		{Key: "performance.enable_xds_load_balancing", Def: true, Help: "Spread xDS streams evenly over the servers."},
		{Key: "protocol", Flag: "protocol", Def: 2, Check: between(2, 3), Help: "Version of the gossip protocol."},
		{Key: "raft_protocol", Flag: "raft-protocol", Def: 3, Check: between(2, 3), Help: "Version of the Raft protocol. It is always 3."},
		{Key: "raft_snapshot_threshold", Def: 16384, Check: atLeast(1), Reload: true, Help: "Log entries after which a snapshot is made."},
		{Key: "raft_snapshot_interval", Def: 30 * time.Second, Check: spanOf(time.Second), Reload: true, Help: "How often it is seen whether a snapshot is due."},
		{Key: "raft_trailing_logs", Def: 10000, Check: atLeast(1), Reload: true, Help: "Log entries that are kept behind a snapshot."},
		{Key: "raft_logstore.backend", Def: "wal", Check: oneOf("wal", "boltdb", "default"), Help: "Store of the log: wal, a segmented write-ahead log with one disk write per batch, or boltdb (bbolt). default means wal. A change converts the log at the next start."},
		{Key: "raft_logstore.disable_log_cache", Help: "Do not keep recent log entries in memory."},
		{Key: "raft_logstore.verification.enabled", Help: "Verify the log while running."},
		{Key: "raft_logstore.verification.interval", Help: "Time between two verifications."},
		{Key: "raft_logstore.boltdb.no_freelist_sync", Help: "Do not write the list of free pages: less to write, more to read at a start."},
		{Key: "raft_logstore.wal.segment_size_mb", Def: 8, Check: between(1, 1024), Help: "Size of a segment of the write-ahead log, in MiB. A few are made in advance."},
		{Key: "server_rejoin_age_max", Def: 168 * time.Hour, Check: spanOf(6 * time.Hour), Help: "How long a server may have been away and still start, at least 6h."},
		{Key: "limits.http_max_conns_per_client", Def: 200, Reload: true, Check: atLeast(-1), Help: "HTTP connections that one address may hold; -1 is no limit."},
		{Key: "limits.https_handshake_timeout", Def: 5 * time.Second, Check: spanOf(time.Millisecond), Help: "How long an HTTPS handshake may take."},
		{Key: "limits.rpc_handshake_timeout", Def: 5 * time.Second, Check: spanOf(time.Millisecond), Help: "How long an RPC handshake may take."},
		{Key: "limits.rpc_client_timeout", Def: 60 * time.Second, Help: "How long an RPC that does not block may take."},
		{Key: "limits.rpc_max_conns_per_client", Def: 100, Reload: true, Check: atLeast(-1), Help: "RPC connections that one address may hold; -1 is no limit."},
		{Key: "limits.rpc_rate", Def: -1, Reload: true, Check: rate, Help: "RPCs per second that a client agent may make; -1 is no limit."},
		{Key: "limits.rpc_max_burst", Def: 1000, Reload: true, Check: atLeast(1), Help: "RPCs that a client agent may make at once."},
		{Key: "limits.kv_max_value_size", Def: 512 << 10, Check: between(1, 64<<20), Help: "Most bytes of a value in the key/value store."},
		{Key: "limits.txn_max_req_len", Def: 512 << 10, Check: between(1, 64<<20), Help: "Most bytes of a transaction. The larger one of this and kv_max_value_size counts."},
		{Key: "limits.request_limits.mode", Def: "disabled", Reload: true, Check: oneOf("disabled", "permissive", "enforcing"), Help: "What happens to requests over the rates: nothing (disabled), a log line (permissive) or refusal (enforcing)."},
		{Key: "limits.request_limits.read_rate", Def: -1, Reload: true, Check: rate, Help: "Reads per second that a server takes; -1 is no limit."},
		{Key: "limits.request_limits.write_rate", Def: -1, Reload: true, Check: rate, Help: "Writes per second that a server takes; -1 is no limit."},
		{Key: "autopilot.cleanup_dead_servers", Def: true, Help: "Remove dead servers from Raft. All of autopilot is only read before there is a leader."},
		{Key: "autopilot.last_contact_threshold", Def: 200 * time.Millisecond, Help: "How long ago a healthy server may have heard from the leader."},
		{Key: "autopilot.max_trailing_logs", Def: 250, Check: atLeast(0), Help: "How many log entries a healthy server may be behind."},
		{Key: "autopilot.min_quorum", Check: atLeast(0), Help: "Servers that cleanup leaves in Raft."},
		{Key: "autopilot.server_stabilization_time", Def: 10 * time.Second, Help: "How long a new server has to be healthy before it has a vote."},
		{Key: "autopilot.redundancy_zone_tag", Help: "Key of node_meta that names a server's zone; each zone has one vote."},
		{Key: "autopilot.disable_upgrade_migration", Help: "Give newer servers a vote at once."},
		{Key: "autopilot.upgrade_version_tag", Help: "Key of node_meta that names a server's version."},
		{Key: "rpc.enable_streaming", Def: true, Help: "Serve streams to agents."},
		{Key: "peering.enabled", Def: true, Help: "Allow cluster peering."},
		{Key: "config_entries.bootstrap", Reload: true, Check: configEntries, Help: "Config entries that a leader writes if they are missing."},
		{Key: "xds.update_max_per_second", Def: 250, Reload: true, Check: rate, Help: "Configurations per second that are sent to proxies."},
	}
}

func gossipSettings() []setting {
	pool := func(key, where string, interval, probe, timeout time.Duration, nodes, suspicion int) []setting {
		return []setting{
			{Key: key + ".gossip_interval", Def: interval, Check: spanOf(time.Millisecond), Help: "Time between gossip messages " + where + "."},
			{Key: key + ".gossip_nodes", Def: nodes, Check: atLeast(1), Help: "Nodes that each message goes to."},
			{Key: key + ".probe_interval", Def: probe, Check: spanOf(time.Millisecond), Help: "Time between probes of other nodes."},
			{Key: key + ".probe_timeout", Def: timeout, Check: spanOf(time.Millisecond), Help: "How long a probed node may take."},
			{Key: key + ".retransmit_mult", Def: 4, Check: atLeast(1), Help: "Factor of how often a message is sent again."},
			{Key: key + ".suspicion_mult", Def: suspicion, Check: atLeast(1), Help: "Factor of how long a node is suspected before it counts as failed."},
		}
	}
	rows := pool("gossip_lan", "in the datacenter", 200*time.Millisecond, time.Second, 500*time.Millisecond, 3, 4)
	rows = append(rows, pool("gossip_wan", "between datacenters", 500*time.Millisecond, 5*time.Second, 3*time.Second, 4, 6)...)
	return append(rows,
		setting{Key: "encrypt", Flag: "encrypt", Secret: true, Check: gossipKey, Help: "Key of gossip, 16, 24 or 32 bytes in base64."},
		setting{Key: "encrypt_verify_incoming", Def: true, Help: "Refuse gossip that is not encrypted."},
		setting{Key: "encrypt_verify_outgoing", Def: true, Help: "Send no gossip that is not encrypted."},
		setting{Key: "disable_keyring_file", Flag: "disable-keyring-file", Dev: true, Help: "Keep the gossip keys in memory only."},
	)
}

func tlsSettings() []setting {
	var rows []setting
	for _, at := range []struct{ key, what string }{
		{"defaults", "every interface that does not say otherwise"}, {"internal_rpc", "RPC between agents"},
		{"https", "HTTPS"}, {"grpc", "gRPC"},
	} {
		key := "tls." + at.key + "."
		rows = append(rows,
			setting{Key: key + "ca_file", Reload: true, Help: "CA certificates, in PEM, that peers must be signed by, for " + at.what + "."},
			setting{Key: key + "ca_path", Reload: true, Help: "Directory of such files."},
			setting{Key: key + "cert_file", Reload: true, Help: "Certificate of the agent."},
			setting{Key: key + "key_file", Reload: true, Help: "Its key."},
			setting{Key: key + "tls_min_version", Reload: true, Check: tlsVersion, Help: "Least version: TLSv1_0 to TLSv1_3. Default: TLSv1_2."},
			setting{Key: key + "tls_cipher_suites", Reload: true, Check: cipherSuites, Help: "Cipher suites up to TLS 1.2, with commas between them."},
			setting{Key: key + "verify_incoming", Reload: true, Help: "Demand a certificate of clients."},
			setting{Key: key + "verify_outgoing", Reload: true, Help: "Demand TLS, and a certificate, of servers. Agents use TLS among themselves when this or verify_incoming is set."},
			setting{Key: key + "verify_server_hostname", Reload: true, Help: "Demand that a server's certificate names server.<datacenter>.<domain>. Implies verify_outgoing."},
			setting{Key: key + "use_auto_cert", Reload: true, Help: "Use the certificate of auto_encrypt or auto_config where there is no cert_file. HTTPS and gRPC only."},
		)
	}
	return append(rows,
		setting{Key: "server_name", Help: "Name in the certificate of this agent. Default: node_name."},
		setting{Key: "join.ca_file", Help: "Certificate, in PEM, of the CA for connections between agents, for agents that join with a token. Servers only; curia init sets it."},
		setting{Key: "join.ca_key_file", Help: "Key of that CA. Who has it can make servers."},
		setting{Key: "join.seed_file", Help: "First join tokens, which the first leader stores and removes the file."},
		setting{Key: "join.renew", Help: "Renew the certificate in tls.internal_rpc.cert_file, which the CA of join tokens has signed, before it ends. curia init and curia join set it."},
		setting{Key: "auto_encrypt.allow_tls", Help: "Give client agents certificates of the mesh's CA, and believe these. Servers only."},
		setting{Key: "auto_encrypt.tls", Help: "Have the certificate from the servers in retry_join. Needs ca_file or ca_path; implies verify_outgoing. Clients only."},
		setting{Key: "auto_encrypt.dns_san", Help: "Further DNS names for the certificate."},
		setting{Key: "auto_encrypt.ip_san", Check: ips, Help: "Further IP addresses for the certificate."},
		setting{Key: "auto_config.enabled", Help: "Have the certificate, the gossip key, the agent's token and other settings from the servers. What the configuration says itself counts before. Clients only."},
		setting{Key: "auto_config.intro_token", Env: "CURIA_INTRO_TOKEN CONSUL_INTRO_TOKEN", Secret: true, Help: "JWT that the client shows."},
		setting{Key: "auto_config.intro_token_file", Help: "File with that JWT."},
		setting{Key: "auto_config.server_addresses", Help: "Addresses of servers to ask, with ports.server where no port is named."},
		setting{Key: "auto_config.dns_sans", Help: "Further DNS names for the certificate."},
		setting{Key: "auto_config.ip_sans", Check: ips, Help: "Further IP addresses for the certificate."},
		setting{Key: "auto_config.authorization.enabled", Help: "Give configurations to clients. Servers only."},
		setting{Key: "auto_config.authorization.static.jwt_validation_pub_keys", Help: "Keys, in PEM, that JWTs must be signed by."},
		setting{Key: "auto_config.authorization.static.oidc_discovery_url", Check: webURL, Help: "OIDC discovery that has these keys."},
		setting{Key: "auto_config.authorization.static.oidc_discovery_ca_cert", Help: "CA certificate of that URL, in PEM."},
		setting{Key: "auto_config.authorization.static.jwks_url", Check: webURL, Help: "JWKS that has these keys."},
		setting{Key: "auto_config.authorization.static.jwks_ca_cert", Help: "CA certificate of that URL, in PEM."},
		setting{Key: "auto_config.authorization.static.jwt_supported_algs", Help: "Algorithms of signatures. Default: RS256."},
		setting{Key: "auto_config.authorization.static.bound_audiences", Help: "Audiences of which a JWT must have one."},
		setting{Key: "auto_config.authorization.static.bound_issuer", Help: "Issuer that a JWT must have."},
		setting{Key: "auto_config.authorization.static.claim_mappings", Help: "Claims and the names they get in assertions."},
		setting{Key: "auto_config.authorization.static.list_claim_mappings", Help: "The same for claims that are lists."},
		setting{Key: "auto_config.authorization.static.claim_assertions", Help: "Conditions that all have to hold; ${node} is the client's node."},
		setting{Key: "auto_config.authorization.static.expiration_leeway", Check: anySpan, Help: "How late a JWT may be. 0 is 150s."},
		setting{Key: "auto_config.authorization.static.not_before_leeway", Check: anySpan, Help: "How early a JWT may be. 0 is 150s."},
		setting{Key: "auto_config.authorization.static.clock_skew_leeway", Check: anySpan, Help: "How far clocks may differ. 0 is 60s."},
	)
}

func aclSettings() []setting {
	return []setting{
		{Key: "default_intention_policy", Check: oneOf("allow", "deny"), Help: "What happens to connections in the mesh that no intention speaks of: allow or deny. Default: as acl.default_policy says where tokens are checked, else allow."},
		{Key: "acl.enabled", Help: "Check tokens."},
		{Key: "acl.default_policy", Def: "allow", Check: oneOf("allow", "deny"), Help: "What no rule speaks of: allow or deny."},
		{Key: "acl.down_policy", Def: "extend-cache", Check: oneOf("allow", "deny", "extend-cache", "async-cache"), Help: "What holds while tokens cannot be resolved: allow, deny, extend-cache or async-cache."},
		{Key: "acl.policy_ttl", Def: 30 * time.Second, Help: "How long policies are remembered."},
		{Key: "acl.role_ttl", Def: 30 * time.Second, Help: "How long roles are remembered."},
		{Key: "acl.token_ttl", Def: 30 * time.Second, Help: "How long tokens are remembered."},
		{Key: "acl.enable_key_list_policy", Help: "Demand list permission for recursive reads of keys."},
		{Key: "acl.enable_token_persistence", Help: "Keep tokens that were set over the API across restarts."},
		{Key: "acl.enable_token_replication", Help: "Copy tokens from the primary datacenter."},
		{Key: "acl.tokens.initial_management", Secret: true, Reload: true, Help: "Secret of the management token that the first leader makes."},
		{Key: "acl.tokens.agent", Secret: true, Reload: true, Help: "Token of the agent's own requests."},
		{Key: "acl.tokens.agent_recovery", Secret: true, Reload: true, Help: "Token for this agent's endpoints while no server can be reached."},
		{Key: "acl.tokens.default", Secret: true, Reload: true, Help: "Token of requests that have none."},
		{Key: "acl.tokens.replication", Secret: true, Reload: true, Help: "Token for replication from the primary datacenter."},
		{Key: "acl.tokens.dns", Secret: true, Reload: true, Help: "Token of DNS queries."},
		{Key: "acl.tokens.config_file_service_registration", Secret: true, Reload: true, Help: "Token that registers services and checks from files."},
		{Key: "acl.tokens.managed_service_provider", Secret: true, Help: "Tokens of an operator who runs the cluster for others: accessor_id, secret_id."},
		{Key: "audit.enabled", Help: "Record requests to the HTTP API."},
		{Key: "audit.sink", Check: auditSinks, Help: "Files that the record goes to, by name: type, format, path, delivery_guarantee, mode, rotate_duration, rotate_bytes, rotate_max_files."},
	}
}

func meshSettings() []setting {
	return []setting{
		{Key: "connect.enabled", Def: true, Help: "Take part in the mesh."},
		{Key: "connect.proxy", Def: "process", Dev: "agent", Check: oneOf("process", "agent", "none"), Help: "Who runs the sidecars of this node: a process of their own, which outlives restarts of the agent (process), the agent itself (agent), or others (none)."},
		{Key: "connect.ca_provider", Def: "consul", Check: oneOf("consul", "vault", "aws-pca"), Help: "Who signs certificates at first: consul (built in), vault or aws-pca."},
		{Key: "connect.ca_config", Secret: true, Check: caConfig, Help: "Settings of the CA at first, such as leaf_cert_ttl."},
		{Key: "connect.enable_mesh_gateway_wan_federation", Help: "Reach other datacenters through mesh gateways."},
		{Key: "connect.test_ca_leaf_root_change_spread", Help: "Time over which leaf certificates are renewed after a root's change, for tests."},
	}
}

func unusedSettings() []setting {
	rows := []setting{
		{Key: "version", Help: "Version that wrote the file."},
		{Key: "license_path", Help: "No license is needed."},
		{Key: "disable_update_check", Help: "There is no update check."},
		{Key: "disable_anonymous_signature", Help: "There is no update check."},
		{Key: "disable_http_unprintable_char_filter", Help: "Keys are never filtered."},
		{Key: "disable_kv_key_validation", Help: "Keys are never cleaned."},
		{Key: "dns_config.prefer_namespace", Help: "There is one namespace."},
		{Key: "acl.disabled_ttl", Help: "Servers are never asked whether access control is on."},
		{Key: "telemetry.disable_compat", Help: "Old names of metrics do not exist."},
		{Key: "cloud.client_id", Help: "There is no cloud to link to."},
		{Key: "cloud.client_secret", Secret: true, Help: "There is no cloud to link to."},
		{Key: "cloud.resource_id", Help: "There is no cloud to link to."},
		{Key: "reporting.license.enabled", Help: "Nothing is reported."},
		{Key: "reporting.snapshot_retention_time", Help: "Nothing is reported."},
	}
	for _, name := range []string{
		"api_app", "api_token", "api_url", "broker_id", "broker_select_tag", "check_display_name", "check_force_metric_activation", "check_id",
		"check_instance_id", "check_search_tag", "check_tags", "submission_interval", "submission_url",
	} {
		rows = append(rows, setting{Key: "telemetry.circonus_" + name, Secret: name == "api_token", Help: "Circonus is no sink."})
	}
	for i := range rows {
		rows[i].Unused = true
	}
	return rows
}

func formerSettings() []setting {
	return []setting{
		{Key: "service", Moved: "services"},
		{Key: "check", Moved: "checks"},
		{Key: "start_join", Moved: "retry_join"},
		{Key: "start_join_wan", Moved: "retry_join_wan"},
		{Key: "non_voting_server", Moved: "read_replica"},
		{Key: "ui", Moved: "ui_config.enabled"},
		{Key: "ui_dir", Moved: "ui_config.dir"},
		{Key: "ui_content_path", Moved: "ui_config.content_path"},
		{Key: "raft_boltdb.nofreelistsync", Moved: "raft_logstore.boltdb.no_freelist_sync"},
		{Key: "enable_xds_load_balancing", Moved: "performance.enable_xds_load_balancing"},
		{Key: "ca_file", Moved: "tls.defaults.ca_file"},
		{Key: "ca_path", Moved: "tls.defaults.ca_path"},
		{Key: "cert_file", Moved: "tls.defaults.cert_file"},
		{Key: "key_file", Moved: "tls.defaults.key_file"},
		{Key: "tls_min_version", Moved: "tls.defaults.tls_min_version"},
		{Key: "tls_cipher_suites", Moved: "tls.defaults.tls_cipher_suites"},
		{Key: "tls_prefer_server_cipher_suites", Unused: true},
		{Key: "verify_incoming", Moved: "tls.defaults.verify_incoming"},
		{Key: "verify_incoming_rpc", Moved: "tls.internal_rpc.verify_incoming"},
		{Key: "verify_incoming_https", Moved: "tls.https.verify_incoming"},
		{Key: "verify_outgoing", Moved: "tls.defaults.verify_outgoing"},
		{Key: "verify_server_hostname", Moved: "tls.internal_rpc.verify_server_hostname"},
		{Key: "reap", Unused: true},
		{Key: "acl_enforce_version_8", Unused: true},
		{Key: "acl_datacenter", Moved: "primary_datacenter"},
		{Key: "acl_default_policy", Moved: "acl.default_policy"},
		{Key: "acl_down_policy", Moved: "acl.down_policy"},
		{Key: "acl_enable_key_list_policy", Moved: "acl.enable_key_list_policy"},
		{Key: "enable_acl_replication", Moved: "acl.enable_token_replication"},
		{Key: "acl_token", Moved: "acl.tokens.default", Secret: true},
		{Key: "acl_agent_token", Moved: "acl.tokens.agent", Secret: true},
		{Key: "acl_agent_master_token", Moved: "acl.tokens.agent_recovery", Secret: true},
		{Key: "acl_master_token", Moved: "acl.tokens.initial_management", Secret: true},
		{Key: "acl_replication_token", Moved: "acl.tokens.replication", Secret: true},
		{Key: "acl_ttl", Moved: "acl.token_ttl"},
	}
}
