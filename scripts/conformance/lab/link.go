//go:build linux

package lab

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Link is how one direction between two hosts behaves. The zero value delivers at once.
type Link struct {
	// Delay is how long a packet is under way, Jitter adds up to as much. Packets may overtake one another.
	Delay, Jitter time.Duration
	// Loss is the part of packets, 0 to 1, that gets lost.
	Loss float64
	// Cut lets nothing through.
	Cut bool
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
	links map[[2]netip.Addr]Link

	carried, dropped atomic.Int64
}

// wirePort is one host's device.
type wirePort struct {
	addr netip.Addr
	tun  *os.File
}

func newWire() *wire {
	return &wire{ports: map[netip.Addr]*wirePort{}, links: map[[2]netip.Addr]Link{}}
}

// attach adds a device. The goroutine it starts ends when the device is closed.
func (w *wire) attach(addr netip.Addr, tun *os.File) *wirePort {
	p := &wirePort{addr, tun}
	w.mu.Lock()
	w.ports[addr] = p
	w.mu.Unlock()
	go w.carry(p)
	return p
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

func (w *wire) link(from, to netip.Addr) Link {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.links[[2]netip.Addr{from, to}]
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.links)
}

// mtu is Ethernet's, so that what is lost is lost in the usual pieces.
const mtu = 1500

// carry takes what a host sends. It ends when the device is closed.
func (w *wire) carry(from *wirePort) {
	buf := make([]byte, mtu+64)
	for {
		n, err := from.tun.Read(buf)
		if err != nil {
			return
		}
		to := w.port(buf[:n])
		if to == nil {
			continue
		}
		l := w.link(from.addr, to.addr)
		switch {
		case l.Cut, l.Loss > 0 && rand.Float64() < l.Loss:
			w.dropped.Add(1)
		case l.Delay > 0 || l.Jitter > 0:
			delay, packet := l.Delay, append([]byte(nil), buf[:n]...)
			if l.Jitter > 0 {
				delay += rand.N(l.Jitter)
			}
			time.AfterFunc(delay, func() {
				if !w.link(from.addr, to.addr).Cut {
					w.deliver(to, packet)
				}
			})
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
