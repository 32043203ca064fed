package command

import "github.com/curia-mesh/curia/agent/sidecar"

// Headings of the overview.
const (
	groupAgent   = "The agent and its cluster"
	groupCatalog = "Services and nodes"
	groupKV      = "Keys, locks and events"
	groupConfig  = "Configuration entries"
	groupServers = "Servers"
	groupACL     = "Access"
	groupTools   = "Tools that need no agent"
)

// table is every subcommand. A parent comes before its children.
func table() []row {
	var rows []row
	for _, part := range [][]row{processRows(), demoRows(), agentRows(), catalogRows(), kvRows(), entryRows(), intentionRows(), connectRows(), peeringRows(), aclRows(), serverRows(), toolRows()} {
		rows = append(rows, part...)
	}
	return rows
}

func agentRows() []row {
	return []row{
		{name: "info", group: groupAgent, synopsis: "Shows how the agent does", reach: toAgent, bind: info,
			help: "Shows the agent's own figures: its build, its part in the quorum, gossip and so on."},
		{name: "join", group: groupAgent, synopsis: "Makes the agent, or this machine, join a cluster", reach: toAgent, args: "ADDRESS... | TOKEN", min: 1, max: -1, bind: join,
			help: "With a join token: makes this machine an agent of the cluster that made the token. It gets its certificate, the gossip key and its agent's token from a server that has the CA of the token, writes its configuration, and with -run becomes the agent.\n\n  $ curia join -run TOKEN\n\nWith addresses: makes the agent join the cluster of the agents at the addresses. One that answers is enough for the cluster, but the exit code tells whether all did."},
		{name: "leave", group: groupAgent, synopsis: "Makes the agent leave its cluster and stop", reach: toAgent, bind: leave,
			help: "Makes the agent leave its cluster gracefully and stop."},
		{name: "force-leave", group: groupAgent, synopsis: "Takes a failed member for one that left", reach: toAgent, args: "NODE", min: 1, max: 1, bind: forceLeave,
			help: "Makes the cluster take a failed member for one that left, so that nobody waits for it. A member that is alive joins again by itself."},
		{name: "members", group: groupAgent, synopsis: "Lists the members of the cluster", reach: toAgent, bind: members,
			help: "Lists the members of the cluster as the agent's gossip sees them. The exit code is 2 when none matches."},
		{name: "monitor", group: groupAgent, synopsis: "Follows the agent's log", reach: toAgent, bind: monitor,
			help: "Shows the agent's log as it is written, at a level of your choice, until it is interrupted."},
		{name: "reload", group: groupAgent, synopsis: "Makes the agent read its configuration again", reach: toAgent, bind: reload,
			help: "Makes the agent read its configuration files again and use what can change while it runs."},
		{name: "maint", group: groupAgent, synopsis: "Takes a node or service out of service, or back", reach: toAgent, bind: maint,
			help: "With -enable takes the agent's node, or one of its services, out of service: they become critical until -disable. Without either lists what is out of service.\n\n  $ curia maint -enable -reason \"new kernel\"\n  $ curia maint -enable -service redis-1 -reason \"upgrade\"\n  $ curia maint -disable"},
		{name: "debug", group: groupAgent, synopsis: "Captures how an agent does into an archive", reach: toAgent, bind: debugBundle,
			help: "Captures the agent's configuration, host, members, metrics, log and profiles over some time into one archive, for those who are to find out what is wrong. Profiles need enable_debug on the agent, or a token with operator:read. The archive holds names and addresses of your network; it holds no tokens or keys."},
		{name: "rtt", group: groupAgent, synopsis: "Estimates the round-trip time between two nodes", reach: toServers, args: "NODE1 [NODE2]", min: 1, max: 2, bind: rtt,
			help: "Estimates the round-trip time between two nodes by their network coordinates. The second node is the agent's own unless it is given.\n\n  $ curia rtt n1 n2\n  $ curia rtt -wan n1.dc1 n2.dc2"},
	}
}

