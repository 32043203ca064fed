package proxy

import (
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/canon"
)

// Snapshot is all that a proxy does at one time. It is not changed once a proxy has it.
type Snapshot struct{ Listeners []*Listener }

// Protocol is what a listener takes connections for.
type Protocol uint8

// The protocols.
const (
	TCP  Protocol = iota // bytes, whatever they mean
	HTTP                 // HTTP/1.1
)

// Certs is what a service shows and believes. No method blocks; many goroutines call them at once.
type Certs interface {
	connect.Source
	// Generation changes with what the other methods return: sessions and connections that were made in one are not
	// gone on with in the next.
	Generation() uint64
}

// Listener is an address at which connections are taken, and what happens to them. Zero values of limits and times
// stand for defaults.
type Listener struct {
	Name             string // in logs and metrics
	Network, Address string // "tcp" or "unix"
	Protocol         Protocol
	Routes           *Routes // where what comes goes to

	// Certs is shown to who connects over TLS, who has to show an identity of the same trust domain; nil takes plain
	// connections.
	Certs Certs
	// Policy decides who may connect, and which requests are allowed; nil allows everything.
	Policy *connect.Policy
	// Explain tells callers that are denied by which intention.
	Explain bool

	// TakesProxy expects the header of the PROXY protocol before everything else.
	TakesProxy bool

	Paths canon.Rules // how paths are written before anything looks at them
	// TrustForwarded passes on what a caller says about whom it acts for, in X-Forwarded-* and the like; else that is
	// replaced by what is known of the caller itself.
	TrustForwarded bool
	// Upgrades are the protocols in lower case, beside websocket, that an HTTP connection may become.
	Upgrades []string

	MaxConns int           // at once; those above are closed
	MaxHead  int           // bytes of the head of a request
	HeadTime time.Duration // for the head of a request from its first byte, and for handshakes
	IdleTime time.Duration // without a request; of TCP, without a byte in either direction
	// Part is how many bytes of a body have to come or go in PartTime.
	Part     int
	PartTime time.Duration
}

// Target is a set of endpoints with one identity.
type Target struct {
	Name      string // in metrics
	Endpoints []Endpoint
	Balancer  Balancer // over the endpoints, by their place

	// Certs is shown to endpoints, which have to prove to be one of Identities; nil connects without TLS.
	Certs      Certs
	Identities []connect.ID
	ServerName string

	// SendProxy is the version of the PROXY protocol that endpoints are told the caller's address in; 0 for none.
	SendProxy int

	ConnectTimeout time.Duration
	// RequestTimeout bounds a whole exchange; 0 bounds the time to the head of the response by a default.
	RequestTimeout time.Duration
	// KeepIdle is how long a connection without an exchange is kept, which has to be shorter than endpoints do.
	KeepIdle time.Duration
	MaxIdle  int // connections kept for an endpoint

	owner *Proxy
	hosts []*host
	stats *edge
}

// Endpoint is where a connection can be made to.
type Endpoint struct{ Network, Address string }

// Result is how an exchange with an endpoint ended.
type Result uint8

// The results.
const (
	Answered  Result = iota // with a response, whatever its status, or an orderly end
	Failed                  // with one of status 500 and above
	Refused                 // no connection could be made
	Broken                  // the connection broke before its response was complete
	TimedOut                // too late
	Abandoned               // by the caller, which says nothing about the endpoint
)

// Balancer picks endpoints. Its methods do not block; many goroutines call them at once.
type Balancer interface {
	// Pick returns the place of an endpoint for what has this hash, 0 where nothing is hashed, and counts it as busy;
	// -1 where there is none. not is the place of one that was tried in vain, -1 for none: it is picked only where
	// there is no other.
	Pick(hash uint64, not int) int
	// Done says how what Pick was asked for ended, and how long it took to the head of the response.
	Done(place int, r Result, took time.Duration)
}

// Defaults of what a snapshot leaves open.
const (
	defaultHead           = 64 << 10
	defaultHeadTime       = 10 * time.Second
	defaultIdle           = 2 * time.Minute
	defaultTCPIdle        = time.Hour
	defaultPart           = 64 << 10
	defaultPartTime       = 30 * time.Second
	defaultConnectTimeout = 5 * time.Second
	defaultRequestTimeout = 15 * time.Second
	defaultKeepIdle       = 4 * time.Second
	defaultMaxIdle        = 1024
)

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
