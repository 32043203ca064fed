package gossip

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// Kind tells a pool of all agents of a datacenter from a pool of the servers of all datacenters.
type Kind string

const (
	// LAN is the pool of all agents of one datacenter.
	LAN Kind = "lan"
	// WAN is the pool of the servers of all datacenters.
	WAN Kind = "wan"
)

const (
	// MaxTagBytes is what the encoded tags of a member may take, by memberlist's protocol.
	MaxTagBytes = memberlist.MetaMaxSize
	// DefaultUserEventSize limits name and payload of a user event, in bytes, where Config says nothing.
	DefaultUserEventSize = 512
	// MaxUserEventSize is the largest user event, in bytes, that still fits into one gossip packet.
	MaxUserEventSize = 1200
)

// Config says how a pool listens, whom it admits and how quickly it reacts. The zero value of every field but Kind,
// Name and Bind is usable. Names in parentheses are the settings of Consul's configuration file.
type Config struct {
	Kind Kind
	// Name of this node, unique in the pool; see ValidateName. In a WAN pool it is "node.datacenter".
	Name string
	// Bind is where UDP and TCP listen; port 0 picks a free one. (serf_lan, serf_wan, ports.serf_lan, ports.serf_wan)
	Bind netip.AddrPort
	// Advertise is what others are told to send to. A missing address or port is taken from Bind; a Bind on all
	// interfaces needs an address here. (advertise_addr, advertise_addr_wan)
	Advertise netip.AddrPort
	// Tags of this node, at most MaxTagBytes encoded.
	Tags map[string]string

	// Keys encrypt the gossip; the first one is the primary. Without keys everything is in the clear. (encrypt)
	Keys []Key
	// KeyringFile keeps the keys over restarts, mode 0600. Once it exists it wins over Keys.
	KeyringFile string
	// AcceptPlaintext and SendPlaintext are for the migration of a running pool to encryption.
	// (encrypt_verify_incoming = false, encrypt_verify_outgoing = false)
	AcceptPlaintext, SendPlaintext bool
	// Allowed lists the networks that packets, connections and members may come from; empty means all.
	// (serf_lan_allowed_cidrs, serf_wan_allowed_cidrs)
	Allowed []netip.Prefix

	// Timings overrides DefaultTimings(Kind) where a field is not zero.
	Timings Timings

	// SnapshotFile keeps the live members over restarts, so that a node finds its pool again without a join address.
	SnapshotFile string
	// RejoinAfterLeave makes the snapshot outlive a graceful leave. (rejoin_after_leave)
	RejoinAfterLeave bool

	// Admit may refuse a member with an error, for example one of another datacenter; in a join the whole join fails
	// with it. It is called with the library's locks held: it must be quick and must not call the Pool.
	Admit func(Member) error
	// Avoid may refuse a member for this node alone, with an error: others are taken from those who know him. Only a
	// join in which all are refused fails, or one of his address. It is called as Admit.
	Avoid func(Member) error
	// ReapAfter may give a failed or left member a life of its own instead of the given one.
	// It is called with the library's locks held, as Admit. (advertise_reconnect_timeout)
	ReapAfter func(Member, time.Duration) time.Duration

	// UserEventSize limits name and payload of a user event, in bytes; 0 means DefaultUserEventSize.
	UserEventSize int
	// NoCoordinates turns the estimation of network coordinates off. (disable_coordinates)
	NoCoordinates bool

	// Beyond, which may be nil, is how members are reached to whose addresses nothing leads.
	Beyond Beyond
	// Transport replaces the sockets, for tests.
	Transport memberlist.Transport
	// Tune has the last word on the library's configuration. It is for simulations, which compare with what no
	// setting asks for; it must leave the fields alone that the others of Config are about.
	Tune func(*memberlist.Config)

	// Logger is for what the pool itself has to say; nil is silent.
	Logger *slog.Logger
	// LibraryLog takes the lines of serf and memberlist ("[WARN] memberlist: ..."), one per Write, rate limited.
	LibraryLog io.Writer
}

// Timings are the clocks and multipliers of a pool. (gossip_lan, gossip_wan)
type Timings struct {
	GossipInterval time.Duration
	GossipNodes    int
	ProbeInterval  time.Duration
	ProbeTimeout   time.Duration
	SuspicionMult  int
	RetransmitMult int

	// PushPullInterval is the time between two full exchanges of state over TCP.
	PushPullInterval time.Duration
	// StreamTimeout bounds one TCP exchange, from dial to last byte.
	StreamTimeout time.Duration
	// BroadcastTimeout bounds how long Leave, ForceLeave and SetTags wait for their message to go out.
	BroadcastTimeout time.Duration
	// LeavePropagateDelay is how long a leaving node keeps answering, so that nobody takes it for failed.
	LeavePropagateDelay time.Duration

	// ReconnectInterval and ReconnectTimeout: how often and for how long a failed member is tried again, before it
	// is forgotten. (reconnect_timeout, reconnect_timeout_wan)
	ReconnectInterval time.Duration
	ReconnectTimeout  time.Duration
	// TombstoneTimeout is how long a member that left is remembered.
	TombstoneTimeout time.Duration
	// ReapInterval is how often both are looked after.
	ReapInterval time.Duration
	// ReclaimAfter is how long a member must have been failed before its name may come back under another address.
	ReclaimAfter time.Duration
}

