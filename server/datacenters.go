package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metrics "github.com/hashicorp/go-metrics"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/rpc/router"
	"github.com/curia-mesh/curia/rpc/share"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/endpoint"
)

// WAN is the pool of the servers of all datacenters. Its methods do not block, but where they say so.
type WAN interface {
	Members() []gossip.Member
	// Coordinate is this server's own, and CoordinateOf that of the member of a name, as far as it is known.
	Coordinate() *gossip.Coordinate
	CoordinateOf(name string) (*gossip.Coordinate, bool)
	// TellCluster tells the others the gossip.ClusterTag of this server's cluster. It may take some seconds.
	TellCluster(tag string) error
}

// datacenters are the ways to the others, as the WAN pool knows them. All methods may be called from any goroutine.
type datacenters struct {
	own  string
	rule string // primary_datacenter
	wan  WAN    // nil where there is no such pool
	pool *rpc.Pool
	ways rpc.PoolOptions // of the pool
	log  *slog.Logger

	key     func(gossip.Server) string                              // what servers are connected to by
	connect func(ctx context.Context, key string) (net.Conn, error) // makes a connection of its own
	dial    time.Duration                                           // how long that may take

	cluster func() string // the gossip.ClusterTag of the own one; nil while the server is opened

	began  time.Time
	fell   chan struct{}    // one of them cannot be reached any more
	doubts chan *datacenter // somebody waits there for longer than is usual

	mu     sync.Mutex
	others map[string]*datacenter
	at     map[string]string // the datacenters of servers by their addresses
	twice  namesake          // of the own name
}

// datacenter is the way to one.
type datacenter struct {
	name   string
	all    *datacenters
	router *router.Router
	waits  *share.Queries // those that wait for a change there

	down  atomic.Pointer[outage]
	up    atomic.Pointer[presence]
	twice namesake     // datacenters.mu is held
	heard atomic.Int64 // when something was answered last, as time since datacenters.began
	looks atomic.Bool  // somebody is finding out whether it answers
}

// outage is why a datacenter cannot be reached, and since when.
type outage struct {
	since time.Time
	err   error
}

const (
	// wanDial bounds how long a connection to a server of another datacenter may take to be made.
	wanDial = 1300 * time.Millisecond
	// wanLost ends one on which nothing that was sent is acknowledged, from the first time that it is sent again. The kernel
	// there acknowledges, however busy its machine is, while a server may be slow to answer.
	wanLost = time.Second
)

func newDatacenters(cfg *Config) *datacenters {
	d := &datacenters{
		own: cfg.Datacenter, rule: cfg.Primary, wan: cfg.WAN, log: cfg.Log, began: time.Now(), fell: make(chan struct{}, 1),
		doubts: make(chan *datacenter, 16), others: map[string]*datacenter{}, at: map[string]string{},
		key: func(s gossip.Server) string { return s.Addr.String() },
	}
	dialer := rpc.Dialer{Connect: cfg.Connect, Timeout: wanDial}
	if dialer.Connect == nil {
		dialer.Connect = (&net.Dialer{Control: boundLoss(wanLost)}).DialContext
	}
	connect := dialer.Connect
	d.connect = func(ctx context.Context, addr string) (net.Conn, error) { return connect(ctx, "tcp", addr) }
	switch {
	case cfg.Passage != nil:
		dialer, d.key = cfg.Passage.dialer, named
		d.connect = func(ctx context.Context, name string) (net.Conn, error) {
			return dialer.Dial(ctx, name, rpc.ProtocolRPC)
		}
	case cfg.Security != nil:
		dialer.Plain = cfg.Security.PlainOut
		dialer.TLS = func(addr string) (*tls.Config, error) { return cfg.Security.Abroad(d.of(addr), "") }
	}
	d.dial = dialer.Timeout
	d.ways = rpc.PoolOptions{Dialer: dialer, Decode: DecodeError}
	d.pool = rpc.NewPool(d.ways)
	d.observe()
	return d
}

// of is the datacenter of a server.
func (d *datacenters) of(addr string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return cmp.Or(d.at[addr], d.own)
}

// named is the key of a server that is reached through gateways: addresses may be the same in two datacenters.
func named(s gossip.Server) string { return s.Name + "." + s.Datacenter }

