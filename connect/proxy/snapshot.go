package proxy

import (
	"net/netip"
	"os"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/connect/canon"
	"github.com/curia-mesh/curia/connect/jwt"
)

// Snapshot is all that a proxy does at one time. It is not changed once a proxy has it.
type Snapshot struct{ Listeners []*Listener }

// Protocol is what a listener takes connections for.
type Protocol uint8

// The protocols.
const (
	TCP  Protocol = iota // bytes, whatever they mean
	HTTP                 // HTTP/1.1 and HTTP/2, as the caller begins
	SNI                  // TLS, which is not decrypted: the name in the ClientHello says where it goes
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
	Name             string      // in logs and metrics
	Service          string      // whose listener it is, in traces
	Network, Address string      // "tcp" or "unix"
	Mode             os.FileMode // of the file of a unix socket; 0 leaves it to the umask
	Protocol         Protocol
	Routes           *Routes // where what comes goes to

	// Certs is shown to who connects over TLS, who has to show an identity of the same trust domain; nil takes plain
	// connections.
	Certs Certs
	// Policy decides who may connect, and which requests are allowed; nil allows everything.
	Policy *connect.Policy
	// Tokens verify those that intentions ask for, by the name of their provider. A provider that is not among them has
	// none that count.
	Tokens map[string]*jwt.Provider
	// Explain tells callers that are denied by which intention.
	Explain bool

	// TakesProxy expects the header of the PROXY protocol before everything else.
	TakesProxy bool

	// Rates bound the requests that are taken in a second; nil does not.
	Rates *Rates

	Paths canon.Rules // how paths are written before anything looks at them
	// TrustForwarded passes on what a caller says about whom it acts for, in X-Forwarded-* and the like; else that is
	// replaced by what is known of the caller itself.
	TrustForwarded bool
	// Upgrades are the protocols in lower case, beside websocket, that an HTTP connection may become.
	Upgrades []string

	FromHere  bool          // takes connections from this machine only, and from Also
	Also      netip.Addr    // whom else; the zero value is nobody
	MaxConns  int           // at once; those above are closed
	PerCaller int           // of them, from one address; 0 does not bound it
	MaxHead   int           // bytes of the head of a request
	HeadTime  time.Duration // for the head of a request from its first byte, and for handshakes
	IdleTime  time.Duration // without a request; of TCP, without a byte in either direction
	// Part is how many bytes of a body have to come or go in PartTime.
	Part     int
	PartTime time.Duration
}

// Target is a set of endpoints with one identity.
type Target struct {
	Name      string // in logs, metrics and errors; no other target of a listener has it
	Endpoints []Endpoint
	// Balance says how they share what comes. Its zero value is peak EWMA for requests, and for bytes the one of two
	// that has fewer connections.
	Balance balance.Policy
	Limits  Limits
	// Breaker, if not nil, stops requests while many of them fail, wherever they go.
	Breaker *balance.BreakerPolicy
	// Patience is how long a target without an endpoint in service is waited for, from when it lost its last one: until
	// then requests wait, later ones fail at once. Negative waits for none.
	Patience time.Duration

	// Certs is shown to endpoints, which have to prove to be one of Identities; nil connects without TLS.
	Certs      Certs
	Identities []connect.ID
	ServerName string

	// HTTP2 speaks HTTP/2 with the endpoints without asking, as applications want it that know nothing else. Over TLS it is
	// spoken where both sides do anyway.
	HTTP2 bool

	// SendProxy is the version of the PROXY protocol that endpoints are told the caller's address in; 0 for none.
	SendProxy int

	ConnectTimeout time.Duration
	// RequestTimeout bounds a whole exchange; 0 bounds the time to the head of the response by a default.
	RequestTimeout time.Duration
	// TryTimeout bounds the time to the head of the response in each attempt of a route that has retries; 0 does not.
	TryTimeout time.Duration
	// KeepIdle is how long a connection without an exchange is kept, which has to be shorter than endpoints do.
	KeepIdle time.Duration
	MaxIdle  int // connections kept for an endpoint

	owner   *Proxy
	hosts   []*host // of the endpoints
	cluster *cluster
	stats   *edge
}

// Endpoint is where a connection can be made to.
type Endpoint struct {
	Network, Address string
	Weight           uint32 // its share in proportion to others; 0 is 1
	Level            uint8  // how far away it is, see balance.Level
	Unhealthy        bool   // its checks fail
	Registered       uint64 // index at which it was: what was seen of one that went and came back says nothing any more
}

// Limits bound what one target is burdened with at a time; 0 is 1024, negative nothing. What is above is answered with
// 503 at once; only for a connection as many wait as Pending says.
type Limits struct{ Connections, Pending, Requests int }

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
	defaultPatience       = 3 * time.Second
	defaultLimit          = 1024
)

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