func catalogRows() []row {
	return []row{
		{name: "catalog", group: groupCatalog, synopsis: "Lists datacenters, nodes and services", help: "Lists what the catalog holds, and clears it of nodes whose agents are gone."},
		{name: "catalog datacenters", synopsis: "Lists the datacenters", reach: toServers, bind: catalogDatacenters,
			help: "Lists the names of all known datacenters."},
		{name: "catalog nodes", synopsis: "Lists the nodes of a datacenter", reach: toServers, bind: catalogNodes,
			help: "Lists the nodes of a datacenter.\n\n  $ curia catalog nodes -service=redis -near=_agent\n  $ curia catalog nodes -filter 'Meta.rack == \"r1\"'"},
		{name: "catalog services", synopsis: "Lists the services of a datacenter", reach: toServers, bind: catalogServices,
			help: "Lists the services of a datacenter, or of one node."},
		{name: "catalog gc", synopsis: "Lists nodes whose agents are gone, and removes them", reach: toServers, bind: catalogGC,
			help: "Lists the nodes whose agents have failed and that gossip has forgotten, or whose address another node has, and says why. With -apply they are removed, each unless its agent has come back. Nodes that were registered without an agent stay. More than half of all nodes are removed only with -force: so many fail by a fault of the network.\n\n  $ curia catalog gc\n  $ curia catalog gc -node-meta=class=spot -failed -apply"},
		{name: "services", group: groupCatalog, synopsis: "Registers and exports services", help: "Registers services on the agent's node, and exports services to other clusters."},
		{name: "services register", synopsis: "Registers services on the agent's node", reach: toAgent, args: "[FILE...]", max: -1, bind: servicesRegister,
			help: "Registers services by files of definitions, in HCL or JSON, or one service by options. What is registered this way stays until it is deregistered.\n\n  $ curia services register web.hcl\n  $ curia services register -name=web -port=80 -tag=v1"},
		{name: "services deregister", synopsis: "Removes services from the agent's node", reach: toAgent, args: "[FILE...]", max: -1, bind: servicesDeregister,
			help: "Removes the services that files define, or the one with the id.\n\n  $ curia services deregister web.hcl\n  $ curia services deregister -id=web-1"},
		{name: "services export", synopsis: "Exports a service to other clusters", reach: toServers, bind: servicesExport,
			help: "Adds consumers of a service to the configuration entry exported-services.\n\n  $ curia services export -name=web -consumer-peers=east"},
		{name: "services exported-services", synopsis: "Lists the exported services", reach: toServers, bind: servicesExported,
			help: "Lists the exported services and those that they are exported to."},
	}
}

