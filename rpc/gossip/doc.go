// Package gossip keeps the membership of a LAN or WAN pool of agents, over serf, as a stream of member events.
//
// A [Pool] is opened with [Open], which binds its sockets, and ends with [Pool.Run]'s context or [Pool.Close].
// An agent has one LAN pool; a server has a second pool of [Kind] WAN. What a member means (its datacenter, its role)
// is in its tags and is the caller's business, as is the decision whom to let in: [Config.Admit].
package gossip
