//go:build unix

package fleet

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/curia-mesh/curia/rpc/memnet"
)

// load is what was sent: packets, connections and the bytes of either. The bytes of a connection are those of both
// directions, counted for whoever opened it.
type load struct{ packets, packetBytes, streams, streamBytes int64 }

func (l load) plus(o load) load {
	return load{l.packets + o.packets, l.packetBytes + o.packetBytes, l.streams + o.streams, l.streamBytes + o.streamBytes}
}

func (l load) minus(o load) load {
	return load{l.packets - o.packets, l.packetBytes - o.packetBytes, l.streams - o.streams, l.streamBytes - o.streamBytes}
}

// meter counts what goes out of a transport.
type meter struct {
	*memnet.Transport
	packets, packetBytes, streams, streamBytes atomic.Int64

	noStreams atomic.Bool // no connection may be opened

	copyTo string // where a copy of every packet goes, "" for nowhere
}

func (m *meter) load() load {
	return load{m.packets.Load(), m.packetBytes.Load(), m.streams.Load(), m.streamBytes.Load()}
}

func (m *meter) WriteTo(b []byte, addr string) (time.Time, error) {
	m.packets.Add(1)
	m.packetBytes.Add(int64(len(b)))
	if m.copyTo != "" {
		if at, err := m.Transport.WriteTo(b, m.copyTo); err != nil {
			return at, err
		}
	}
	return m.Transport.WriteTo(b, addr)
}

func (m *meter) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return m.WriteTo(b, a.Addr)
}

func (m *meter) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if m.noStreams.Load() {
		return nil, errNoStreams
	}
	c, err := m.Transport.DialTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	m.streams.Add(1)
	return meteredConn{c, m}, nil
}

func (m *meter) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return m.DialTimeout(a.Addr, timeout)
}

type meteredConn struct {
	net.Conn
	m *meter
}

func (c meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.streamBytes.Add(int64(n))
	return n, err
}

func (c meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.m.streamBytes.Add(int64(n))
	return n, err
}

var errNoStreams = errors.New("no connection may be opened yet")

func addrPort(h *memnet.Host) netip.AddrPort { return netip.AddrPortFrom(h.IP(), port) }
