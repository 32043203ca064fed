package client

import (
	"context"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// Peerings are the connections with other clusters.
// Source: https://developer.hashicorp.com/consul/api-docs/peering
type Peerings struct{ c *Client }

// Peerings returns the calls of peerings.
func (c *Client) Peerings() Peerings { return Peerings{c} }

// PeeringRequest begins a peering.
type PeeringRequest struct {
	PeerName string
	Meta     map[string]string `json:",omitempty"`
	// PeeringToken is that of the other cluster, for Establish only.
	PeeringToken string `json:",omitempty"`
	// ServerExternalAddresses are where the other cluster reaches the servers, for Generate only. The
	// default is the servers' own addresses.
	ServerExternalAddresses []string `json:",omitempty"`
}

// Generate makes a token with which another cluster peers with this one.
func (p Peerings) Generate(ctx context.Context, r *PeeringRequest, q Query) (token string, err error) {
	var made struct{ PeeringToken string }
	_, err = p.c.Do(ctx, http.MethodPost, "/v1/peering/token", q, r, &made)
	return made.PeeringToken, err
}

// Establish peers with the cluster that made the token.
func (p Peerings) Establish(ctx context.Context, r *PeeringRequest, q Query) error {
	_, err := p.c.Do(ctx, http.MethodPost, "/v1/peering/establish", q, r, nil)
	return err
}

// Read returns a peering. It fails with status 404 when there is none.
func (p Peerings) Read(ctx context.Context, name string, q Query) (*catalog.Peering, error) {
	found := &catalog.Peering{}
	_, err := p.c.Do(ctx, http.MethodGet, Path("peering", name), q, nil, found)
	return found, err
}

// List returns all peerings, by name.
func (p Peerings) List(ctx context.Context, q Query) ([]*catalog.Peering, error) {
	var list []*catalog.Peering
	_, err := p.c.Do(ctx, http.MethodGet, "/v1/peerings", q, nil, &list)
	return list, err
}

// Delete ends a peering, if there is one.
func (p Peerings) Delete(ctx context.Context, name string, q Query) error {
	_, err := p.c.Do(ctx, http.MethodDelete, Path("peering", name), q, nil, nil)
	return err
}
