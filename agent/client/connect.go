package client

import (
	"context"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// Connect is the mesh and its certificate authority.
// Source: https://developer.hashicorp.com/consul/api-docs/connect/ca
type Connect struct{ c *Client }

// Connect returns the calls of the mesh.
func (c *Client) Connect() Connect { return Connect{c} }

// CAConfig returns who signs the mesh's certificates, and how. Secrets are left out.
func (m Connect) CAConfig(ctx context.Context, q Query) (*catalog.CAConfig, error) {
	cfg := &catalog.CAConfig{}
	_, err := m.c.Do(ctx, http.MethodGet, "/v1/connect/ca/configuration", q, nil, cfg)
	return cfg, err
}

// SetCAConfig replaces that. Secrets that are left out stay as they are.
func (m Connect) SetCAConfig(ctx context.Context, cfg *catalog.CAConfig, q Query) error {
	_, err := m.c.Do(ctx, http.MethodPut, "/v1/connect/ca/configuration", q, cfg, nil)
	return err
}
