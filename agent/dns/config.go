package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Config is what an operator sets; Defaults has the usual values. Those that cannot be zero (timeouts,
// bounds of connections) are the usual ones where they are.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/dns
type Config struct {
	Domain     string // "consul" if empty; "curia" is answered always
	AltDomain  string // answered too, if set
	Datacenter string // the agent's own

	NodeTTL       time.Duration
	ServiceTTL    map[string]time.Duration // by name, "prefix*" or "*": the longest match counts
	OnlyPassing   bool                     // leave out instances with warnings, not only critical ones
	TranslateWAN  bool                     // use WAN addresses for other datacenters
	NodeMetaTXT   bool                     // send node meta as TXT records beside addresses
	SOA           SOA
	RecursorOrder RecursorOrder

	EnableTruncate     bool // set TC when UDP answers lack instances
	UDPAnswerLimit     int  // records in a UDP answer without EDNS; 0: as many as fit
	ARecordLimit       int  // instances in A, AAAA and ANY answers; 0: all
	DisableCompression bool

	Recursors       []string // "address" or "address:port"
	RecursorTimeout time.Duration

	UnknownMaxAge time.Duration // how long results that cannot say whether they are stale are used again
	LookupTimeout time.Duration // of a question to the Source
	TCPIdle       time.Duration // a connection that sends no whole query for so long is closed
	TCPClients    int           // connections at a time
	TCPPerClient  int           // of them, of one address
}

// SOA is the zone's start of authority.
type SOA struct {
	Refresh, Retry, Expire, MinTTL uint32 // seconds
}

// RecursorOrder says which recursor is asked first.
type RecursorOrder string

// The orders.
const (
	Sequential RecursorOrder = "sequential"
	Random     RecursorOrder = "random"
)

// Defaults returns the settings of an agent that sets none.
func Defaults() Config {
	return Config{
		Domain: "consul", Datacenter: "dc1", NodeMetaTXT: true, UDPAnswerLimit: 3,
		SOA:           SOA{Refresh: 3600, Retry: 600, Expire: 86400},
		RecursorOrder: Sequential, RecursorTimeout: 2 * time.Second,
		UnknownMaxAge: 500 * time.Millisecond, LookupTimeout: 10 * time.Second,
		TCPIdle: 10 * time.Second, TCPClients: 1024, TCPPerClient: 128,
	}
}

// ownDomain is answered whatever the configuration says.
const ownDomain = "curia"

// zone is a domain that is answered.
type zone struct {
	name string // "consul."
	wire []byte
}

// settings are a Config made ready; they never change.
type settings struct {
	Config
	buffers   sync.Pool // of *[]byte with room for a message, or for a record that is being packed
	zones     []zone    // longest first
	primary   zone
	exactTTL  map[string]uint32
	prefixTTL []prefixTTL // longest first
	nodeTTL   uint32
	recursors []netip.AddrPort
	dial      func(ctx context.Context, network, address string) (net.Conn, error) // connects to recursors
}

type prefixTTL struct {
	prefix string
	ttl    uint32
}

func newSettings(c Config) (*settings, error) {
	usual := Defaults()
	for _, d := range []struct{ set, usual *time.Duration }{
		{&c.RecursorTimeout, &usual.RecursorTimeout}, {&c.UnknownMaxAge, &usual.UnknownMaxAge},
		{&c.LookupTimeout, &usual.LookupTimeout}, {&c.TCPIdle, &usual.TCPIdle},
	} {
		if *d.set <= 0 {
			*d.set = *d.usual
		}
	}
	for _, d := range []struct{ set, usual *int }{{&c.TCPClients, &usual.TCPClients}, {&c.TCPPerClient, &usual.TCPPerClient}} {
		if *d.set <= 0 {
			*d.set = *d.usual
		}
	}
	s := &settings{Config: c, nodeTTL: seconds(c.NodeTTL), exactTTL: map[string]uint32{}, dial: (&net.Dialer{}).DialContext}
	s.buffers.New = func() any { b := make([]byte, beyond+maxTCPSize); return &b }
	if c.Domain == "" {
		s.Domain = "consul"
	}
	for _, domain := range []string{s.Domain, c.AltDomain, ownDomain} {
		if domain == "" {
			continue
		}
		z, err := newZone(domain)
		if err != nil {
			return nil, err
		}
		if len(s.zones) == 0 {
			s.primary = z
		}
		s.zones = append(s.zones, z)
	}
	slices.SortStableFunc(s.zones, func(a, b zone) int { return len(b.wire) - len(a.wire) })
	for name, ttl := range c.ServiceTTL {
		name = strings.ToLower(name)
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			s.prefixTTL = append(s.prefixTTL, prefixTTL{prefix, seconds(ttl)})
		} else {
			s.exactTTL[name] = seconds(ttl)
		}
	}
	slices.SortFunc(s.prefixTTL, func(a, b prefixTTL) int { return len(b.prefix) - len(a.prefix) })
	for _, text := range c.Recursors {
		addr, err := recursorAddr(text)
		if err != nil {
			return nil, err
		}
		s.recursors = append(s.recursors, addr)
	}
	switch c.RecursorOrder {
	case "", Sequential, Random:
	default:
		return nil, fmt.Errorf("recursor_strategy %q: want %s or %s", c.RecursorOrder, Sequential, Random)
	}
	return s, nil
}

func newZone(domain string) (zone, error) {
	name := dns.Fqdn(strings.ToLower(domain))
	buf := make([]byte, maxNameLen)
	end, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil || name == "." {
		return zone{}, fmt.Errorf("DNS domain %q is no domain name: want labels of letters, digits and dashes, such as consul", domain)
	}
	return zone{name, buf[:end]}, nil
}

func recursorAddr(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), "53"
	}
	addr, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("recursor %q is no address: want an IP address, with :port if it is not 53", text)
	}
	return addr, nil
}

// seconds is a TTL as the wire has it (RFC 2181 section 8).
func seconds(d time.Duration) uint32 {
	return uint32(max(0, min(int64(d/time.Second), 1<<31-1)))
}

// serviceTTL is the TTL of a service's records, by its name in lower case.
func (s *settings) serviceTTL(name string) uint32 {
	if ttl, ok := s.exactTTL[name]; ok {
		return ttl
	}
	for _, p := range s.prefixTTL {
		if strings.HasPrefix(name, p.prefix) {
			return p.ttl
		}
	}
	return 0
}
