// Package dns answers the DNS API of an agent: nodes, services, prepared queries and addresses of the
// catalog by name, and the rest of the world through recursors.
//
// A question takes one of two ways. The short one finds an answer that was packed before and is not
// stale, puts its records in a new random order and sends it, without allocating or blocking. The long
// one asks the Source, packs what it says once, and remembers it for the short way.
package dns
