package rpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

// passing is a gateway: each connection is answered by do.
func passing(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var conns sync.WaitGroup
	conns.Go(func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				do(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

// to passes connections on.
func to(addr string) func(net.Conn) {
	return func(near net.Conn) {
		far, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer far.Close()
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(near, far)
			near.Close()
		})
		_, _ = io.Copy(far, near)
		far.Close()
		back.Wait()
	}
}

// ways are gateways that are tried as they stand, and what came of each.
type ways struct {
	list []string

	mu    sync.Mutex
	tried map[string]error
}

func (w *ways) To(string) ([]string, error) {
	if len(w.list) == 0 {
		return nil, errors.New("there are none")
	}
	return w.list, nil
}

func (w *ways) Tried(gateway string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried[gateway] = err
}

// A server is reached through the first gateway that leads to it: not by one that is silent, hangs up, does not know it, or
// leads to somebody else.
func TestThroughGateways(t *testing.T) {
	ca, strangers := newAuthority(t), newAuthority(t)
	taken := make(chan rpc.Peer, 2)
	lo := ca.serving("s1")
	lo.Gossip = func(conn net.Conn, peer rpc.Peer) {
		taken <- peer
		conn.Close()
	}
	server, _ := serve(t, rpc.ServerOptions{}, lo)
	theirs := strangers.serving("s1")
	theirs.Gossip = lo.Gossip
	impostor, _ := serve(t, rpc.ServerOptions{}, theirs)
	direct, _ := serve(t, rpc.ServerOptions{}, ca.serving("s1"))
	silent := passing(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closes := passing(t, func(net.Conn) {})
	unknown := passing(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, 112}) // the alert unrecognized_name, RFC 6066
		_, _ = io.Copy(io.Discard, c)
	})
	impostors := passing(t, to(impostor.Addr().String()))
	good := passing(t, to(server.Addr().String()))

	d := ca.dialing("s2")
	w := &ways{list: []string{silent, closes, unknown, impostors, good}, tried: map[string]error{}}
	d.Through, d.Timeout = w, 3*time.Second
	d.Plain = func() bool { return true } // through gateways there is TLS always
	for _, protocol := range []rpc.Protocol{rpc.ProtocolGossip, rpc.ProtocolPackets} {
		conn, err := d.Dial(t.Context(), "s1.dc1", protocol)
		must(t, err)
		if peer := <-taken; peer.Protocol != protocol || peer.Certificate == nil || peer.Certificate.Subject.CommonName != "s2" {
			t.Errorf("taken from %+v", peer)
		}
		conn.Close()
	}
	for gateway, text := range map[string]string{
		silent: "silent for", closes: "the gateway has closed the connection", unknown: "consul-wan-federation", impostors: "certificates of one CA",
	} {
		if err := w.tried[gateway]; err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want %q, the gateway was tried with: %v", text, err)
		}
	}
	w.list = []string{passing(t, to(direct.Addr().String()))}
	if _, err := d.Dial(t.Context(), "s1.dc1", rpc.ProtocolGossip); err == nil || !strings.Contains(err.Error(), "set connect.enable_mesh_gateway_wan_federation there") {
		t.Errorf("a server that does not federate so: %v", err)
	}
	if err := w.tried[good]; err != nil {
		t.Error(err)
	}

	w.list = []string{closes, unknown, impostors}
	_, err := d.Dial(t.Context(), "s1.dc1", rpc.ProtocolRPC)
	var all *rpc.GatewayError
	if !errors.As(err, &all) || len(all.Tried) != 3 || slices.ContainsFunc(w.list, func(g string) bool { return !strings.Contains(err.Error(), g) }) {
		t.Errorf("not all gateways are named: %v", err)
	}
	if unverified := new(tls.CertificateVerificationError); !errors.As(err, &unverified) {
		t.Errorf("the cause is lost: %v", err)
	}
	w.list = nil
	if _, err := d.Dial(t.Context(), "s1.dc1", rpc.ProtocolRPC); err == nil || !strings.Contains(err.Error(), "there are none") {
		t.Error(err)
	}
	w.list = []string{silent}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, "s1.dc1", rpc.ProtocolRPC); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	d.TLS = nil
	if _, err := d.Dial(t.Context(), "s1.dc1", rpc.ProtocolRPC); err == nil || !strings.Contains(err.Error(), "TLS, which is off here") {
		t.Errorf("without TLS: %v", err)
	}
}

// A port that takes no gossip does not speak its protocols, and one that does gives it to nobody who is not admitted.
func TestGossipIsForThoseAdmitted(t *testing.T) {
	ca := newAuthority(t)
	plain, _ := serve(t, rpc.ServerOptions{}, ca.serving("s1"))
	d := ca.dialing("s2")
	if conn, err := d.Dial(t.Context(), plain.Addr().String(), rpc.ProtocolPackets); err == nil {
		conn.Close()
		t.Error("the port speaks gossip")
	}
	lo := ca.serving("s1")
	lo.Gossip = func(conn net.Conn, peer rpc.Peer) {
		t.Errorf("taken from %v", peer)
		conn.Close()
	}
	lo.Admit = func(rpc.Peer) error { return errors.New("not you") }
	lo.Identify = func(*x509.Certificate) rpc.Identity { return rpc.Identity{Role: rpc.RoleClient} }
	guarded, _ := serve(t, rpc.ServerOptions{}, lo)
	conn, err := d.Dial(t.Context(), guarded.Addr().String(), rpc.ProtocolPackets)
	must(t, err) // the refusal comes behind the handshake
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("it goes on: %d %v", n, err)
	}
}
