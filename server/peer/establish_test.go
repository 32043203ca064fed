package peer

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
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
