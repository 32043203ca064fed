package dns

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// fakeSource is a Source in memory. Every change makes all its results stale.
type fakeSource struct {
	mu        sync.Mutex
	changed   chan struct{}
	nodes     map[string]*catalog.Node
	instances []*catalog.Instance
	queries   map[string]fakeQuery
	virtuals  map[string]netip.Addr
	groups    map[string][]string
	err       error         // of every question
	gate      chan struct{} // questions wait for it
	apart     bool          // groups cannot be had
	unknown   bool          // results do not know whether they are stale
	perClient bool
	asked     atomic.Int64
}

type fakeQuery struct {
	service, tag string
	ttl          time.Duration
}

func newFake() *fakeSource {
	return &fakeSource{
		changed: make(chan struct{}), nodes: map[string]*catalog.Node{},
		queries: map[string]fakeQuery{}, virtuals: map[string]netip.Addr{}, groups: map[string][]string{},
	}
}

func (f *fakeSource) change(edit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
	close(f.changed)
	f.changed = make(chan struct{})
}

// ask begins every method: it waits, counts and fails as told.
func (f *fakeSource) ask(ctx context.Context, dc string) (Freshness, error) {
	f.asked.Add(1)
	f.mu.Lock()
	gate, changed, err, unknown := f.gate, f.changed, f.err, f.unknown
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return Freshness{}, ctx.Err()
		}
	}
	if err == nil && dc != "dc1" && dc != "dc2" && dc != "" {
		err = catalog.Errorf(catalog.NoPath, "no path to datacenter %q", dc)
	}
	if err != nil || unknown {
		return Freshness{}, err
	}
	return Freshness{Stale: func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}}, nil
}

func (f *fakeSource) Service(ctx context.Context, q ServiceQuery) (Instances, error) {
	fresh, err := f.ask(ctx, q.Datacenter)
	f.mu.Lock()
	defer f.mu.Unlock()
	result := Instances{Freshness: fresh, PerClient: f.perClient}
	for _, i := range f.instances {
		name := i.Service.Service
		switch q.Mesh {
		case Connect:
			name = i.Service.ConnectName()
		case Ingress:
			name = i.Service.Meta["ingress-for"]
		}
		at := cmp.Or(i.Node.Datacenter, "dc1") == q.Datacenter && i.Service.PeerName == ""
		if q.Peer != "" {
			at = i.Service.PeerName == q.Peer
		}
		if strings.EqualFold(name, q.Name) && at {
			result.Instances = append(result.Instances, i)
		}
	}
	if q.Origin.Subnet.IsValid() {
		result.Ordered = true
	}
	return result, err
}

func (f *fakeSource) Group(ctx context.Context, name string) (Group, error) {
	fresh, err := f.ask(ctx, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.apart {
		err = catalog.Errorf(catalog.Unavailable, "nobody knows the groups")
	}
	return Group{Freshness: fresh, Clusters: f.groups[name]}, err
}

func (f *fakeSource) PreparedQuery(ctx context.Context, q PreparedQuery) (Instances, error) {
	_, err := f.ask(ctx, q.Datacenter)
	f.mu.Lock()
	defer f.mu.Unlock()
	pq, ok := f.queries[q.Name]
	if err == nil && !ok {
		err = catalog.Errorf(catalog.NotFound, "query %q does not exist", q.Name)
	}
	result := Instances{TTL: pq.ttl, HasTTL: pq.ttl != 0}
	for _, i := range f.instances {
		if i.Service.Service == pq.service && i.Status() != catalog.Critical && (pq.tag == "" || i.Service.HasTag(pq.tag)) {
			result.Instances = append(result.Instances, i)
		}
	}
	return result, err
}

func (f *fakeSource) Node(ctx context.Context, q NodeQuery) (Node, error) {
	fresh, err := f.ask(ctx, q.Datacenter)
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[q.Name]
	if n != nil && cmp.Or(n.Datacenter, "dc1") != q.Datacenter {
		n = nil
	}
	return Node{Freshness: fresh, Node: n}, err
}

func (f *fakeSource) Address(ctx context.Context, addr netip.Addr) (Owners, error) {
	fresh, err := f.ask(ctx, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	owners := Owners{Freshness: fresh}
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		if f.nodes[name].Address == addr.String() {
			owners.Nodes = append(owners.Nodes, f.nodes[name])
		}
	}
	for _, i := range f.instances {
		if i.Service.Address == addr.String() {
			owners.Instances = append(owners.Instances, i)
		}
	}
	return owners, err
}

func (f *fakeSource) VirtualIP(ctx context.Context, q VirtualQuery) (Virtual, error) {
	fresh, err := f.ask(ctx, q.Datacenter)
	f.mu.Lock()
	defer f.mu.Unlock()
	name := q.Service
	if q.Port != "" {
		name = q.Port + "." + name
	}
	return Virtual{Freshness: fresh, Address: f.virtuals[name]}, err
}

// running is a server on real loopback sockets, UDP and TCP on the same port.
type running struct {
	*Server
	addr string
}

func start(t testing.TB, c Config, source Source) *running {
	t.Helper()
	s, err := New(c, source, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, p := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, []net.PacketConn{p}, []net.Listener{l}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &running{s, l.Addr().String()}
}

func listen(t testing.TB, addr string) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 10 { // a port that is free on TCP may be taken on UDP
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, p
		}
		l.Close()
	}
	t.Fatal("no port is free on TCP and UDP")
	return nil, nil
}
