package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc"
)

// raftPort lets Raft use the server's one port.
type raftPort struct {
	net.Listener
	dialer    rpc.Dialer
	advertise string
	dialing   context.Context // of all dials
	stop      context.CancelFunc
	hungUp    chan struct{} // another server has ended a connection that it had made

	mu    sync.Mutex
	conns map[*dialedConn]bool // that were dialed and are open; nil when they are cut off

	secured rpc.Conns // of these
}

const (
	// dialTime bounds a dial: what the network loses must not keep the next one back.
	dialTime = time.Second
	// lostAfter ends a connection whose other end does not acknowledge what was sent: a network that is whole again
	// shall find a new one, not one that the kernel tries ever more rarely.
	lostAfter = 3 * time.Second
)

func newRaftPort(port net.Listener, cfg Config) *raftPort {
	p := &raftPort{Listener: port, dialer: cfg.dialer(), advertise: cfg.Advertise, conns: map[*dialedConn]bool{}, hungUp: make(chan struct{}, 1)}
	p.dialing, p.stop = context.WithCancel(context.Background()) // ends with the server
	if p.dialer.Connect == nil {
		p.dialer.Connect = (&net.Dialer{Control: boundLoss(lostAfter)}).DialContext
	}
	return p
}

// dialedConn is a connection to another server's Raft.
type dialedConn struct {
	net.Conn
	port *raftPort
	gone func() // takes it out of port.secured
}

// Close implements net.Conn.
func (c *dialedConn) Close() error {
	c.port.mu.Lock()
	delete(c.port.conns, c)
	c.port.mu.Unlock()
	c.gone()
	return c.Conn.Close()
}

var errCutOff = errors.New("this server is about to end: its disk hangs")

// errDial says that no connection to another server was made.
var errDial = errors.New("cannot connect")

// Dial implements raft.StreamLayer. This server reaches itself where it listens: the way by the address for others may
// lead through a translation that does not turn back.
func (p *raftPort) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if p.isCut() {
		return nil, errCutOff
	}
	ctx, cancel := context.WithTimeout(p.dialing, min(timeout, dialTime))
	defer cancel()
	if string(address) == p.advertise {
		address = raft.ServerAddress(p.Listener.Addr().String())
	}
	conn, err := p.dialer.Dial(ctx, string(address), rpc.ProtocolRaft)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDial, err)
	}
	kept := &dialedConn{conn, p, p.secured.Add(conn, nil)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		kept.gone()
		return nil, errors.Join(errCutOff, conn.Close())
	}
	p.conns[kept] = true
	return kept, nil
}

// Accept implements net.Listener.
func (p *raftPort) Accept() (net.Conn, error) {
	conn, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &acceptedConn{conn, p}, nil
}

// acceptedConn is a connection that another server has made. It tells when that server ends it.
type acceptedConn struct {
	net.Conn
	port *raftPort
}

// Read implements net.Conn.
func (c *acceptedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.port.noticeEnd()
	}
	return n, err
}

// noticeEnd says that another server may have ended.
func (p *raftPort) noticeEnd() {
	select {
	case p.hungUp <- struct{}{}:
	default:
	}
}

// Close implements net.Listener. The server's port stays open.
func (p *raftPort) Close() error {
	p.stopDialing()
	return p.Listener.Close()
}

// stopDialing ends the dials that are under way and makes no more.
func (p *raftPort) stopDialing() { p.stop() }

// cutOff ends all messages of this server's Raft, for good.
func (p *raftPort) cutOff() {
	p.stopDialing()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Conn.Close()
	}
	p.conns = nil
}

func (p *raftPort) isCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns == nil
}

// Addr implements net.Listener with the address that others reach.
func (p *raftPort) Addr() net.Addr { return advertised(p.advertise) }

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }
