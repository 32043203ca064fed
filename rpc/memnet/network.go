// Package memnet is an in-memory network for tests: connections, packets, delay, loss and partitions. All
// waiting is on channels and timers made by its user, so it works inside a testing/synctest bubble.
package memnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Link is how one direction between two hosts behaves. The zero value delivers at once.
type Link struct {
	// Delay is how long packets, and the bytes of streams, are under way; Jitter adds up to as much.
	// Packets may overtake one another, the bytes of a stream do not.
	Delay, Jitter time.Duration
	// Loss is the part of packets, 0 to 1, that never arrives. Of streams it is the part of writes that
	// arrives 200 ms later, as after a retransmission.
	Loss float64
	// Cut lets nothing through. Packets are lost; streams stand still until the cut is healed, as TCP does.
	Cut bool
}

const retransmit = 200 * time.Millisecond

// Network joins hosts. All of its methods may be called at any time by many goroutines.
type Network struct {
	mu      sync.Mutex
	rand    *rand.Rand
	hosts   []*Host
	names   map[string]*Host // by name and by address
	all     Link
	links   map[[2]*Host]Link
	sides   int           // how many there are since all was whole, less one
	changed chan struct{} // closed, and replaced, when links change
}

// New makes a network without hosts. Loss and jitter follow from seed and from the order of the writes.
func New(seed uint64) *Network {
	return &Network{
		rand:  rand.New(rand.NewPCG(seed, 0)),
		names: make(map[string]*Host), links: make(map[[2]*Host]Link), changed: make(chan struct{}),
	}
}

// Host returns the host of that name; the first call makes it, with the next address of 10.0.0.0/8.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.names[name]; h != nil {
		return h
	}
	i := len(n.hosts) + 1
	h := &Host{
		net: n, name: name, ip: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
		listeners: make(map[uint16]*listener), packets: make(map[uint16]*Transport), conns: make(map[*conn]bool),
	}
	n.hosts = append(n.hosts, h)
	n.names[h.ip.String()], n.names[name] = h, h
	return h
}

// SetAll makes every direction between two hosts behave like link, cuts included.
func (n *Network) SetAll(link Link) {
	n.change(func() {
		n.all = link
		n.join()
		clear(n.links)
	})
}

// Set makes the direction between two hosts, given by name or address, behave like link. It panics when there
// is no such host.
func (n *Network) Set(from, to string, link Link) {
	n.change(func() { n.links[[2]*Host{n.mustFind(from), n.mustFind(to)}] = link })
}

// Cut stops what one host sends to the other one, and not what comes back.
func (n *Network) Cut(from, to string) {
	n.change(func() { n.cut(n.mustFind(from), n.mustFind(to), true) })
}

// Partition cuts the named hosts, as a group, from all others, both ways. It adds to the cuts that are there, and lasts
// until Heal or SetAll, whatever Set says of a link meanwhile.
func (n *Network) Partition(names ...string) {
	n.change(func() {
		// Each side is split into those of the group and the others: a pair that any partition has parted stays so.
		split := make(map[int]int)
		for _, name := range names {
			h := n.mustFind(name)
			if _, known := split[h.side]; !known {
				n.sides++
				split[h.side] = n.sides
			}
			h.side = split[h.side]
		}
	})
}

// Heal ends all cuts; delay and loss stay.
func (n *Network) Heal() {
	n.change(func() {
		n.all.Cut = false
		n.join()
		for pair := range n.links {
			n.cut(pair[0], pair[1], false)
		}
	})
}

// join ends all partitions. The caller holds mu.
func (n *Network) join() {
	n.sides = 0
	for _, h := range n.hosts {
		h.side = 0
	}
}

func (n *Network) change(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *Network) cut(from, to *Host, cut bool) {
	pair := [2]*Host{from, to}
	l, ok := n.links[pair]
	if !ok {
		l = n.all
	}
	l.Cut = cut
	n.links[pair] = l
}

func (n *Network) mustFind(name string) *Host {
	h := n.names[name]
	if h == nil {
		panic(fmt.Sprintf("memnet: no host %q", name))
	}
	return h
}

// link is how from → to behaves. The caller holds mu.
func (n *Network) link(from, to *Host) Link {
	if from == to {
		return Link{}
	}
	l := n.all
	if len(n.links) > 0 {
		if own, ok := n.links[[2]*Host{from, to}]; ok {
			l = own
		}
	}
	l.Cut = l.Cut || from.side != to.side
	return l
}

// open reports whether from → to is not cut, and when to look again.
func (n *Network) open(from, to *Host) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.link(from, to).Cut, n.changed
}

// travel draws how long something from → to is under way, and whether it is lost. Nothing is drawn that the
// link does not ask for.
func (n *Network) travel(from, to *Host) (delay time.Duration, lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	if delay = l.Delay; l.Jitter > 0 {
		delay += time.Duration(n.rand.Int64N(int64(l.Jitter)))
	}
	return delay, l.Loss > 0 && n.rand.Float64() < l.Loss
}

// Host is one machine of a network.
type Host struct {
	net  *Network
	name string
	ip   netip.Addr

	// Guarded by net.mu.
	listeners map[uint16]*listener
	packets   map[uint16]*Transport
	conns     map[*conn]bool
	lastPort  uint16
	side      int // hosts of different sides are cut from one another
}

// Name is what the host was made with.
func (h *Host) Name() string { return h.name }

// IP is the host's address.
func (h *Host) IP() netip.Addr { return h.ip }

// Addr is the address of one of the host's ports.
func (h *Host) Addr(port uint16) string { return netip.AddrPortFrom(h.ip, port).String() }

// Crash ends everything on the host as the kernel does for a killed process: its ports refuse, its
// connections are reset. Cut it off first for a machine without power.
func (h *Host) Crash() {
	h.net.mu.Lock()
	listeners, packets, conns := h.listeners, h.packets, h.conns
	h.listeners, h.packets, h.conns = make(map[uint16]*listener), make(map[uint16]*Transport), make(map[*conn]bool)
	h.net.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, t := range packets {
		t.Shutdown()
	}
	for c := range conns {
		c.end(errReset)
	}
}

// port returns the port asked for, or a free one for 0. The caller holds net.mu.
func (h *Host) port(port uint16) uint16 {
	for port == 0 {
		if h.lastPort++; h.lastPort < 32768 {
			h.lastPort = 32768
		}
		if h.listeners[h.lastPort] == nil {
			port = h.lastPort
		}
	}
	return port
}

func (h *Host) tcpAddr(port uint16) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.ip, port))
}
