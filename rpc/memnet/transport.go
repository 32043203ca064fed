package memnet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
)

const (
	// maxPacket is the largest UDP payload of IPv4.
	maxPacket = 65507
	// packetBuffer is how many packets wait for a slow reader; what exceeds it is lost.
	packetBuffer = 4096
)

// Transport is gossip's port on a host: packets and streams. It is a memberlist.NodeAwareTransport.
type Transport struct {
	host    *Host
	streams *listener
	packets chan *memberlist.Packet
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// Transport opens a port for gossip, a free one for 0.
func (h *Host) Transport(port uint16) (*Transport, error) {
	l, err := h.listen(port)
	if err != nil {
		return nil, err
	}
	t := &Transport{host: h, streams: l, packets: make(chan *memberlist.Packet, packetBuffer)}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.packets[l.port] = t
	return t, nil
}

// Addr is the address others reach the port at.
func (t *Transport) Addr() string { return t.host.Addr(t.streams.port) }

// FinalAdvertiseAddr returns the host's address and the port, whatever was configured.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.host.ip.AsSlice(), int(t.streams.port), nil
}

// WriteTo sends a packet. As with UDP, success does not mean that it arrives.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	if len(b) > maxPacket {
		return now, fmt.Errorf("memnet: packet of %d bytes: %w", len(b), syscall.EMSGSIZE)
	}
	n := t.host.net
	to, port, err := n.resolve(addr)
	if err != nil {
		return now, fmt.Errorf("memnet: packet to %s: %w", addr, err)
	}
	data := bytes.Clone(b)
	switch delay, lost := n.travel(t.host, to); {
	case lost:
	case delay == 0:
		t.deliver(to, port, data)
	default:
		time.AfterFunc(delay, func() { t.deliver(to, port, data) })
	}
	return now, nil
}

// WriteToAddress sends a packet to a's address; the name is not looked at.
func (t *Transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// deliver hands a packet over unless it was cut off under way.
func (t *Transport) deliver(to *Host, port uint16, data []byte) {
	n := t.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	there := to.packets[port]
	if there == nil || n.link(t.host, to).Cut {
		return
	}
	from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.host.ip, t.streams.port))
	select {
	case there.packets <- &memberlist.Packet{Buf: data, From: from, Timestamp: time.Now()}:
	default: // the reader is too slow
	}
}

// PacketCh holds up to 4096 packets that arrived.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout connects to another transport's port.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return dialTimeout(t.host, addr, timeout)
}

// DialAddressTimeout connects to a's address; the name is not looked at.
func (t *Transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return dialTimeout(t.host, a.Addr, timeout)
}

func dialTimeout(h *Host, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout) // these interfaces have no context
	defer cancel()
	return h.Dial(ctx, "tcp", addr)
}

// StreamCh holds up to 128 connections that nobody has taken.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams.conns }

// Shutdown frees the port.
func (t *Transport) Shutdown() error {
	t.host.net.mu.Lock()
	if t.host.packets[t.streams.port] == t {
		delete(t.host.packets, t.streams.port)
	}
	t.host.net.mu.Unlock()
	return t.streams.Close()
}

// streamLayer is Raft's port on a host.
type streamLayer struct{ *listener }

// StreamLayer opens a port for Raft's NetworkTransport, a free one for 0.
func (h *Host) StreamLayer(port uint16) (raft.StreamLayer, error) {
	l, err := h.listen(port)
	if err != nil {
		return nil, err
	}
	return streamLayer{l}, nil
}

// Dial connects to another server's port.
func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return dialTimeout(s.host, string(address), timeout)
}
