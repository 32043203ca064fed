package frontdoor_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// TestPeers is A10 to A12: every verb is called by every kind of peer. The requests are garbage, so that a verb which
// lets the peer in says so, and does nothing.
func TestPeers(t *testing.T) {
	ca, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	n := testkit.New(t, testkit.Settings{
		"tls": ca.TLS(ca.Issue(t, nil, "server.dc1.consul", "localhost")), "join": testkit.Settings{"ca_file": ca.File, "ca_key_file": ca.KeyFile},
	})
	a := n.Start(t)
	at := onLoopback(n.Server)

	const nobody, someone, agents, elsewhere, servers = 0, 1, 2, 3, 4
	show := func(c ...tls.Certificate) rpc.Dialer {
		return rpc.Dialer{TLS: func(string) (*tls.Config, error) {
			return &tls.Config{RootCAs: ca.Pool, ServerName: "server.dc1.consul", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(c) == 0 {
					return new(tls.Certificate), nil
				}
				return &c[0], nil // whatever the server asks for
			}}, nil
		}}
	}
	client, ofService := ca.Issue(t, nil, "client.dc1.consul").Pair, ca.Issue(t, testkit.SPIFFE("spiffe://t.consul/ns/default/dc/dc1/svc/web")).Pair
	for _, peer := range []struct {
		name     string
		dialer   rpc.Dialer
		protocol rpc.Protocol
		as       int
	}{
		{"no TLS", rpc.Dialer{}, rpc.ProtocolRPC, nobody},
		{"no certificate", show(), rpc.ProtocolRPC, nobody},
		{"a foreign CA's certificate", show(other.Issue(t, nil, "server.dc1.consul").Pair), rpc.ProtocolRPC, nobody},
		{"no certificate, to get one", show(), rpc.ProtocolIntro, someone},
		{"a server's certificate, to get one", show(ca.Issue(t, nil, "server.dc1.consul").Pair), rpc.ProtocolIntro, someone},
		{"no TLS, to get one", rpc.Dialer{}, rpc.ProtocolIntro, nobody},
		{"a service's certificate", show(ofService), rpc.ProtocolRPC, someone},
		{"a client agent's", show(client), rpc.ProtocolRPC, agents},
		{"a server's of another datacenter", show(ca.Issue(t, nil, "server.dc2.consul").Pair), rpc.ProtocolRPC, elsewhere},
		{"a server's", show(ca.Issue(t, nil, "server.dc1.consul").Pair), rpc.ProtocolRPC, servers},
	} {
		pool := rpc.NewPool(rpc.PoolOptions{Protocol: peer.protocol, Dialer: peer.dialer, Decode: server.DecodeError})
		defer pool.Close()
		for _, v := range a.Server().Verbs() {
			_, err := pool.To(at).Call(t.Context(), &rpc.Call{Method: v.Name, Body: rpc.Raw{0x01}})
			in := err != nil && catalog.CodeOf(err) == catalog.Invalid && strings.Contains(err.Error(), "request of "+v.Name)
			out := catalog.CodeOf(err) == catalog.Denied && strings.Contains(err.Error(), "is refused") || errors.As(err, new(*rpc.LinkError))
			if want := may(v.From, peer.as); in != want || out == want {
				t.Errorf("%s is from %s and called by %s: %v", v.Name, v.From, peer.name, err)
			}
		}
		if peer.protocol == rpc.ProtocolIntro {
			continue // which carries no streams
		}
		stream, err := pool.To(at).Open(t.Context(), &rpc.Call{Method: api.SnapshotSave, Body: &api.Nothing{}})
		if err == nil {
			_, err = stream.Read(make([]byte, 1))
			stream.Close()
		}
		if (err == nil) != (peer.as >= agents) {
			t.Errorf("a snapshot for %s: %v", peer.name, err)
		}
	}

	// Raft has no header to refuse: the connection ends.
	d := show(client)
	conn, err := d.Dial(t.Context(), at, rpc.ProtocolRaft)
	if err == nil {
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err = conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("a client agent speaks Raft: %v", err)
		}
	}
	a.Log.Wait(t, "raft is refused") // it says so after it has hung up
	for _, why := range []string{"begins no TLS, which is demanded here", "client didn't provide a certificate"} {
		if n := strings.Count(a.Log.String(), why); n == 0 {
			t.Errorf("the log does not say %q", why)
		}
	}
}

func may(f rpc.From, as int) bool {
	switch f {
	case rpc.FromAnyone:
		return as > 0
	case rpc.FromServers:
		return as == 4
	case rpc.FromFederation:
		return as >= 3
	}
	return as > 1
}

// TestStrangerIsNoServer is A14: who has the key of gossip and no certificate joins the pool and never Raft. Its
// neighbour with a certificate does.
func TestStrangerIsNoServer(t *testing.T) {
	ca := testkit.NewAuthority(t)
	key := gossipKey("k")
	n := testkit.New(t, testkit.Settings{"encrypt": key, "tls": ca.TLS(ca.Issue(t, nil, "server.dc1.consul"))})
	n.Start(t)
	join := testkit.Settings{"encrypt": key, "bootstrap_expect": nil, "retry_join": []string{onLoopback(n.SerfLAN)}, "retry_interval": "1s", "node_name": "stranger"}
	stranger := testkit.New(t, join)
	stranger.Begin(t, stranger.Command())
	join["node_name"], join["tls"] = "s2", ca.TLS(ca.Issue(t, nil, "server.dc1.consul"))
	testkit.New(t, join).Start(t)
	n.Until(t, "/v1/catalog/nodes", func(r testkit.Reply) bool { return strings.Contains(r.Body, "stranger") })
	raft := n.Get(t, "/v1/operator/raft/configuration").Body
	if !strings.Contains(raft, `"s2"`) || strings.Contains(raft, "stranger") {
		t.Errorf("Raft's servers: %s", raft)
	}
}

func onLoopback(port int) string { return fmt.Sprint("127.0.0.1:", port) }