// observe takes in who is in the WAN pool now.
func (d *datacenters) observe() {
	if d.wan == nil {
		return
	}
	members := d.wan.Members()
	d.mu.Lock()
	defer d.mu.Unlock()
	known, alive := map[string][]gossip.Server{}, map[string]bool{}
	clear(d.at)
	for _, m := range members {
		s, ok := m.Server()
		if !ok || s.Datacenter == "" || s.Status == gossip.StatusLeft {
			continue
		}
		known[s.Datacenter] = append(known[s.Datacenter], s)
		alive[s.ID] = alive[s.ID] || s.Status == gossip.StatusAlive
		if s.Datacenter == d.own {
			continue
		}
		d.at[s.Addr.String()] = s.Datacenter
		if d.others[s.Datacenter] == nil {
			d.log.Info("another datacenter is known", "datacenter", s.Datacenter, "by", s.Name)
			d.others[s.Datacenter] = d.open(s.Datacenter)
		}
	}
	for name, other := range d.others {
		servers := known[name]
		here := slices.DeleteFunc(slices.Clone(servers), func(s gossip.Server) bool {
			return s.Status == gossip.StatusFailed && alive[s.ID] // it has got another name, or its datacenter has
		})
		other.twice.tell(d.log, twiceAbroad, name, here, other.twice.keep(here))
		other.router.SetMembers(slices.DeleteFunc(slices.Clone(members), func(m gossip.Member) bool {
			s, _ := m.Server()
			return s.Datacenter == name && !other.twice.asked(s)
		}))
		if len(servers) == 0 {
			d.log.Info("a datacenter is gone: its last server has left", "datacenter", name)
			delete(d.others, name)
		}
	}
	d.lookHome(known[d.own])
}

// lookHome says when another cluster is called by the name of the own datacenter. The lock is held.
func (d *datacenters) lookHome(servers []gossip.Server) {
	if d.cluster == nil {
		return
	}
	if d.twice.known = d.cluster(); d.twice.known == "" {
		return
	}
	d.twice.tell(d.log, twiceHere, d.own, servers, slices.DeleteFunc(gossip.Clusters(servers), func(c gossip.Cluster) bool {
		return gossip.SameCluster(c.Tag, d.twice.known)
	}))
}

func (d *datacenters) open(name string) *datacenter {
	other := &datacenter{name: name, all: d, router: router.New(router.Options{
		Pool: d.pool, Datacenter: name, Decode: DecodeError, Reads: api.Reads, Abroad: true, Key: d.key,
		Elsewhere: func(err error) bool { return catalog.CodeOf(err) == catalog.NoLeader }, Log: d.log.With("datacenter", name),
	})}
	other.up.Store(newPresence())
	other.waits = share.New(share.Options{Next: crossing{other}, Span: endpoint.Span, Longest: endpoint.MaxWait})
	return other
}

// remote is the way to a datacenter. Without one the error says what is known.
func (d *datacenters) remote(name string) (*datacenter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.others[name]; other != nil {
		return other, nil
	}
	known := []string{d.own}
	for name := range d.others {
		known = append(known, name)
	}
	slices.Sort(known)
	err := catalog.Errorf(catalog.NoPath, "No path to datacenter %q: this server knows only %q", name, known)
	if name == d.rule {
		err = catalog.Errorf(catalog.NoPath, "%w: it is the primary_datacenter of %s: set that right on its servers, or their retry_join_wan (primary_gateways where gateways lead there) to where %s is reached", err, d.own, name)
	}
	return nil, err
}

// Call implements rpc.Caller. It asks each server of the datacenter once. While none can be reached that is said at once.
// Of blocking queries that ask the same there is one under way.
func (d *datacenter) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	if call.Header.MinIndex > 0 && api.Reads(call.Method) {
		return d.waits.Call(ctx, call)
	}
	return crossing{d}.Call(ctx, call)
}

// crossing sends every call to the datacenter.
type crossing struct{ *datacenter }

// Call implements rpc.Caller.
func (d crossing) Call(ctx context.Context, call *rpc.Call) (rpc.Answer, error) {
	up := d.up.Load()
	if err := d.begin(); err != nil {
		return rpc.Answer{}, err
	}
	answer, err := d.reached(ctx, up, call)
	link := new(rpc.LinkError)
	lost := errors.As(err, &link)
	switch {
	case ctx.Err() == nil && up.ctx.Err() != nil && (lost || errors.Is(err, context.Canceled)): // what broke then broke for that reason
		err = context.Cause(up.ctx)
		if !api.Reads(call.Method) && (link.Sent || !lost) {
			return answer, catalog.Errorf(catalog.Unavailable, "datacenter %q: it can no longer be reached since it was asked: it may have done what was asked for, or not: %w", d.name, err)
		}
		return answer, d.noPath(err)
	case !lost || ctx.Err() != nil:
		return answer, err
	case link.Sent && !api.Reads(call.Method):
		return answer, catalog.Errorf(catalog.Unavailable, "datacenter %q: the connection broke after it was asked: it may have done what was asked for, or not: %w", d.name, err)
	}
	d.fall(err)
	return answer, d.noPath(err)
}

