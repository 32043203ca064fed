package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect"
)

// serverTLS makes the configurations of connections that come, one for each generation of certificates: so the tickets
// of one resume no session of another.
type serverTLS struct {
	certs   Certs
	http    bool // offers its versions
	current atomic.Pointer[generation]
}

// generation is a configuration for what was shown and believed at one time.
type generation struct {
	number uint64
	config *tls.Config
}

func (s *serverTLS) config() *tls.Config {
	n := s.certs.Generation()
	if g := s.current.Load(); g != nil && g.number == n {
		return g.config
	}
	g := &generation{n, modern(connect.ServerTLS(s.certs))}
	if s.http {
		g.config.NextProtos = []string{protoHTTP2, protoHTTP1}
	}
	s.current.Store(g)
	return g.config
}

// modern is what the mesh speaks. Records are not kept small at first: nobody here waits for the first bytes of one.
func modern(c *tls.Config) *tls.Config {
	c.MinVersion = tls.VersionTLS13
	c.DynamicRecordSizingDisabled = true
	return c
}

// handshake has the caller prove its identity.
func (c *client) handshake() error {
	p := c.listening.proxy
	own, err := ownLeaf(c.listening.config.Load().Certs) // the one that is shown, or the one before
	if err != nil {
		return err
	}
	conn := tls.Server(&cork{Conn: c.raw}, c.listening.tlsConfig())
	if err := p.shake(context.Background(), conn); err != nil {
		return err
	}
	id, err := connect.PeerID(conn.ConnectionState())
	if err != nil {
		return err
	}
	if id.Kind != connect.KindService {
		return errors.New("the caller is no service: " + id.String())
	}
	trust, err := c.listening.config.Load().Certs.Trust()
	if err != nil {
		return err
	}
	c.conn, c.peer, c.caller = conn, id, connect.Caller{Service: id.Name, Peer: trust.PeerOf(id)}
	if id.TrustDomain != trust.Domain && c.caller.Peer == "" {
		return errors.New("the caller's cluster is believed no more: " + id.String())
	}
	peer := conn.ConnectionState().PeerCertificates[0]
	c.until = outlives(own, peer, time.Now())
	c.lines = c.clientCert(peer)
	return nil
}

// clientCert is the field that tells the application who is calling, in the form that Envoy gave it.
// Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert
func (c *client) clientCert(leaf *x509.Certificate) []byte {
	value := ""
	if id, err := ownID(c.listening.config.Load().Certs); err == nil {
		value = "By=" + id.String() + ";"
	}
	sum := sha256.Sum256(leaf.Raw)
	return appendField(nil, "X-Forwarded-Client-Cert", value+"Hash="+hex.EncodeToString(sum[:])+";URI="+c.peer.String())
}

// ownID is the identity that is shown.
func ownID(certs Certs) (connect.ID, error) {
	leaf, err := ownLeaf(certs)
	if err != nil {
		return connect.ID{}, err
	}
	return connect.IDOf(leaf)
}

// ownLeaf is the certificate that is shown.
func ownLeaf(certs Certs) (*x509.Certificate, error) {
	own, err := certs.Certificate()
	if err != nil {
		return nil, err
	}
	if own.Leaf != nil {
		return own.Leaf, nil
	}
	return x509.ParseCertificate(own.Certificate[0])
}

func (l *listening) tlsConfig() *tls.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.server.config()
}

// maxTurn is how long a handshake waits for its turn. It goes on without one then: callers who begin a handshake and do
// not end it must not keep out all others.
const maxTurn = 250 * time.Millisecond

// shake does a handshake when it is its turn. The deadline of the connection bounds it.
func (p *Proxy) shake(ctx context.Context, conn *tls.Conn) error {
	select {
	case p.handshakes <- struct{}{}:
		defer func() { <-p.handshakes }()
	default:
		late := time.NewTimer(maxTurn)
		defer late.Stop()
		select {
		case p.handshakes <- struct{}{}:
			defer func() { <-p.handshakes }()
		case <-late.C:
		}
	}
	return conn.HandshakeContext(ctx)
}

// halfCloser is a connection one direction of which can be ended.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}
