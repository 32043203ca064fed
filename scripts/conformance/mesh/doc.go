// Package mesh holds the data plane against the suites of others: h2spec for HTTP/2, and the interoperability
// cases of gRPC, each against an inbound listener, an outbound one, and through both.
//
// It is a module of its own, so that the suites never weigh on the product's go.mod. Run it with "go test" in this folder.
package mesh