func kvRows() []row {
	return []row{
		{name: "kv", group: groupKV, synopsis: "Reads and writes the key/value store", help: "Reads and writes the key/value store.\n\n  $ curia kv put app/port 80\n  $ curia kv get app/port\n  $ curia kv get -recurse app/\n  $ curia kv delete app/port"},
		{name: "kv get", synopsis: "Reads keys", reach: toServers, args: "[KEY_OR_PREFIX]", max: 1, bind: kvGet,
			help: "Shows the value of a key, or with -recurse and -keys of all keys that begin with the argument. The exit code is 1 when there is no such key."},
		{name: "kv put", synopsis: "Writes a key", reach: toServers, args: "KEY [DATA]", min: 1, max: 2, bind: kvPut,
			help: "Writes a key. The data is taken as it is, or with @FILE from a file, or with - from standard input.\n\n  $ curia kv put app/config @config.json\n  $ curia kv put -cas -modify-index=844 app/config x"},
		{name: "kv delete", synopsis: "Deletes keys", reach: toServers, args: "KEY_OR_PREFIX", min: 1, max: 1, bind: kvDelete,
			help: "Deletes a key, or with -recurse all keys that begin with the argument. It is no error when there is none."},
		{name: "kv export", synopsis: "Writes a tree of keys as JSON", reach: toServers, args: "[PREFIX]", max: 1, bind: kvExport,
			help: "Writes all keys that begin with the prefix to standard output, in the form that kv import reads.\n\n  $ curia kv export app/ > app.json"},
		{name: "kv import", synopsis: "Reads a tree of keys from JSON", reach: toServers, args: "DATA", min: 1, max: 1, bind: kvImport,
			help: "Writes the keys of an export, one after the other: from a file with @FILE, from standard input with -. Nothing is written when the export is malformed.\n\n  $ curia kv import @app.json"},
		{name: "lock", group: groupKV, synopsis: "Runs a command while it holds a lock", reach: toServers, args: "PREFIX CHILD...", min: 2, max: -1, bind: lock,
			help: "Waits for a lock below a prefix of the key/value store and runs a child while it is held. With -n several may hold it at once. When the lock is lost the child, with all that it started, is asked to end and killed after five seconds.\n\nThe child's failure is not this command's, unless -child-exit-code is set.\n\n  $ curia lock -try=10s jobs/backup ./backup.sh"},
		{name: "watch", group: groupKV, synopsis: "Runs a handler whenever a view changes", reach: toServers, args: "[HANDLER...]", max: -1, bind: watch,
			help: "Watches a view of the cluster. Without a handler shows it once. A handler gets the view as JSON on standard input, and its index in CONSUL_INDEX; one that is a URL gets it by POST.\n\n  $ curia watch -type=service -service=web ./reload.sh\n  $ curia watch -type=key -key=app/config https://hooks.test/app"},
		{name: "event", group: groupKV, synopsis: "Fires an event", reach: toServers, args: "[PAYLOAD]", max: 1, bind: event,
			help: "Spreads an event, with a small payload, over the nodes by gossip. There is no promise that it reaches all.\n\n  $ curia event -name=deploy -service=web v2"},
		{name: "exec", group: groupKV, synopsis: "Runs a command on many nodes", reach: toServers, args: "[- | COMMAND...]", max: -1, bind: execute,
			help: "Runs a command, or with - a script from standard input, on the nodes that match, and shows what they write. It asks by keys and an event, as Consul does. Curia's agents never take part, whatever disable_remote_exec says: whoever may write such keys and fire events could run anything there. The exit code is 2 when it fails on a node."},
		{name: "kv replication", synopsis: "Shows the copies of other datacenters' keys", reach: toServers, bind: kvReplication,
			help: "Shows which keys the datacenter that is asked copies from others, by its kv-replication entries: from where, how many there are, how many are not as there because they were written here, when they were last found to be as there, and what is wrong."},
	}
}

func entryRows() []row {
	return []row{
		{name: "config", group: groupConfig, synopsis: "Reads and writes configuration entries", help: "Reads and writes configuration entries, which configure services and the mesh for the whole cluster."},
		{name: "config read", synopsis: "Reads an entry", reach: toServers, bind: configRead,
			help: "Shows an entry as JSON.\n\n  $ curia config read -kind=service-defaults -name=web"},
		{name: "config write", synopsis: "Writes an entry", reach: toServers, args: "FILE", min: 1, max: 1, bind: configWrite,
			help: "Writes an entry from a file in HCL or JSON, or with - from standard input.\n\n  $ curia config write web.hcl"},
		{name: "config list", synopsis: "Lists the entries of a kind", reach: toServers, bind: configList,
			help: "Lists the names of the entries of a kind.\n\n  $ curia config list -kind=service-defaults"},
		{name: "config delete", synopsis: "Deletes an entry", reach: toServers, bind: configDelete,
			help: "Deletes an entry. It is no error when there is none.\n\n  $ curia config delete -kind=service-defaults -name=web\n  $ curia config delete -filename=web.hcl"},
	}
}

