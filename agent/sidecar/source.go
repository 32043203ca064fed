package sidecar

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// Source is where a sidecar learns what it has to know. Each method answers at once with index 0; else it blocks until
// there is something newer than the index, for some minutes at most, and returns the index to go on with. Many
// goroutines call them at once.
type Source interface {
	Roots(ctx context.Context, index uint64) (*catalog.Roots, uint64, error)
	// Leaf is the certificate of a service, with its key.
	Leaf(ctx context.Context, service string, index uint64) (*catalog.IssuedCert, uint64, error)
	// Intentions are all that count for a service as the destination.
	Intentions(ctx context.Context, service string, index uint64) ([]*catalog.Intention, uint64, error)
	// DefaultAllow is what happens to connections that no intention speaks of.
	DefaultAllow(ctx context.Context, index uint64) (bool, uint64, error)
	// ServiceDefaults and ProxyDefaults are config entries, nil where there is none.
	ServiceDefaults(ctx context.Context, service string, index uint64) (*catalog.ServiceDefaults, uint64, error)
	ProxyDefaults(ctx context.Context, index uint64) (*catalog.ProxyDefaults, uint64, error)
	// JWTProvider is a provider of tokens that an intention names, nil where there is none.
	JWTProvider(ctx context.Context, name string, index uint64) (*catalog.JWTProvider, uint64, error)
	// SamenessGroup is a group that an intention names as its source, nil where there is none.
	SamenessGroup(ctx context.Context, name string, index uint64) (*catalog.SamenessGroup, uint64, error)
	// PeerTrust is by what services of peers prove themselves: of those that a service is exported to, or of the one that is
	// named.
	PeerTrust(ctx context.Context, service, peer string, index uint64) ([]*catalog.PeerTrust, uint64, error)
	// Peers are all peers as far as services of them can prove themselves, for the gateway of a name.
	Peers(ctx context.Context, gateway string, index uint64) ([]*catalog.PeerTrust, uint64, error)
	// PeerServers are the servers, of this cluster and of peers, that the gateway of a name leads to for peers.
	PeerServers(ctx context.Context, gateway string, index uint64) ([]*catalog.PeerServers, uint64, error)
	// Exports are the peers that services are exported to, by the services' names.
	Exports(ctx context.Context, index uint64) (map[string][]string, uint64, error)
	// Chain is the discovery chain of an upstream.
	Chain(ctx context.Context, w Want, index uint64) (*catalog.DiscoveryChain, uint64, error)
	// Instances are those that a target of a chain is made of, without those that are critical.
	Instances(ctx context.Context, t *catalog.ChainTarget, index uint64) ([]*catalog.Instance, uint64, error)
	// QueryPlan is where a prepared query looks for instances, and QueryInstances are those that it selects in one of those
	// places, each with the checks that count.
	QueryPlan(ctx context.Context, w Want, index uint64) (*api.QueryPlan, uint64, error)
	QueryInstances(ctx context.Context, w Want, leg *api.QueryLeg, index uint64) ([]*catalog.Instance, uint64, error)
	// Gateways are the mesh gateways of a datacenter.
	Gateways(ctx context.Context, datacenter string, index uint64) ([]*catalog.Instance, uint64, error)
	// Services are the names of all services of the mesh, and Resolvers the config entries of that kind.
	Services(ctx context.Context, index uint64) ([]string, uint64, error)
	Resolvers(ctx context.Context, index uint64) ([]*catalog.ServiceResolver, uint64, error)
	// Servers are the servers of the datacenter, and Federated the mesh gateways by which datacenters say that they are
	// reached, by their names.
	Servers(ctx context.Context, index uint64) ([]*catalog.Instance, uint64, error)
	Federated(ctx context.Context, index uint64) (map[string][]*catalog.Instance, uint64, error)
	// Datacenters are those that are known where it is asked, empty for the own one: that one first, then the nearest.
	Datacenters(ctx context.Context, datacenter string, index uint64) ([]string, uint64, error)
	// Datacenter is that of the service.
	Datacenter() string
	// Domain is that of the names of servers, without a dot at its end.
	Domain() string
}

// How long to wait after errors: at first, and at most. An answer that comes sooner than calm and is no news has the
// next question wait as if it had failed.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = 30 * time.Second
	calm         = 100 * time.Millisecond
)

// backoff doubles a pause with each failure, and takes off or adds up to a half.
func backoff(failures int) time.Duration {
	d := min(firstPause<<min(failures-1, 10), longestPause)
	return d/2 + rand.N(d)
}

// follow tells put of a result and of each that takes its place, until ctx ends. Errors go to failed, which may be nil;
// the first of a row is logged.
func follow[T any](ctx context.Context, log *slog.Logger, what string, get func(ctx context.Context, index uint64) (T, uint64, error), put func(T), failed func(error)) {
	failures := 0
	for index := uint64(0); ctx.Err() == nil; {
		begun := time.Now()
		value, next, err := get(ctx, index)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failures++; failures == 1 {
				log.Warn("what a sidecar has to know cannot be had: what is known stands", "what", what, "err", err)
			}
			if failed != nil {
				failed(err)
			}
			pause.For(ctx, backoff(failures))
			continue
		case next == index && time.Since(begun) < calm:
			failures++
			pause.For(ctx, backoff(failures))
			continue
		}
		if failures = 0; next != index || index == 0 {
			put(value)
		}
		index = max(next, 1)
	}
}
