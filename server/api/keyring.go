package api

import "github.com/curia-mesh/curia/rpc"

// GossipKeys are the keys of a gossip pool in base64, the primary first. They are a secret.
type GossipKeys struct{ Keys []string }

// Verbs for agents that were away while the keys of gossip were rotated.
var (
	KeyringLAN = rpc.Method[Nothing, GossipKeys]{Name: "Keyring.LAN", From: rpc.FromCertified}
	KeyringWAN = rpc.Method[Nothing, GossipKeys]{Name: "Keyring.WAN", From: rpc.FromServers}
)
