package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/curia-mesh/curia/catalog"
)

// address checks that text is host:port. An empty host means this machine.
func address(setting, text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil || port == "" {
		return "", fmt.Errorf("%s %q is not of the form host:port, such as 127.0.0.1:8080 or [::1]:8080", setting, text)
	}
	return net.JoinHostPort(cmp.Or(host, "localhost"), port), nil
}

// dialTLS connects to address and shakes hands, offering protocols. Whom it trusts comes from Deps.TLS,
// whom it expects from the check.
func (r *Runner) dialTLS(ctx context.Context, address string, protocols ...string) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{}
	if r.deps.TLS != nil {
		if c := r.deps.TLS(); c != nil {
			config = c.Clone()
		}
	}
	config.ServerName = cmp.Or(r.def.TLSServerName, host)
	config.NextProtos = protocols
	config.InsecureSkipVerify = r.def.TLSSkipVerify
	if r.def.TLSSkipVerify {
		config.VerifyPeerCertificate, config.VerifyConnection = nil, nil
	}
	raw, err := r.deps.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", address, err)
	}
	return conn, nil
}

// newTCP makes a check that passes when a connection, and TLS where it is set, comes to stand.
func newTCP(r *Runner) (probe, error) {
	target, err := address("tcp", r.def.TCP)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (catalog.Status, string) {
		var conn net.Conn
		var err error
		if r.def.TCPUseTLS {
			conn, err = r.dialTLS(ctx, target)
		} else {
			conn, err = r.deps.Dial(ctx, "tcp", target)
		}
		if err != nil {
			return catalog.Critical, err.Error()
		}
		conn.Close()
		return catalog.Passing, "TCP connect " + r.def.TCP + ": Success"
	}, nil
}

// udpPayload is what a udp check sends when its body is empty.
const udpPayload = UserAgent + "\n"

// newUDP makes a check that sends one datagram, the check's body, and passes when any answer comes.
func newUDP(r *Runner) (probe, error) {
	target, err := address("udp", r.def.UDP)
	if err != nil {
		return nil, err
	}
	payload := []byte(cmp.Or(r.def.Body, udpPayload))
	return func(ctx context.Context) (catalog.Status, string) {
		conn, err := r.deps.Dial(ctx, "udp", target)
		if err != nil {
			return catalog.Critical, err.Error()
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })() // an end of ctx ends the read
		if _, err := conn.Write(payload); err != nil {
			return catalog.Critical, err.Error()
		}
		if n, err := conn.Read(make([]byte, 64)); err != nil && n == 0 { // some systems call a datagram that is longer an error
			if ctx.Err() != nil {
				return catalog.Critical, fmt.Sprintf("UDP %s: no answer within %s", r.def.UDP, r.timeout)
			}
			return catalog.Critical, err.Error()
		}
		return catalog.Passing, "UDP connect " + r.def.UDP + ": Success"
	}, nil
}