func intentionRows() []row {
	return []row{
		{name: "intention", group: groupConfig, synopsis: "Says which services may reach which", help: "Says which services may reach which. An intention allows or denies a source the way to a destination; * stands for every service. The most specific one counts.\n\n  $ curia intention create -deny web db\n  $ curia intention check web db"},
		{name: "intention create", synopsis: "Creates intentions", reach: toServers, args: "SRC DST | -file FILE...", min: 1, max: -1, bind: intentionCreate,
			help: "Creates an intention, or with -file those of files in JSON. With -replace one that exists is changed; without it is an error.\n\n  $ curia intention create web db\n  $ curia intention create -deny '*' db\n  $ curia intention create -file web-db.json"},
		{name: "intention check", synopsis: "Tells whether a service may reach another", reach: toServers, args: "SRC DST", max: -1, bind: intentionCheck,
			help: "Tells whether a service may connect to another. The exit code is 0 when it may and 1 when it may not. One that is allowed or denied by request counts as denied here."},
		{name: "intention match", synopsis: "Lists the intentions that count for a service", reach: toServers, args: "SRC_OR_DST", min: 1, max: 1, bind: intentionMatch,
			help: "Lists the intentions that count for a service as the destination, or with -source as the source, in the order in which they do.\n\n  $ curia intention match db\n  $ curia intention match -source web"},
		{name: "intention list", synopsis: "Lists all intentions", reach: toServers, bind: intentionList,
			help: "Lists all intentions, the most specific first."},
		{name: "intention get", synopsis: "Shows an intention", reach: toServers, args: "SRC DST | ID", min: 1, max: 2, bind: intentionGet,
			help: "Shows an intention, by its source and destination or by its id."},
		{name: "intention delete", synopsis: "Deletes an intention", reach: toServers, args: "SRC DST | ID", min: 1, max: 2, bind: intentionDelete,
			help: "Deletes an intention, by its source and destination or by its id. It is no error when there is none."},
	}
}

func connectRows() []row {
	return []row{
		{name: "connect", group: groupConfig, synopsis: "Looks after the mesh", help: "Looks after the mesh: who may sign its certificates, and how, and the proxies of its services."},
		{name: "connect proxy", synopsis: "Runs a proxy, or shows the node's", reach: toAgent, bind: connectProxy,
			help: "Runs the proxy of one service until it is interrupted, for those who start proxies by themselves: agents run the sidecars of their services, unless connect.proxy is none, or proxy { config { managed = false } } is in a registration.\n\n  $ curia connect proxy -sidecar-for web\n  $ curia connect proxy -service web -service-addr 127.0.0.1:8080 -upstream db:9191 -listen :20000 -register\n\nWith -gateway=mesh it runs a mesh gateway, which passes connections between datacenters on:\n\n  $ curia connect proxy -gateway=mesh -register -address 10.0.0.5:8443 -wan-address 198.51.100.5:8443\n\nThe commands below show the proxy that runs the sidecars of the agent's node."},
		{name: "connect proxy status", synopsis: "Shows whether the node's proxy has the newest configuration", reach: toAgent, bind: shownAs(sidecar.ViewStatus, proxyStatus),
			help: "Shows the proxy that runs the sidecars of the agent's node: which snapshot it uses, whether that is the newest, whose certificates it has, and its listeners."},
		{name: "connect proxy config", synopsis: "Shows what the node's proxy was told", reach: toAgent, bind: proxyConfig,
			help: "Shows the snapshot that the proxy of the agent's node uses, in JSON: registrations, certificates without their keys, intentions, chains and endpoints."},
		{name: "connect proxy clusters", synopsis: "Lists the targets of the node's proxy", reach: toAgent, bind: shownAs(sidecar.ViewClusters, proxyClusters),
			help: "Lists the targets that the proxy of the agent's node sends traffic to, with how much went there and what is wrong with them."},
		{name: "connect proxy endpoints", synopsis: "Lists the endpoints of the node's proxy", reach: toAgent, bind: shownAs(sidecar.ViewEndpoints, proxyEndpoints),
			help: "Lists the endpoints of these targets: their checks, whether they get traffic, and why not."},
		{name: "connect ca", synopsis: "Reads and changes who signs the mesh's certificates", help: "Reads and changes who signs the certificates of the mesh, and how.\n\n  $ curia connect ca get-config > ca.json\n  $ curia connect ca set-config -config-file ca.json"},
		{name: "connect ca get-config", synopsis: "Shows who signs the mesh's certificates, and how", reach: toServers, bind: caGet,
			help: "Shows the configuration of the certificate authority in JSON. Private keys and tokens are left out."},
		{name: "connect ca set-config", synopsis: "Changes who signs the mesh's certificates, and how", reach: toServers, bind: caSet,
			help: "Replaces the configuration of the certificate authority. Private keys and tokens that the file leaves out stay as they are. A configuration that brings another root, by another provider, PrivateKey, PrivateKeyType or PrivateKeyBits, lets it take over: the present root vouches for it, and stays trusted until the certificates that it has signed have ended."},
	}
}

