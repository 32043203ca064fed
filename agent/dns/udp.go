package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxReadFailures is how many reads of a socket may fail in a row before it is given up.
const maxReadFailures = 100

// socketBuffer is how many bytes of questions may wait while the reader is busy with others.
const socketBuffer = 1 << 20

// packetSocket reads and writes datagrams, without allocating where the socket is the kernel's.
type packetSocket struct {
	udp  *net.UDPConn // nil if it is something else
	any  net.PacketConn
	info pktinfo
}

// peer is where a datagram came from, and where it came to.
type peer struct {
	addr netip.AddrPort
	any  net.Addr // in place of addr, where the socket is not the kernel's
	oob  []byte   // control message that makes the reply leave from the address that was asked
}

func newPacketSocket(p net.PacketConn) (*packetSocket, error) {
	s := &packetSocket{any: p}
	udp, ok := p.(*net.UDPConn)
	if !ok {
		return s, nil
	}
	s.udp = udp
	udp.SetReadBuffer(socketBuffer) // the system may allow less
	if local, ok := udp.LocalAddr().(*net.UDPAddr); ok && local.IP.IsUnspecified() {
		var err error
		if s.info, err = enablePktinfo(udp); err != nil {
			return nil, fmt.Errorf("DNS socket %s: %w", udp.LocalAddr(), err)
		}
	}
	return s, nil
}

func (s *packetSocket) read(buf []byte, from *peer) (n int, err error) {
	switch {
	case s.udp == nil:
		n, from.any, err = s.any.ReadFrom(buf)
		if udp, ok := from.any.(*net.UDPAddr); ok {
			from.addr = udp.AddrPort()
		}
	case s.info == noPktinfo:
		n, from.addr, err = s.udp.ReadFromUDPAddrPort(buf)
	default:
		var size int
		n, size, _, from.addr, err = s.udp.ReadMsgUDPAddrPort(buf, from.oob[:cap(from.oob)])
		from.oob = s.info.answering(from.oob[:size])
	}
	return n, err
}

// write sends a reply. One that is lost for want of room in a queue is asked for again.
func (s *packetSocket) write(msg []byte, to *peer) {
	switch {
	case s.udp == nil:
		s.any.WriteTo(msg, to.any)
	case s.info == noPktinfo:
		s.udp.WriteToUDPAddrPort(msg, to.addr)
	default:
		s.udp.WriteMsgUDPAddrPort(msg, to.oob, to.addr)
	}
}

// servePackets answers what arrives at a socket until it is closed. One reader keeps two cores busy:
// most of its time is the kernel's, and the kernel lets only one read at a time.
func (s *Server) servePackets(ctx context.Context, p net.PacketConn) error {
	socket, err := newPacketSocket(p)
	if err != nil {
		return err
	}
	readers := max(1, min(4, runtime.GOMAXPROCS(0)/2))
	failures := make(chan error, readers)
	var running sync.WaitGroup
	for range readers {
		running.Go(func() { failures <- s.readPackets(ctx, socket, &running) })
	}
	err = <-failures
	p.Close() // so that the other readers end too
	running.Wait()
	return err
}

func (s *Server) readPackets(ctx context.Context, socket *packetSocket, running *sync.WaitGroup) error {
	w := &worker{writer: newWriter()}
	buf := make([]byte, maxQueryLen+1) // what is longer is cut, and so malformed
	from := &peer{oob: make([]byte, 0, oobLen)}
	for failures := 0; ; {
		n, err := socket.read(buf, from)
		if err != nil {
			failures++
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) || failures > maxReadFailures {
				return fmt.Errorf("DNS socket %s: %w", socket.any.LocalAddr(), err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
			continue
		}
		failures = 0
		step := s.short(w, buf[:n], false)
		if step == inquire {
			step = s.inquirePacket(ctx, w, socket, buf[:n], from, running)
		}
		if step == reply {
			socket.write(w.message(), from)
		}
	}
}

// inquirePacket answers in a goroutine of its own, which ends when the look-up does.
func (s *Server) inquirePacket(ctx context.Context, w *worker, socket *packetSocket, pkt []byte, from *peer, running *sync.WaitGroup) step {
	select {
	case s.lookups <- struct{}{}:
	default:
		s.stats.dropped.Add(1)
		w.fail(&w.query, dns.RcodeServerFailure, false)
		return reply
	}
	pkt = bytes.Clone(pkt)
	to := &peer{addr: from.addr, any: from.any, oob: bytes.Clone(from.oob)}
	running.Go(func() {
		defer func() { <-s.lookups }()
		w := s.writers.Get().(*writer)
		defer s.writers.Put(w)
		s.long(ctx, w, pkt, to.addr.Addr().Unmap(), false)
		socket.write(w.message(), to)
	})
	return ignore
}
