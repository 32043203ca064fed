package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// TestSpend: a token is good once, until it ends, and a second time only for who lost the answer to the first.
func TestSpend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Peers{cfg: Config{Datacenter: "north"}}
		fresh := func() *catalog.Peering {
			return &catalog.Peering{Name: "south", State: catalog.PeeringPending, Secrets: &catalog.PeeringSecrets{
				Establishment: catalog.HashPeeringSecret("once"), Expires: time.Now().Add(TokenLife),
			}}
		}
		spend := func(row *catalog.Peering, secret, stream, want string) {
			t.Helper()
			before := *row
			err := p.spend(row, connect.ID{Datacenter: "south"}, &api.PeeringExchange{Establishment: secret, Stream: stream, ServerName: "s", Roots: []string{"r"}})
			switch {
			case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%v, want %q", err, want)
			case want != "" && !row.Same(&before):
				t.Errorf("refused, and changed to %+v", row)
			}
		}
		row := fresh()
		spend(row, "guess", "stream", "is not that of the last token")
		spend(row, "", "stream", "is not that of the last token")
		spend(row, "once", "stream", "")
		spend(row, "once", "stream", "")
		spend(row, "once", "other", "was used before")
		spend(row, "", "stream", "is not that of the last token")
		if row.Remote.Datacenter != "south" || row.PeerServerName != "s" || row.Secrets.Accepted != catalog.HashPeeringSecret("stream") {
			t.Errorf("%+v", row)
		}
		row.State = catalog.PeeringDeleting
		spend(row, "once", "stream", "was deleted")
		row = fresh()
		time.Sleep(TokenLife + time.Second)
		spend(row, "once", "stream", "has expired")
		spend(&catalog.Peering{}, "", "", "is not that of the last token")
	})
}

// TestServerNames: a name says which datacenter and trust domain, and nothing else is one.
func TestServerNames(t *testing.T) {
	id := connect.ID{Kind: connect.KindServer, TrustDomain: "11111111-2222-3333-4444-555555555555.consul", Datacenter: "dc1"}
	if got, err := parseServerName(serverName(id)); err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "server.", "server.dc1.consul", "dc1.peering.x.consul", "server..peering.x.consul", "server.dc1.peering.", "server.DC1.peering.x", "server.dc1.peering.x/y"} {
		if got, err := parseServerName(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

// TestNobodyAnswers: where no server of the other cluster is reached the error names all addresses that were tried, and what came of each.
func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Datacenter: "south", Store: state.New(), Connect: func(ctx context.Context, _, addr string) (net.Conn, error) {
			if addr == "10.0.0.1:8503" {
				return nil, fmt.Errorf("dial %s: connection refused", addr)
			}
			<-ctx.Done() // nothing comes back
			return nil, ctx.Err()
		}})
		to := connect.ID{Kind: connect.KindServer, TrustDomain: "11111111-2222-3333-4444-555555555555.consul", Datacenter: "north"}
		began := time.Now()
		err := p.exchange(t.Context(), &shown{}, to, &catalog.PeeringToken{ServerAddresses: []string{"10.0.0.1:8503", "10.0.0.2:8503"}}, &api.PeeringExchange{})
		for _, want := range []string{"within 10s at 10.0.0.1:8503, 10.0.0.2:8503, which the token names; the token can still be used", "10.0.0.1:8503: connection refused", "dial 10.0.0.2:8503: no connection within 4s"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if errors.As(err, new(*rpc.LinkError)) {
			t.Error("it would be taken for a connection to the own leader, and all of it repeated")
		}
		if took := time.Since(began); took != exchangeTimeout {
			t.Errorf("after %v", took)
		}
	})
}

// TestLeftOver: that the use of a token broke off is told once it would have ended long ago, by name and id, and not of one that nobody
// has used.
func TestLeftOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := state.New(), &strings.Builder{}
		tx := store.Write(1)
		for id, s := range map[string]catalog.PeeringState{"1": catalog.PeeringEstablishing, "2": catalog.PeeringPending} {
			row := &catalog.Peering{ID: id, Name: "p" + id, State: s}
			if s == catalog.PeeringPending {
				row.Secrets = &catalog.PeeringSecrets{Establishment: "x"}
			}
			state.PutPeering(tx, row, 0)
		}
		tx.Commit()
		p := New(Config{Store: store, Log: slog.New(slog.NewTextHandler(log, nil))})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // ends with ctx
			defer close(done)
			p.Lead(ctx)
		}()
		time.Sleep(exchangeTimeout + withdrawTimeout)
		if p.Stream("1").Error != "" {
			t.Error("it is told while the token may be in use")
		}
		time.Sleep(missing)
		if got := p.Stream("1").Error; !strings.Contains(got, "establish the peering again, with another token if that one was used, or delete it") || p.Stream("2").Error != "" {
			t.Errorf("%q and %q", got, p.Stream("2").Error)
		}
		stop()
		<-done
		if text := log.String(); strings.Count(text, "peering=p1 id=1") != 1 {
			t.Error(text)
		}
	})
}