func (d *datacenter) noPath(err error) error {
	return catalog.Errorf(catalog.NoPath, "No path to datacenter %q: none of its servers can be reached: %w", d.name, err)
}

// Open makes a call that a stream answers, at the first server that can be reached.
func (d *datacenter) Open(ctx context.Context, call *rpc.Call) (*rpc.Stream, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	return d.router.Open(ctx, call)
}

// begin counts what is asked, and says why it cannot be where that is known.
func (d *datacenter) begin() error {
	metrics.IncrCounterWithLabels([]string{"rpc", "cross-dc"}, 1, []metrics.Label{{Name: "datacenter", Value: d.name}})
	if out := d.down.Load(); out != nil {
		return catalog.Errorf(catalog.NoPath, "No path to datacenter %q: since %s none of its servers can be reached: %w", d.name, out.since.UTC().Format(time.RFC3339), out.err)
	}
	if len(d.router.Servers()) == 0 {
		return catalog.Errorf(catalog.NoPath, "No path to datacenter %q: none of its servers is alive, as gossip knows it%s", d.name, d.strange())
	}
	return nil
}

// strange says that there is another cluster which is not asked, where there is one.
func (d *datacenter) strange() string {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if d.twice.told == "" {
		return ""
	}
	return "; the servers of another cluster with the same name are not asked, as this server's log says"
}

// twiceNamed are the names that several clusters are called by.
func (d *datacenters) twiceNamed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	if d.twice.told != "" {
		names = append(names, d.own)
	}
	for name, other := range d.others {
		if other.twice.told != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// names are those of the others, in no order.
func (d *datacenters) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.others))
}

// nearest lists the other datacenters by the estimated time of a round trip, the median of their servers. Those that
// nothing is known of come last.
func (d *datacenters) nearest() []string {
	away := map[string][]time.Duration{}
	for _, name := range d.names() {
		away[name] = nil
	}
	if len(away) == 0 {
		return nil
	}
	here := d.wan.Coordinate()
	for _, m := range d.wan.Members() {
		s, ok := m.Server()
		if _, other := away[s.Datacenter]; !ok || !other {
			continue
		}
		at, _ := d.wan.CoordinateOf(m.Name)
		if rtt, ok := gossip.RoundTrip(here, at); ok {
			away[s.Datacenter] = append(away[s.Datacenter], rtt)
		}
	}
	type distance struct {
		name string
		rtt  time.Duration
	}
	var list []distance
	for name, all := range away {
		rtt := time.Duration(math.MaxInt64)
		if len(all) > 0 {
			slices.Sort(all)
			rtt = all[len(all)/2]
		}
		list = append(list, distance{name, rtt})
	}
	slices.SortFunc(list, func(a, b distance) int { return cmp.Or(cmp.Compare(a.rtt, b.rtt), strings.Compare(a.name, b.name)) })
	names := make([]string, 0, len(list))
	for _, l := range list {
		names = append(names, l.name)
	}
	return names
}

// coordinates are those of all servers in the WAN pool, by datacenter: the own one first, then by name.
func (d *datacenters) coordinates() []api.DatacenterCoordinates {
	by := map[string][]*catalog.NodeCoordinate{d.own: {}}
	for _, name := range d.names() {
		by[name] = []*catalog.NodeCoordinate{}
	}
	if d.wan != nil {
		for _, m := range d.wan.Members() {
			s, ok := m.Server()
			at, known := d.wan.CoordinateOf(m.Name)
			if ok && known {
				by[s.Datacenter] = append(by[s.Datacenter], &catalog.NodeCoordinate{
					Node: s.Name, Coord: &catalog.Coordinate{Vec: at.Vec, Error: at.Error, Adjustment: at.Adjustment, Height: at.Height},
				})
			}
		}
	}
	var all []api.DatacenterCoordinates
	for name, list := range by {
		all = append(all, api.DatacenterCoordinates{Datacenter: name, AreaID: "wan", Coordinates: list})
	}
	slices.SortFunc(all, func(a, b api.DatacenterCoordinates) int {
		switch d.own {
		case a.Datacenter:
			return -1
		case b.Datacenter:
			return 1
		}
		return strings.Compare(a.Datacenter, b.Datacenter)
	})
	return all
}
