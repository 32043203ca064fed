package server_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/api"
)

// peering runs a lone server of a datacenter that meets peers.
func peering(t *testing.T, datacenter string) *server.Server {
	t.Helper()
	s, _ := start(t, "", func(c *server.Config) {
		c.Datacenter, c.Mesh, c.CAProvider, c.Peering = datacenter, true, "consul", "127.0.0.1:0"
	})
	return s
}

// until waits until a condition on what a server knows holds.
func until(t *testing.T, s *server.Server, what string, holds func(tx *state.Txn, w *state.Watch) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		gone, w := s.Store().Abandoned(), &state.Watch{}
		if holds(s.Store().Read(), w) {
			return
		}
		if w.Wait(ctx, gone) != nil {
			t.Fatalf("never: %s", what)
		}
	}
}

// inState waits until a peering is in a state; "" is that there is none.
func inState(t *testing.T, s *server.Server, name string, want catalog.PeeringState) {
	t.Helper()
	until(t, s, fmt.Sprintf("peering %s is %q", name, want), func(tx *state.Txn, w *state.Watch) bool {
		p, _ := state.Peering(tx, w, name)
		return p == nil && want == "" || p != nil && p.State == want
	})
}

// token makes one in a cluster, for its peering with a name.
func token(t *testing.T, s *server.Server, name string) *catalog.PeeringToken {
	t.Helper()
	text, _, err := api.PeeringGenerate.Call(t.Context(), s.Caller(), rpc.Header{}, &api.PeeringWrite{Name: name, Token: catalog.PeeringToken{ManualServerAddresses: []string{s.Meeting()}}})
	if err != nil {
		t.Fatal(err)
	}
	made, err := catalog.ParsePeeringToken(*text)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func establish(t *testing.T, s *server.Server, name string, with *catalog.PeeringToken) error {
	_, _, err := api.PeeringEstablish.Call(t.Context(), s.Caller(), rpc.Header{}, &api.PeeringWrite{Name: name, Token: *with})
	return err
}

// peered are two clusters that are peers: north, which has made the token, calls the other south, and the other way round.
func peered(t *testing.T) (north, south *server.Server) {
	t.Helper()
	north, south = peering(t, "north"), peering(t, "south")
	if err := establish(t, south, "north", token(t, north, "south")); err != nil {
		t.Fatal(err)
	}
	inState(t, north, "south", catalog.PeeringActive)
	inState(t, south, "north", catalog.PeeringActive)
	return north, south
}

func export(t *testing.T, s *server.Server, peer string, services ...string) {
	t.Helper()
	e := &catalog.ExportedServices{EntryHead: catalog.EntryHead{Kind: catalog.EntryExportedServices, Name: "default"}, Services: []catalog.ExportedService{}}
	for _, name := range services {
		e.Services = append(e.Services, catalog.ExportedService{Name: name, Consumers: []catalog.ServiceConsumer{{Peer: peer}}})
	}
	if ok, _, err := api.ConfigApply.Call(t.Context(), s.Caller(), rpc.Header{}, &api.ConfigWrite{Op: api.ConfigSet, Entry: *catalog.AnyOf(e)}); err != nil || !*ok {
		t.Fatal(ok, err)
	}
}

// offer registers an instance of a service, with a check in a state.
func offer(t *testing.T, s *server.Server, node, service string, health catalog.Status) {
	t.Helper()
	_, _, err := api.Register.Call(t.Context(), s.Caller(), rpc.Header{}, &api.RegisterRequest{
		Node: node, Address: "10.1.1.1", NodeMeta: map[string]string{"rack": "7"}, Service: &catalog.Service{Service: service, Port: 80, Tags: []string{"v1"}},
		Checks: []*catalog.Check{{CheckID: "c-" + service, Name: "ready", ServiceID: service, Status: health, Output: "inner workings"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// imports waits until a server knows these services of a peer, each with the states of its instances.
func imports(t *testing.T, s *server.Server, peer, want string) {
	t.Helper()
	until(t, s, "imports of "+peer+" are "+want, func(tx *state.Txn, w *state.Watch) bool {
		var got []string
		found, _ := state.Imports(tx, w, peer)
		for _, f := range found {
			text := f.Service
			for _, i := range f.Instances {
				text += ":" + string(i.Status())
			}
			got = append(got, text)
		}
		return strings.Join(got, " ") == want
	})
}

// TestPeering is a peering from its token to its end: each side sees what the other exports to it, with its health as it
// changes, and nothing else.
func TestPeering(t *testing.T) {
	north, south := peered(t)
	offer(t, north, "n1", "web", catalog.Passing)
	offer(t, north, "n1", "secret", catalog.Passing)
	offer(t, south, "s1", "db", catalog.Warning)
	export(t, north, "south", "web")
	export(t, south, "north", "db", "later")
	imports(t, south, "north", "web:passing")
	imports(t, north, "south", "db:warning later")

	found, _, err := api.HealthService.Call(t.Context(), south.Caller(), rpc.Header{}, &api.ServiceQuery{Service: "web", Peer: "north"})
	if err != nil || len(*found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	i := (*found)[0]
	if i.Node.Node != "n1" || i.Node.PeerName != "north" || i.Service.PeerName != "north" || i.Service.Port != 80 || i.Node.Datacenter != "north" || len(i.Service.Tags) != 1 {
		t.Errorf("node %+v, service %+v", i.Node, i.Service)
	}
	for _, c := range i.Checks {
		if c.PeerName != "north" || c.Output != "" {
			t.Errorf("check %+v", c)
		}
	}
	if len(i.Node.Meta) != 0 {
		t.Errorf("the node's metadata were told: %v", i.Node.Meta)
	}
	if own, _, err := api.HealthService.Call(t.Context(), south.Caller(), rpc.Header{}, &api.ServiceQuery{Service: "web"}); err != nil || len(*own) != 0 {
		t.Errorf("without the peer %v, %v", own, err)
	}

	rows, _, err := api.PeeringRead.Call(t.Context(), south.Caller(), rpc.Header{}, &api.Named{Name: "north"})
	if err != nil || len(*rows) != 1 {
		t.Fatal(rows, err)
	}
	if p := (*rows)[0]; fmt.Sprint(p.StreamStatus.ImportedServices, p.StreamStatus.ExportedServices) != "[web] [db later]" || p.StreamStatus.LastReceive == nil || p.StreamStatus.LastSend == nil || p.Secrets != nil {
		t.Errorf("%+v", p)
	}

	offer(t, north, "n1", "web", catalog.Critical)
	imports(t, south, "north", "web:critical")
	offer(t, north, "n2", "web", catalog.Passing)
	imports(t, south, "north", "web:critical:passing")
	export(t, north, "south")
	imports(t, south, "north", "")
	export(t, north, "south", "web", "secret")
	imports(t, south, "north", "secret:passing web:critical:passing")

	if _, _, err := api.PeeringDelete.Call(t.Context(), south.Caller(), rpc.Header{}, &api.Named{Name: "north"}); err != nil {
		t.Fatal(err)
	}
	inState(t, south, "north", "")
	imports(t, south, "north", "")
	inState(t, north, "south", catalog.PeeringTerminated)
	imports(t, north, "south", "")

	// It begins anew with another token, and the other side ends it.
	if err := establish(t, south, "north", token(t, north, "south")); err != nil {
		t.Fatal(err)
	}
	imports(t, south, "north", "secret:passing web:critical:passing")
	inState(t, north, "south", catalog.PeeringActive)
	if _, _, err := api.PeeringDelete.Call(t.Context(), north.Caller(), rpc.Header{}, &api.Named{Name: "south"}); err != nil {
		t.Fatal(err)
	}
	inState(t, north, "south", "")
	inState(t, south, "north", catalog.PeeringTerminated)
	imports(t, south, "north", "")
}

// TestPeeringTokens: a token is for one use, as it was made, and for the other cluster.
func TestPeeringTokens(t *testing.T) {
	north, south := peering(t, "north"), peering(t, "south")
	first := token(t, north, "south")
	if state := first.Remote.Datacenter; state != "north" || !strings.HasPrefix(first.ServerName, "server.north.peering.") || len(first.CA) != 1 {
		t.Errorf("token %+v", first)
	}
	refused := func(s *server.Server, name string, with catalog.PeeringToken, want string) {
		t.Helper()
		if err := establish(t, s, name, &with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused(north, "me", *first, "was made by this cluster")
	second := token(t, north, "south")
	if second.PeerID != first.PeerID {
		t.Errorf("peerings %s and %s", first.PeerID, second.PeerID)
	}
	refused(south, "north", *first, "later token has replaced it")
	tampered := *second
	tampered.EstablishmentSecret += "x"
	refused(south, "north", tampered, "not that of the last token")
	tampered = *second
	tampered.PeerID = "11111111-2222-3333-4444-555555555555"
	refused(south, "north", tampered, "was deleted: make another token in datacenter north")
	tampered = *second
	tampered.ServerName = "server.elsewhere.peering.x.consul"
	refused(south, "north", tampered, "do not belong together")
	tampered.ServerName = "north"
	refused(south, "north", tampered, "the peering token is damaged")
	tampered = *second
	tampered.CA = token(t, south, "other").CA
	refused(south, "north", tampered, "certificate signed by unknown authority")
	if err := establish(t, south, "north", second); err != nil {
		t.Fatal(err)
	}
	third := peering(t, "third")
	refused(third, "north", *second, "was used before, and can be used once: make another in datacenter north")
	refused(south, "other", *token(t, north, "south"), "a token was made here under the name")
	inState(t, south, "north", catalog.PeeringActive)
	refused(south, "north", *token(t, third, "south"), "is with another cluster")
}

// TestPeeringAtAnyServer: a peer may come to any of the servers, as it does through a gateway. One that does not lead passes on what
// is wanted, and the leader judges who wants it.
func TestPeeringAtAnyServer(t *testing.T) {
	_, nodes := three(t, func(c *server.Config) {
		c.Mesh, c.CAProvider, c.Peering = true, "consul", "127.0.0.1:0"
	})
	first := leader(t, nodes...)
	others := followers(nodes, first)
	to, south := others[0].Server, peering(t, "south")
	made := token(t, to, "south")
	tampered := *made
	tampered.EstablishmentSecret += "x"
	if err := establish(t, south, "north", &tampered); err == nil || !strings.Contains(err.Error(), "not that of the last token") {
		t.Errorf("a token that was changed: %v", err)
	}
	if err := establish(t, south, "north", made); err != nil {
		t.Fatal(err)
	}
	inState(t, to, "south", catalog.PeeringActive)
	inState(t, south, "north", catalog.PeeringActive)
	offer(t, to, "n1", "web", catalog.Passing)
	export(t, to, "south", "web")
	imports(t, south, "north", "web:passing")

	row, _ := state.Peering(south.Store().Read(), nil, "north")
	theirs, _ := state.Peering(to.Store().Read(), nil, "south")
	id := connect.ID{Kind: connect.KindServer, TrustDomain: theirs.TrustDomain(), Datacenter: "south"}
	stream, err := intruder(t, certificate(t, id, time.Time{})).To(to.Meeting()).Open(t.Context(), &rpc.Call{Method: api.PeerStream.Name, Body: &api.PeeringOpen{PeerID: row.PeerID, Stream: row.Secrets.Stream.Reveal()}})
	if err == nil {
		_, err = stream.Read(make([]byte, 1))
		stream.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "not one of a server of the peering's other cluster") {
		t.Errorf("with another certificate: %v", err)
	}

	// Another leader takes over. Then the peering ends, which the other side hears by the way of a server too.
	first.kill()
	leader(t, others...)
	offer(t, to, "n1", "web", catalog.Critical)
	imports(t, south, "north", "web:critical")
	if _, _, err := api.PeeringDelete.Call(t.Context(), south.Caller(), rpc.Header{}, &api.Named{Name: "north"}); err != nil {
		t.Fatal(err)
	}
	inState(t, to, "south", catalog.PeeringTerminated)
}

// intruder is a connection to the port of peers by somebody with a certificate of another cluster, or its own.
func intruder(t *testing.T, as *tls.Certificate) *rpc.Pool {
	pool := rpc.NewPool(rpc.PoolOptions{Protocol: rpc.ProtocolPeer, Bulk: rpc.ProtocolPeer, Decode: server.DecodeError, Dialer: rpc.Dialer{
		TLS: func(string) (*tls.Config, error) {
			return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*as}}, nil
		},
	}})
	t.Cleanup(func() { pool.Close() })
	return pool
}

// certificate makes one that a cluster's CA has not signed, which begins at a time.
func certificate(t *testing.T, id connect.ID, from time.Time) *tls.Certificate {
	t.Helper()
	key, err := connect.GenerateKey(connect.KeySpec{Type: "ec", Bits: 256})
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: time.Now().Add(2 * time.Hour), URIs: []*url.URL{id.URL()}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestPeeringIntruders: who has a secret and no certificate, or asks for something else, learns nothing.
func TestPeeringIntruders(t *testing.T) {
	north, south := peered(t)
	offer(t, north, "n1", "web", catalog.Passing)
	export(t, north, "south", "web")
	imports(t, south, "north", "web:passing")
	row, _ := state.Peering(south.Store().Read(), nil, "north")
	theirs, _ := state.Peering(north.Store().Read(), nil, "south")
	id := connect.ID{Kind: connect.KindServer, TrustDomain: strings.TrimPrefix(theirs.PeerServerName, "server.south.peering."), Datacenter: "south"}
	pool := intruder(t, certificate(t, id, time.Time{}))
	to := pool.To(north.Meeting())
	denied := func(call *rpc.Call, want string) {
		t.Helper()
		stream, err := to.Open(t.Context(), call)
		if err == nil {
			_, err = stream.Read(make([]byte, 1))
			stream.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", call.Method, err, want)
		}
	}
	secret := row.Secrets.Stream.Reveal()
	denied(&rpc.Call{Method: api.PeerStream.Name, Body: &api.PeeringOpen{PeerID: row.PeerID, Stream: secret}}, "not one of a server of the peering's other cluster")
	denied(&rpc.Call{Method: api.PeerStream.Name, Body: &api.PeeringOpen{PeerID: row.PeerID, Stream: "guess"}}, "is not that of the peering")
	denied(&rpc.Call{Method: api.PeerStream.Name, Body: &api.PeeringOpen{PeerID: "none", Stream: secret}}, "was deleted")
	denied(&rpc.Call{Method: api.KVRead.Name, Body: &api.KVQuery{Key: "k"}}, "this port does not answer")
	for _, m := range []string{api.KVRead.Name, api.PeeringStore.Name, api.HealthService.Name, api.ConnectSign.Name} {
		if _, err := to.Call(t.Context(), &rpc.Call{Method: m, Body: &api.Nothing{}}); err == nil || !strings.Contains(err.Error(), "this port does not answer") {
			t.Errorf("%s: %v", m, err)
		}
	}
	if _, _, err := api.PeerExchange.Call(t.Context(), to, rpc.Header{}, &api.PeeringExchange{PeerID: strings.Repeat("x", 1<<20)}); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Errorf("a large request: %v", err)
	}
	if p, _ := state.Peering(north.Store().Read(), nil, "south"); p.State != catalog.PeeringActive {
		t.Errorf("the peering is %s", p.State)
	}
	// The secret is only hashed where the token was made.
	if s := theirs.Secrets; s.Accepted != catalog.HashPeeringSecret(secret) || s.Establishment != "" || s.Stream != (catalog.Secret{}) {
		t.Errorf("kept %+v", s)
	}
}

// TestPeeringClocks: where the clocks of two clusters differ by so much that a certificate does not count yet, both say so, and which
// clocks to set, and the token is as good as before.
func TestPeeringClocks(t *testing.T) {
	north := peering(t, "north")
	made := token(t, north, "south")
	id := connect.ID{Kind: connect.KindServer, TrustDomain: "11111111-2222-3333-4444-555555555555.consul", Datacenter: "south"}
	early := certificate(t, id, time.Now().Add(time.Hour))
	root := connect.EncodeCertificate(early.Certificate[0])
	clocks := func(err error, who string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), who) || !strings.Contains(err.Error(), "the certificate of "+id.String()+" begins on ") ||
			!strings.Contains(err.Error(), "of the machine that checks it or of the servers that signed it") {
			t.Errorf("%v, want %q", err, who)
		}
	}
	_, _, err := api.PeerExchange.Call(t.Context(), intruder(t, early).To(north.Meeting()), rpc.Header{}, &api.PeeringExchange{
		PeerID: made.PeerID, Establishment: made.EstablishmentSecret, Stream: rand.Text(), ServerName: catalog.PeerServerName(id.Datacenter, id.TrustDomain), Roots: []string{root},
	})
	clocks(err, "x509: certificate has expired or is not yet valid")

	port, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*early}, NextProtos: []string{string(rpc.ProtocolPeer)}})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	go func() { // ends with port
		for conn, err := port.Accept(); err == nil; conn, err = port.Accept() {
			_ = conn.(*tls.Conn).Handshake() // the other side says what is wrong
			conn.Close()
		}
	}()
	clocks(establish(t, north, "late", &catalog.PeeringToken{
		PeerID: "99999999-2222-3333-4444-555555555555", CA: []string{root}, ServerName: catalog.PeerServerName(id.Datacenter, id.TrustDomain),
		ManualServerAddresses: []string{port.Addr().String()}, EstablishmentSecret: rand.Text(),
	}), "the servers of datacenter south cannot prove who they are at this time; the token can still be used then")

	south := peering(t, "south")
	if err := establish(t, south, "north", made); err != nil {
		t.Error(err)
	}
}

// TestPeeringLeftOver: a leader that ended while it used a token has left a peering that is being established. It is healed by another
// token, and can be deleted.
func TestPeeringLeftOver(t *testing.T) {
	north, south := peering(t, "north"), peering(t, "south")
	leave := func(name, id string) {
		t.Helper()
		row := catalog.Peering{ID: id, Name: name, State: catalog.PeeringEstablishing, Exchange: &catalog.PeerServers{ServerName: token(t, north, "south").ServerName, Addresses: []string{"127.0.0.1:1"}}}
		if done, _, err := api.PeeringStore.Call(t.Context(), south.Caller(), rpc.Header{}, &api.PeeringPut{Peering: row}); err != nil || !*done {
			t.Fatal(done, err)
		}
	}
	leave("north", "11111111-2222-3333-4444-555555555555")
	if err := establish(t, south, "north", token(t, north, "south")); err != nil {
		t.Fatal(err)
	}
	inState(t, south, "north", catalog.PeeringActive)
	inState(t, north, "south", catalog.PeeringActive)
	if row, _ := state.Peering(south.Store().Read(), nil, "north"); row.Exchange != nil {
		t.Errorf("gateways go on to lead to %v", row.Exchange)
	}
	leave("other", "21111111-2222-3333-4444-555555555555")
	if _, _, err := api.PeeringDelete.Call(t.Context(), south.Caller(), rpc.Header{}, &api.Named{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	inState(t, south, "other", "")
}