func peeringRows() []row {
	return []row{
		{name: "peering", group: groupConfig, synopsis: "Connects clusters with one another", help: "Connects clusters with one another. One cluster makes a token, and the other establishes the peering with it.\n\n  $ curia peering generate-token -name=east\n  $ curia peering list"},
		{name: "peering generate-token", synopsis: "Makes a token for another cluster", reach: toServers, bind: peeringToken,
			help: "Makes a token with which another cluster peers with this one, and shows it. Who has the token can peer: hand it over in secret. A further token for the same name replaces the one before.\n\n  $ curia peering generate-token -name=east -meta=env=production"},
		{name: "peering establish", synopsis: "Peers with the cluster that made a token", reach: toServers, bind: peeringEstablish,
			help: "Peers with the cluster that made the token.\n\n  $ curia peering establish -name=west -peering-token=\"$TOKEN\""},
		{name: "peering list", synopsis: "Lists the peerings", reach: toServers, bind: peeringList,
			help: "Lists the peerings, with how many services each imports and exports over its connection."},
		{name: "peering read", synopsis: "Shows a peering", reach: toServers, bind: peeringRead,
			help: "Shows a peering. The exit code is 1 when there is none of that name.\n\n  $ curia peering read -name=east"},
		{name: "peering delete", synopsis: "Ends a peering", reach: toServers, bind: peeringDelete,
			help: "Ends a peering, and with it what was imported and exported. It is no error when there is none."},
		{name: "peering exported-services", synopsis: "Lists the services that a peer may reach", reach: toServers, bind: peeringExported,
			help: "Lists the services that the configuration entry exported-services and its sets let a peer reach, wildcards resolved.\n\n  $ curia peering exported-services -name=east"},
	}
}

