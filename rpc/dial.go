package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Protocol is what a connection to the one port is for: the ALPN name under TLS (RFC 7301), a first byte
// where TLS is off.
type Protocol string

const (
	// ProtocolRPC carries calls.
	ProtocolRPC Protocol = "curia-rpc"
	// ProtocolRaft carries Raft, server to server.
	ProtocolRaft Protocol = "curia-raft"
	// ProtocolBulk carries the same frames as ProtocolRPC, on a connection of its own for long streams.
	ProtocolBulk Protocol = "curia-bulk"
	// ProtocolIntro carries the same frames, under TLS only, for peers that have no certificate yet.
	ProtocolIntro Protocol = "curia-intro"
	// ProtocolPeer carries the same frames, under TLS only, between clusters that are peers.
	ProtocolPeer Protocol = "curia-peer"
	// ProtocolGossip and ProtocolPackets carry the streams and the packets of gossip between the servers of datacenters,
	// under TLS only, where nothing but gateways leads from one to the other.
	ProtocolGossip  Protocol = "curia-gossip"
	ProtocolPackets Protocol = "curia-packets"
)

// protocols is indexed by a plain connection's first byte, less one.
var protocols = [...]Protocol{ProtocolRPC, ProtocolRaft, ProtocolBulk}

func protocolOf(first byte) (Protocol, bool) {
	if first == 0 || int(first) > len(protocols) {
		return "", false
	}
	return protocols[first-1], true
}

func (p Protocol) firstByte() byte {
	for i, known := range protocols {
		if p == known {
			return byte(i + 1)
		}
	}
	return 0
}

// Dialer makes connections to a Listener.
type Dialer struct {
	// TLS returns the configuration for a connection to addr; it is not changed, so one value can serve
	// many connections. Without a ServerName the host of addr is verified. A nil TLS means plain TCP.
	TLS func(addr string) (*tls.Config, error)
	// Plain, which may be nil, reports whether to use no TLS at present even though there is a TLS.
	Plain func() bool
	// Timeout bounds a dial with its handshake; default 5 s.
	Timeout time.Duration
	// Connect makes the bare connection; default is net.Dialer's DialContext. Its errors name addr, as those do.
	Connect func(ctx context.Context, network, addr string) (net.Conn, error)
	// Through, which may be nil, is the gateways that lead to addr: it is reached through one of them, with TLS.
	Through Gateways
}

// Dial returns a connection to the Listener at addr that speaks protocol. Whether a server accepts the
// dialer's own certificate shows, in TLS 1.3, on the first read only.
func (d *Dialer) Dial(ctx context.Context, addr string, protocol Protocol) (net.Conn, error) {
	timeout := d.Timeout
	def(&timeout, 5*time.Second)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no connection within %v", timeout))
	defer cancel()
	if d.Through != nil {
		return d.through(ctx, addr, protocol)
	}
	conn, err := d.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	ready, err := d.greet(ctx, conn, addr, protocol)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s handshake with %s: %w", protocol, addr, hint(because(ctx, err), protocol))
	}
	return ready, nil
}

func (d *Dialer) connect(ctx context.Context, addr string) (net.Conn, error) {
	connect := d.Connect
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	conn, err := connect(ctx, "tcp", addr)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, cause)
	}
	return conn, err
}

// because prefers the reason why ctx ended to what that did to err.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// hint says what a failure of TLS most likely means.
func hint(err error, protocol Protocol) error {
	if protocol == ProtocolPeer && strings.HasSuffix(alertOf(err), unrecognized) {
		return fmt.Errorf("%w: there is a mesh gateway that leads to no servers, or not yet: is Peering.PeerThroughMeshGateways set in the config entry mesh of that cluster, and does the gateway's token have service:write on its own name?", err)
	}
	if garbled := new(tls.RecordHeaderError); errors.As(err, garbled) {
		return fmt.Errorf("%w: TLS seems to be off there", err)
	}
	return clockHint(err)
}

// expired is the alert for a certificate that does not count at the time that it is (RFC 8446 section 6.2); crypto/tls sends it for
// one that is yet to begin too.
const expired = "expired certificate"

// outdated reports whether a certificate has ended or not begun, by the clock here or by the one there.
func outdated(err error) (here, there bool) {
	var shown *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	here = errors.As(err, &shown) && errors.As(shown.Err, &invalid) && invalid.Reason == x509.Expired
	return here, !here && strings.HasSuffix(alertOf(err), expired)
}

// clockHint says which side has to do what where a certificate of TLS is outdated.
func clockHint(err error) error {
	switch here, there := outdated(err); {
	case here:
		return fmt.Errorf("%w: set the clock right that is wrong, of the machine that connects or of the one that the certificate was made on; where both are right, renew the certificate of the server there", err)
	case there:
		return fmt.Errorf("%w: by the clock there the certificate that is shown to it has ended or not begun: set the clock right that is wrong, of that machine or of the one that the certificate was made on; where both are right, renew that certificate", err)
	}
	return err
}

func (d *Dialer) greet(ctx context.Context, conn net.Conn, addr string, protocol Protocol) (net.Conn, error) {
	if d.Through == nil && (d.TLS == nil || d.Plain != nil && d.Plain()) {
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		_, err := conn.Write([]byte{protocol.firstByte()})
		return conn, err
	}
	if d.TLS == nil {
		return nil, errors.New("gateways lead there by the name in TLS, which is off here")
	}
	config, err := d.TLS(addr)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, errors.New("no TLS configuration for this address")
	}
	config = withProtocols(config, protocol)
	if config.ServerName == "" {
		if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, err
		}
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if got := secured.ConnectionState().NegotiatedProtocol; got != string(protocol) {
		return nil, fmt.Errorf("the server negotiated protocol %q", got)
	}
	return secured, nil
}

// withProtocols returns a copy of config for our port.
func withProtocols(config *tls.Config, offered ...Protocol) *tls.Config {
	config = config.Clone()
	config.NextProtos = nil
	for _, p := range offered {
		config.NextProtos = append(config.NextProtos, string(p))
	}
	config.DynamicRecordSizingDisabled = true // a flush is one batch of frames, not the start of a page
	return config
}
