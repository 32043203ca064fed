package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ListenerOptions configure a Listener. A zero field means its default.
type ListenerOptions struct {
	// TLS returns the configuration to serve with, asked for every connection: a new value replaces
	// certificates and roots. It should require and verify client certificates. A nil TLS means plain TCP.
	TLS func() (*tls.Config, error)
	// Plain, which may be nil, reports whether peers may do without TLS at present even though there is a TLS.
	Plain func() bool
	// Identify, which may be nil, says who a peer is by its verified certificate.
	Identify func(*x509.Certificate) Identity
	// Only, if set, is the one protocol of the port, which is under TLS: agents and Raft have no business there.
	Only Protocol
	// Intro, which may be nil, answers the calls of peers without a certificate, on ProtocolIntro.
	Intro *Server
	// Gossip, which may be nil, takes over the connections of ProtocolGossip and ProtocolPackets. It does not block, and
	// closes them in the end.
	Gossip func(net.Conn, Peer)
	// Admit, which may be nil, refuses a peer that may not speak the protocol: Raft is for servers.
	Admit func(Peer) error
	// HandshakeTimeout bounds the time to a connection's protocol; default 5 s.
	HandshakeTimeout time.Duration
	// MaxPerIP bounds the connections of one address; default 100 as Consul's rpc_max_conns_per_client.
	// Source: https://developer.hashicorp.com/consul/docs/agent/config/config-files#limits
	MaxPerIP int
	// MaxOf, which may be nil, is asked for the bound of an address that has MaxPerIP connections, behind which there may be
	// many. It does not block.
	MaxOf func(ip string) int
	// MaxHandshakes bounds the connections whose protocol is not known yet: of all addresses, default
	// 512; of one address a quarter of it.
	MaxHandshakes int
	// Log may be nil.
	Log *slog.Logger
}

// Listener serves the one port of RPC, Raft and bulk.
type Listener struct {
	inner     net.Listener
	server    *Server
	o         ListenerOptions
	admission admission
	config    atomic.Pointer[servedConfig]
	raft      *handoff
	callers   sync.WaitGroup // connections that carry calls, or may come to
	draining  atomic.Bool
	stopped   chan struct{} // closed when no more connections are accepted
	refusals  refusals
	secured   Conns // those with TLS, until they are closed
}

// servedConfig is what a configuration of the caller's became. It is kept, for session tickets to work.
type servedConfig struct{ source, served *tls.Config }

// NewListener makes a listener that answers calls on inner with server.
func NewListener(inner net.Listener, server *Server, o ListenerOptions) *Listener {
	def(&o.HandshakeTimeout, 5*time.Second)
	def(&o.MaxPerIP, 100)
	def(&o.MaxHandshakes, 512)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Listener{
		inner: inner, server: server, o: o,
		admission: admission{
			perIP: o.MaxPerIP, most: o.MaxOf, newPerIP: max(1, o.MaxHandshakes/4), newAll: o.MaxHandshakes,
			ips: make(map[string]*ipCount),
		},
		stopped: make(chan struct{}),
		raft:    &handoff{addr: inner.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})},
	}
}

// Addr is where the port is.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Raft returns the Raft connections, for the StreamLayer of Raft's transport. Closing it leaves the port open.
func (l *Listener) Raft() net.Listener { return l.raft }

// Run accepts connections until ctx ends. It then closes the port and all connections, and returns when their
// handlers have.
func (l *Listener) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer l.raft.Close()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.inner.Close() })()
	err := l.accept(ctx, &conns)
	if close(l.stopped); err == nil {
		<-ctx.Done() // after Drain, connections may go on until then
	}
	return err
}

