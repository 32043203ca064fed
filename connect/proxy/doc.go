// Package proxy is the data plane of the mesh: it accepts connections for the services of a node, checks who is at the
// other end, decides by intentions, and passes what comes on to endpoints, over TLS that both sides prove themselves
// with.
//
// What a Proxy does is a Snapshot, which never changes; Update replaces it whole. What must outlive it, such as
// connections kept for reuse and counters, is kept by the Proxy under names of its own. A connection has one
// goroutine, which also carries out each of its exchanges: it picks an endpoint, writes to it and reads from it.
package proxy