func serverRows() []row {
	return []row{
		{name: "operator", group: groupServers, synopsis: "Looks after the servers", help: "Looks after the servers."},
		{name: "operator raft", synopsis: "Shows and changes the quorum", help: "Shows and changes the quorum."},
		{name: "operator raft list-peers", synopsis: "Lists the servers of the quorum", reach: toServers, bind: raftListPeers,
			help: "Lists the servers of the quorum and how far each is. With -stale any server answers, so that the list can be had when none leads."},
		{name: "operator raft remove-peer", synopsis: "Removes a server from the quorum", reach: toServers, bind: raftRemovePeer,
			help: "Removes a server that is gone for good from the quorum, by its id or its address."},
		{name: "operator raft transfer-leader", synopsis: "Makes another server lead", reach: toServers, bind: raftTransferLeader,
			help: "Makes another server lead."},
		{name: "operator raft recover", synopsis: "Goes on after the quorum is lost for good", bind: raftRecover,
			help: "Shows what the data directory of a stopped server knows of its cluster, and with -yes makes its next start replace the servers of the cluster: for when more of them are lost for good than the quorum can do without. Servers that only have other addresses need no recovery.\n\n  $ curia operator raft recover -data-dir=/var/lib/curia\n  $ curia operator raft recover -data-dir=/var/lib/curia -yes"},
		{name: "operator autopilot", synopsis: "Configures how servers are looked after", help: "Configures how servers are looked after automatically."},
		{name: "operator autopilot get-config", synopsis: "Shows the configuration", reach: toServers, bind: autopilotGet,
			help: "Shows how servers are looked after."},
		{name: "operator autopilot set-config", synopsis: "Changes the configuration", reach: toServers, bind: autopilotSet,
			help: "Changes how servers are looked after. What is not given stays as it is."},
		{name: "operator autopilot state", synopsis: "Shows how the servers do", reach: toServers, bind: autopilotState,
			help: "Shows how the servers do and how many may fail."},
		{name: "operator federation", synopsis: "Looks after the primary datacenter", help: "Shows and changes which datacenter is the primary, from which the others copy ACLs, config entries and the mesh's root."},
		{name: "operator federation status", synopsis: "Shows how far the copy is", reach: toServers, bind: federationStatus,
			help: "Shows which datacenter is the primary, and how far the copy of it is."},
		{name: "operator federation accept", synopsis: "Gives up what the primary lacks", reach: toServers, bind: federationAccept,
			help: "Lets what the primary datacenter has take the place of what this one had before it got a primary, and shows what is lost. Without it nothing is copied as long as anything would be lost; operator federation status names that."},
		{name: "operator federation promote", synopsis: "Makes a datacenter the primary", reach: toServers, bind: federationPromote,
			help: "Makes the datacenter that is asked the primary. The one before gives its place first, so that nothing is lost, and copies from then on; so do the others. When it breaks off half way, repeat it.\n\n  $ curia operator federation promote -datacenter=dc2"},
		{name: "operator join-token", synopsis: "Manages the tokens with which agents join", help: "Manages the tokens with which agents join a cluster that curia init has made. A token is good for some agents and some time. What is stored of it lets nobody in."},
		{name: "operator join-token create", synopsis: "Makes a join token", reach: toServers, bind: joinTokenCreate,
			help: "Makes a token for curia join and shows it, this once. Who has one for servers can become a server, which can do everything: hand it over in secret.\n\n  $ curia operator join-token create -role=client -uses=20 -ttl=1h"},
		{name: "operator join-token list", synopsis: "Lists the join tokens", reach: toServers, bind: joinTokenList,
			help: "Lists the join tokens with how many may still join with each."},
		{name: "operator join-token revoke", synopsis: "Makes a join token useless", reach: toServers, args: "ID", min: 1, max: 1, bind: joinTokenRevoke,
			help: "Makes a join token useless. Those who have joined with it stay."},
		{name: "operator usage", synopsis: "Counts what the cluster holds", help: "Counts what the cluster holds."},
		{name: "operator usage instances", synopsis: "Counts services and instances", reach: toServers, bind: usageInstances,
			help: "Counts services and their instances."},
		{name: "keyring", group: groupServers, synopsis: "Manages the keys that encrypt gossip", reach: toServers, bind: keyring,
			help: "Manages the keys that encrypt gossip, in all datacenters. To change the key, use keyring rotate; or install the new one, use it, remove the old one, and list before each step whether all nodes have followed."},
		{name: "keyring rotate", synopsis: "Changes the key that encrypts gossip", reach: toServers, bind: keyringRotate,
			help: "Makes a new key and changes to it: installs it on all members, verifies that all have it, uses it, verifies that all do, and removes the old ones. When a step fails on any member it is taken back. It does not begin while most members that are known are away.\n\nMembers that are away get the key when they come back, over RPC, where verify_incoming and verify_server_hostname tell who is who.\n\n  $ curia keyring rotate"},
		{name: "snapshot", group: groupServers, synopsis: "Saves and restores the servers' state", help: "Saves and restores the state of the servers: keys, catalog, sessions and all else.\n\n  $ curia snapshot save backup.snap\n  $ curia snapshot restore backup.snap"},
		{name: "snapshot save", synopsis: "Saves the state to a file", reach: toServers, args: "FILE", min: 1, max: 1, bind: snapshotSave,
			help: "Saves the state at one moment to a file. What is received is verified, and the file appears only whole. With -stale any server answers, so that a snapshot can be had when none leads."},
		{name: "snapshot restore", synopsis: "Replaces the state by a file's", reach: toServers, args: "FILE", min: 1, max: 1, bind: snapshotRestore,
			help: "Replaces the whole state of the servers by a snapshot's. The file is verified before anything is sent. A cluster with keys, config entries or prepared queries takes another cluster's snapshot with -force only. A cluster that has keys, config entries or prepared queries does not take the snapshot of another one, unless with -force."},
		{name: "snapshot agent", synopsis: "Saves snapshots on a schedule, and proves them", reach: toServers, bind: snapshotAgent,
			help: "Saves a snapshot at each interval, restores it on trial, keeps the newest, and looks at an older one each time. Of several snapshot agents one works, which holds a lock. The service it registers has a check of whether it is alive, and where it works one of whether snapshots are saved. It needs a token with acl:write, and with session:write, key:write on the lock and service:write on its service."},
		{name: "snapshot verify", synopsis: "Restores snapshots on trial", args: "FILE ...", min: 1, max: -1, bind: snapshotVerify,
			help: "Reads snapshots, checks their sums, and loads each into a store of its own. It says of each whether it can be restored."},
		{name: "snapshot inspect", synopsis: "Shows what a snapshot holds", args: "FILE", min: 1, max: 1, bind: snapshotInspect,
			help: "Verifies a snapshot and shows what it is of and how much of what it holds. The file may also be a state.bin in a server's data directory."},
		{name: "snapshot decode", synopsis: "Writes a snapshot as JSON", args: "FILE", min: 1, max: 1, bind: snapshotDecode,
			help: "Writes all of a snapshot to standard output, one JSON object a line: first its header, then row by row."},
	}
}

