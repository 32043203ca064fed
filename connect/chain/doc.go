// Package chain compiles the config entries about a service into the graph that proxies route by: its
// router, splitters and resolvers, and those of all services that they lead to. It is pure: it reads entries
// through an interface, and equal entries make equal graphs.
//
// The three stages come in a fixed order. A router picks a service by what is in a request; only the one of
// the service that was asked for counts. A splitter spreads what arrives for a service over others by
// weight; splits that lead to further splitters are multiplied out, so that a graph has no two splitters in
// a row. A resolver says which instances stand for a service, and which when those fail.
//
// Source: https://developer.hashicorp.com/consul/docs/manage-traffic/discovery-chain
package chain