// Drain closes the port, answers the calls that are under way, tells callers that the others were not acted on, and
// returns when they have hung up, or ctx ends. Calls that are parked, and streams, are cut off. Raft's connections
// stay until the end of Run.
func (l *Listener) Drain(ctx context.Context) {
	l.draining.Store(true)
	l.inner.Close()
	gone := make(chan struct{})
	go func() { // ends with Run
		<-l.stopped
		l.server.end() // who has hung up does not come back to a port that is about to close
		l.callers.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// accept serves connections until ctx ends or Drain is called.
func (l *Listener) accept(ctx context.Context, conns *sync.WaitGroup) error {
	for {
		conn, err := l.inner.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) && l.draining.Load() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("rpc: listener on %v: %w", l.Addr(), err)
		}
		if err != nil { // such as too many open files: others may close some
			l.o.Log.Error("rpc accept failed", "addr", l.Addr(), "err", err)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		ip := ipOf(conn.RemoteAddr())
		if !l.admission.arrive(ip) {
			l.o.Log.Debug("rpc connection refused: too many", "peer", conn.RemoteAddr())
			conn.Close()
			continue
		}
		l.callers.Add(1)
		conns.Go(func() { l.serve(ctx, conn, ip) }) // ends with the connection, which ends with ctx
	}
}

// serve sees a connection from its handshake to its end.
func (l *Listener) serve(ctx context.Context, conn net.Conn, ip string) {
	leave := sync.OnceFunc(l.callers.Done)
	defer leave()
	handshake, cancel := context.WithTimeout(ctx, l.o.HandshakeTimeout)
	ready, peer, err := l.greet(handshake, conn)
	cancel()
	if err != nil {
		conn.Close()
		l.admission.depart(ip, false)
		l.refused(ip, conn, err)
		return
	}
	l.admission.known(ip)
	defer l.admission.depart(ip, true)
	if l.refusals.over(ip) {
		l.o.Log.Info("rpc connections are accepted again", "peer", ip, "as", peer.Identity.String())
	}
	if given := l.given(peer); given != nil {
		defer l.secured.Add(ready, nil)()
		leave()
		conn := &givenConn{Conn: ready, closed: make(chan struct{})}
		given(ctx, conn)
		select {
		case <-conn.closed:
		case <-ctx.Done(): // Raft's transport leaves open what it accepted
			conn.Close()
		}
		return
	}
	server := l.server
	if peer.Protocol == ProtocolIntro {
		server = l.o.Intro
	}
	forget := func() {}
	err = server.serve(ctx, ready, peer, func(retire func()) { forget = l.secured.Add(ready, retire) })
	forget()
	if broken := new(net.OpError); errors.As(err, &broken) {
		l.o.Log.Debug("rpc connection broke", "peer", peer.Addr, "err", err)
	} else if err != nil {
		l.o.Log.Warn("rpc connection ended", "peer", peer.Addr, "err", err)
	}
}

// given is who takes a connection over that carries no calls; nil for those that do.
func (l *Listener) given(peer Peer) func(context.Context, net.Conn) {
	switch peer.Protocol {
	case ProtocolRaft:
		return func(ctx context.Context, conn net.Conn) { l.raft.give(ctx, conn, l.o.HandshakeTimeout) }
	case ProtocolGossip, ProtocolPackets:
		return func(_ context.Context, conn net.Conn) { l.o.Gossip(conn, peer) }
	}
	return nil
}

// refused tells why a connection was, when that is news of its address. Connections that say nothing are none.
func (l *Listener) refused(ip string, conn net.Conn, err error) {
	log := l.o.Log.Debug
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && l.refusals.news(ip, err.Error()) {
		log = l.o.Log.Warn
	}
	log("rpc connection refused", "peer", conn.RemoteAddr(), "by", l.Addr(), "err", err)
}

// firstRecord is how a connection with TLS begins: the type of a record that holds a handshake (RFC 8446 section 5.1).
const firstRecord = 0x16

// greet learns who connects, and for what.
func (l *Listener) greet(ctx context.Context, conn net.Conn) (net.Conn, Peer, error) {
	peer := Peer{Addr: conn.RemoteAddr()}
	first, err := firstByte(ctx, conn)
	switch {
	case err != nil:
		return nil, peer, err
	case l.o.TLS == nil || first != firstRecord && l.o.Plain != nil && l.o.Plain():
		var ok bool
		if peer.Protocol, ok = protocolOf(first); !ok {
			return nil, peer, fmt.Errorf("first byte %#x names no protocol: TLS is off here and may be on there", first)
		}
	case first != firstRecord:
		return nil, peer, fmt.Errorf("first byte %#x begins no TLS, which is demanded here: set verify_outgoing there", first)
	default:
		if conn, err = l.secure(ctx, &begun{Conn: conn, first: []byte{first}}, &peer); err != nil {
			return nil, peer, err
		}
	}
	if l.o.Admit != nil {
		if err := l.o.Admit(peer); err != nil {
			return nil, peer, err
		}
	}
	return conn, peer, nil
}

func firstByte(ctx context.Context, conn net.Conn) (byte, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var first [1]byte
	_, err := io.ReadFull(conn, first[:])
	return first[0], err
}

// begun is a connection of which the first bytes have been read.
type begun struct {
	net.Conn
	first []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}

// secure shakes hands and learns the peer's protocol and certificate.
func (l *Listener) secure(ctx context.Context, conn net.Conn, peer *Peer) (net.Conn, error) {
	config, err := l.serving()
	if err != nil {
		return nil, err
	}
	secured := tls.Server(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	state := secured.ConnectionState()
	peer.Protocol = Protocol(state.NegotiatedProtocol)
	if peer.Protocol != ProtocolIntro && !slices.Contains(l.offered(), peer.Protocol) {
		return nil, errors.New("the peer named no protocol by ALPN")
	}
	peer.Shown = state.PeerCertificates
	if len(state.VerifiedChains) > 0 {
		peer.Certificate = state.VerifiedChains[0][0]
		if l.o.Identify != nil {
			peer.Identity = l.o.Identify(peer.Certificate)
		}
	}
	return secured, nil
}

// serving returns the present TLS configuration with our protocols.
func (l *Listener) serving() (*tls.Config, error) {
	source, err := l.o.TLS()
	if err != nil {
		return nil, err
	}
	if source == nil {
		return nil, errors.New("no TLS configuration")
	}
	if source.GetConfigForClient != nil {
		return nil, errors.New("the TLS configuration has GetConfigForClient: return a new configuration instead")
	}
	present := l.config.Load()
	if present == nil || present.source != source {
		served := withProtocols(source, l.offered()...)
		if l.o.Intro != nil {
			introduce(served)
		}
		present = &servedConfig{source, served}
		l.config.Store(present)
	}
	return present.served, nil
}

// offered are the protocols of the port to peers with a certificate.
func (l *Listener) offered() []Protocol {
	switch {
	case l.o.Only != "":
		return []Protocol{l.o.Only}
	case l.o.Gossip != nil:
		return append(protocols[:], ProtocolGossip, ProtocolPackets)
	}
	return protocols[:]
}

// introduce lets those in without a certificate that ask for nothing but ProtocolIntro.
func introduce(config *tls.Config) {
	intro := withProtocols(config, ProtocolIntro)
	intro.ClientAuth = tls.NoClientCert
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == string(ProtocolIntro) {
			return intro, nil
		}
		return nil, nil
	}
}

// Recheck ends the connections whose peer's certificates are not believed any more, and returns how many.
// believed gets what the peer has shown, its leaf first.
func (l *Listener) Recheck(believed func(shown []*x509.Certificate) error) int {
	return l.secured.Recheck(believed)
}

// handoff is a net.Listener of connections that another one accepted.
type handoff struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// give waits for an Accept no longer than patience, then closes conn.
func (h *handoff) give(ctx context.Context, conn net.Conn, patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case h.conns <- conn:
		return
	case <-h.closed:
	case <-ctx.Done():
	case <-timer.C:
	}
	conn.Close()
}

// Accept returns the next connection, net.ErrClosed after Close.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return; connections that arrive later are closed.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is that of the port.
func (h *handoff) Addr() net.Addr { return h.addr }

// givenConn is a connection that was given away. It tells when it is closed.
type givenConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *givenConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
