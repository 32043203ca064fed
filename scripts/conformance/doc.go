// Package conformance holds a built agent against the official Go client of Consul, from outside: real
// processes, real sockets, nothing of the product's own code.
//
// Below it, lab runs hosts that can be broken, linear judges what clients saw, and chaos does both to clusters.
//
// It is a module of its own, so that the client and what it needs never weigh on the product's go.mod.
// Run it with "go test" in this folder. It builds the product first; CONFORMANCE_BINARY names another
// binary to try in its place.
package conformance