// DefaultTimings are those of Consul's documentation (agent/config, gossip_lan and gossip_wan).
func DefaultTimings(kind Kind) Timings {
	t := Timings{
		GossipInterval: 200 * time.Millisecond, GossipNodes: 3,
		ProbeInterval: time.Second, ProbeTimeout: 500 * time.Millisecond,
		SuspicionMult: 4, RetransmitMult: 4,
		PushPullInterval: 30 * time.Second, StreamTimeout: 10 * time.Second,
		BroadcastTimeout: 5 * time.Second, LeavePropagateDelay: time.Second,
		ReconnectInterval: 30 * time.Second, ReconnectTimeout: 72 * time.Hour,
		TombstoneTimeout: 24 * time.Hour, ReapInterval: 15 * time.Second,
		ReclaimAfter: 30 * time.Second,
	}
	if kind == WAN {
		t.GossipInterval, t.GossipNodes = 500*time.Millisecond, 4
		t.ProbeInterval, t.ProbeTimeout = 5*time.Second, 3*time.Second
		t.SuspicionMult = 6
		t.PushPullInterval, t.StreamTimeout = time.Minute, 30*time.Second
		t.LeavePropagateDelay = 3 * time.Second
	}
	return t
}

// or fills the zero fields of t from d.
func (t Timings) or(d Timings) Timings {
	for _, f := range []struct{ dst, def *time.Duration }{
		{&t.GossipInterval, &d.GossipInterval}, {&t.ProbeInterval, &d.ProbeInterval}, {&t.ProbeTimeout, &d.ProbeTimeout},
		{&t.PushPullInterval, &d.PushPullInterval}, {&t.StreamTimeout, &d.StreamTimeout},
		{&t.BroadcastTimeout, &d.BroadcastTimeout}, {&t.LeavePropagateDelay, &d.LeavePropagateDelay},
		{&t.ReconnectInterval, &d.ReconnectInterval}, {&t.ReconnectTimeout, &d.ReconnectTimeout},
		{&t.TombstoneTimeout, &d.TombstoneTimeout}, {&t.ReapInterval, &d.ReapInterval}, {&t.ReclaimAfter, &d.ReclaimAfter},
	} {
		if *f.dst == 0 {
			*f.dst = *f.def
		}
	}
	for _, f := range []struct{ dst, def *int }{
		{&t.GossipNodes, &d.GossipNodes}, {&t.SuspicionMult, &d.SuspicionMult}, {&t.RetransmitMult, &d.RetransmitMult},
	} {
		if *f.dst == 0 {
			*f.dst = *f.def
		}
	}
	return t
}

func (t Timings) validate() error {
	for _, d := range []time.Duration{
		t.GossipInterval, t.ProbeInterval, t.ProbeTimeout, t.PushPullInterval, t.StreamTimeout, t.BroadcastTimeout,
		t.LeavePropagateDelay, t.ReconnectInterval, t.ReconnectTimeout, t.TombstoneTimeout, t.ReapInterval, t.ReclaimAfter,
	} {
		if d < 0 {
			return fmt.Errorf("a timing is negative (%s): give a positive duration", d)
		}
	}
	if t.GossipNodes < 0 || t.SuspicionMult < 0 || t.RetransmitMult < 0 {
		return errors.New("gossip_nodes, suspicion_mult and retransmit_mult must be positive")
	}
	if t.ProbeTimeout >= t.ProbeInterval {
		return fmt.Errorf("probe_timeout %s is not below probe_interval %s: lower the one or raise the other",
			t.ProbeTimeout, t.ProbeInterval)
	}
	return nil
}

// withDefaults fills in what the caller left out and copies what the caller may go on changing.
func (c Config) withDefaults() Config {
	c.Timings = c.Timings.or(DefaultTimings(c.Kind))
	if c.UserEventSize == 0 {
		c.UserEventSize = DefaultUserEventSize
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if !c.Advertise.Addr().IsValid() {
		c.Advertise = netip.AddrPortFrom(c.Bind.Addr(), c.Advertise.Port())
	}
	if c.Advertise.Port() == 0 {
		c.Advertise = netip.AddrPortFrom(c.Advertise.Addr(), c.Bind.Port())
	}
	c.Tags, c.Allowed, c.Keys = maps.Clone(c.Tags), slices.Clone(c.Allowed), slices.Clone(c.Keys)
	return c
}

// Validate tells everything that is wrong with c, each with its fix. Open calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("gossip: "+format, args...)) }

	if c.Kind != LAN && c.Kind != WAN {
		bad("kind %q is neither %q nor %q", c.Kind, LAN, WAN)
	}
	if err := ValidateName(c.Name); err != nil {
		bad("%w", err)
	}
	if err := c.Timings.validate(); err != nil {
		bad("%s timings: %w", c.Kind, err)
	}
	if c.UserEventSize < 0 || c.UserEventSize > MaxUserEventSize {
		bad("user event size %d is not between 0 and %d bytes", c.UserEventSize, MaxUserEventSize)
	}
	for _, a := range []netip.Addr{c.Bind.Addr(), c.Advertise.Addr()} {
		if a.Zone() != "" {
			bad("address %s has a zone, which the other nodes cannot know: use one without", a)
		}
	}
	switch adv := c.Advertise.Addr(); {
	case !c.Bind.Addr().IsValid():
		bad("no bind address: set bind_addr")
	case adv.IsUnspecified():
		bad("bound to all interfaces (%s) without an address to advertise: set advertise_addr", c.Bind.Addr())
	case !allows(c.Allowed, adv):
		bad("own address %s is in none of the allowed networks %v: add it to serf_%s_allowed_cidrs", adv, c.Allowed, c.Kind)
	}
	for _, k := range c.Keys {
		if k == (Key{}) {
			bad("an empty encryption key: use one made by keygen")
		}
	}
	return errors.Join(errs...)
}

// allows tells whether a is in one of the networks; no networks means all of them.
func allows(networks []netip.Prefix, a netip.Addr) bool {
	if len(networks) == 0 {
		return true
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
