//go:build linux

package lab

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Link is how one direction between two hosts behaves. The zero value delivers at once.
type Link struct {
	// Delay is how long a packet is under way, Jitter adds up to as much. With jitter packets may overtake one another.
	Delay, Jitter time.Duration
	// Loss is the part of packets, 0 to 1, that gets lost.
	Loss float64
	// Cut lets nothing through.
	Cut bool
}

// and is two links, one after the other.
func (l Link) and(m Link) Link {
	return Link{l.Delay + m.Delay, l.Jitter + m.Jitter, 1 - (1-l.Loss)*(1-m.Loss), l.Cut || m.Cut}
}

// String is how status shows a link.
func (l Link) String() string {
	switch {
	case l == Link{}:
		return "open"
	case l.Cut:
		return "cut"
	}
	return fmt.Sprintf("%s+%s %.0f%%", l.Delay, l.Jitter, l.Loss*100)
}

// wire carries packets between the TUN devices of the hosts.
type wire struct {
	mu    sync.RWMutex
	ports map[netip.Addr]*wirePort
	links map[[2]netip.Addr]Link // by the addresses of two hosts, or those of two sites
	far   map[[2]netip.Addr]Link // between sites when all is healed

	carried, dropped atomic.Int64
}

// wirePort is one host's device.
type wirePort struct {
	addr, site netip.Addr
	tun        *os.File
	late       *late // what is under way to it
}

func newWire() *wire {
	return &wire{ports: map[netip.Addr]*wirePort{}, links: map[[2]netip.Addr]Link{}, far: map[[2]netip.Addr]Link{}}
}

// attach adds a device. The goroutines it starts end when the device is closed.
func (w *wire) attach(addr netip.Addr, tun *os.File) *wirePort {
	site := addr.As4()
	site[3] = 0
	p := &wirePort{addr: addr, site: netip.AddrFrom4(site), tun: tun, late: newLate()}
	w.mu.Lock()
	w.ports[addr] = p
	w.mu.Unlock()
	go w.deliverLate(p)
	go w.carry(p)
	return p
}

// between makes all sites as far from one another.
func (w *wire) between(sites []Site, far Link) {
	if far == (Link{}) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range sites {
		for j, b := range sites {
			if i != j {
				w.far[[2]netip.Addr{a.net, b.net}] = far
			}
		}
	}
	maps.Copy(w.links, w.far)
}

func (w *wire) set(from, to netip.Addr, change func(*Link)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.links[[2]netip.Addr{from, to}]
	if change(&l); l == (Link{}) {
		delete(w.links, [2]netip.Addr{from, to})
		return
	}
	w.links[[2]netip.Addr{from, to}] = l
}

// said is what was said of the direction between two hosts, or between two sites.
func (w *wire) said(from, to netip.Addr) Link {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.links[[2]netip.Addr{from, to}]
}

// link is how packets travel from one host to another.
func (w *wire) link(from, to *wirePort) Link {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.links[[2]netip.Addr{from.addr, to.addr}].and(w.links[[2]netip.Addr{from.site, to.site}])
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links = maps.Clone(w.far)
}

// mtu is Ethernet's, so that what is lost is lost in the usual pieces.
const mtu = 1500

// carry takes what a host sends. It ends when the device is closed.
func (w *wire) carry(from *wirePort) {
	buf := make([]byte, mtu+64)
	defer close(from.late.gone)
	for {
		n, err := from.tun.Read(buf)
		if err != nil {
			return
		}
		to := w.port(buf[:n])
		if to == nil {
			continue
		}
		l := w.link(from, to)
		switch {
		case l.Cut, l.Loss > 0 && rand.Float64() < l.Loss:
			w.dropped.Add(1)
		case l.Delay > 0 || l.Jitter > 0:
			due := time.Now().Add(l.Delay)
			if l.Jitter > 0 {
				due = due.Add(rand.N(l.Jitter))
			}
			to.late.add(packet{due: due, from: from, data: append([]byte(nil), buf[:n]...)})
		default:
			w.deliver(to, buf[:n])
		}
	}
}

// deliver hands a packet to its host. One that the host's device does not take is lost, as on any wire.
func (w *wire) deliver(to *wirePort, packet []byte) {
	if _, err := to.tun.Write(packet); err != nil {
		w.dropped.Add(1)
		return
	}
	w.carried.Add(1)
}

// port is where an IPv4 packet goes (RFC 791, section 3.1), nil for what has no host, as multicast.
func (w *wire) port(packet []byte) *wirePort {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return nil
	}
	var dst [4]byte
	binary.BigEndian.PutUint32(dst[:], binary.BigEndian.Uint32(packet[16:]))
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.ports[netip.AddrFrom4(dst)]
}