func toolRows() []row {
	return []row{
		{name: "init", group: groupServers, synopsis: "Prepares a new secured cluster", bind: initCluster,
			help: "Prepares the first server of a new cluster, in which agents know one another by certificates, gossip is encrypted and nothing is allowed without a token: makes a CA, a certificate, the gossip key, the management token and two join tokens, and writes the configuration. With -run it becomes the agent. Nothing is changed on a machine that is in a cluster.\n\n  $ curia init -run\n\nThe others follow with curia join."},
		{name: "keygen", group: groupTools, synopsis: "Makes a key to encrypt gossip with", bind: keygen,
			help: "Makes a new key to encrypt gossip with, for the setting encrypt and for keyring -install."},
		{name: "tls", group: groupTools, synopsis: "Makes a CA and certificates for agents", help: "Makes a CA and certificates for agents and the command line.\n\n  $ curia tls ca create\n  $ curia tls cert create -server -dc=dc1"},
		{name: "tls ca", synopsis: "Makes a CA", help: "Makes a CA for agents."},
		{name: "tls ca create", synopsis: "Makes a CA", bind: tlsCACreate,
			help: "Makes a CA in this folder: its certificate, and its key, which nobody but you should have."},
		{name: "tls cert", synopsis: "Makes certificates", help: "Makes certificates for agents and the command line."},
		{name: "tls cert create", synopsis: "Makes a certificate", bind: tlsCertCreate,
			help: "Makes a certificate of a server, a client agent or the command line in this folder, signed by the CA.\n\n  $ curia tls cert create -server -dc=dc1\n  $ curia tls cert create -client\n  $ curia tls cert create -cli"},
		{name: "tls cert renew", synopsis: "Replaces a certificate by one that lives on", args: "CERT", min: 1, max: 1, bind: tlsCertRenew,
			help: "Replaces a certificate and its key by new ones for the same names, signed by the CA, in the same files. Running agents take them up with a reload, and drop no connection.\n\n  $ curia tls cert renew dc1-server-consul-0.pem\n  $ curia tls cert renew -ca /etc/curia.d/ca.pem -ca-key /etc/curia.d/ca-key.pem /etc/curia.d/agent.pem"},
		{name: "version", group: groupTools, synopsis: "Shows the version", bind: version,
			help: "Shows the version of this program and the protocols that it speaks."},
	}
}
