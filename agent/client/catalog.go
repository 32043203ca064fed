package client

import (
	"context"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// Catalog is what the servers know of nodes and services.
// Source: https://developer.hashicorp.com/consul/api-docs/catalog
type Catalog struct{ c *Client }

// Catalog returns the calls of the catalog.
func (c *Client) Catalog() Catalog { return Catalog{c} }

// Datacenters returns the names of the datacenters, the nearest first.
func (k Catalog) Datacenters(ctx context.Context) ([]string, error) {
	var names []string
	_, err := k.c.Do(ctx, http.MethodGet, "/v1/catalog/datacenters", Query{}, nil, &names)
	return names, err
}

// Nodes returns the nodes.
func (k Catalog) Nodes(ctx context.Context, q Query) ([]*catalog.Node, Meta, error) {
	var nodes []*catalog.Node
	meta, err := k.c.Do(ctx, http.MethodGet, "/v1/catalog/nodes", q, nil, &nodes)
	return nodes, meta, err
}

// Services returns the tags of every service by the service's name.
func (k Catalog) Services(ctx context.Context, q Query) (map[string][]string, Meta, error) {
	var services map[string][]string
	meta, err := k.c.Do(ctx, http.MethodGet, "/v1/catalog/services", q, nil, &services)
	return services, meta, err
}

// Service returns the instances of a service, those with all of the tags.
func (k Catalog) Service(ctx context.Context, name string, tags []string, q Query) ([]*catalog.CatalogService, Meta, error) {
	for _, tag := range tags {
		q = q.With("tag", tag)
	}
	var instances []*catalog.CatalogService
	meta, err := k.c.Do(ctx, http.MethodGet, Path("catalog", "service", name), q, nil, &instances)
	return instances, meta, err
}

// NodeServices is a node with its services by their ids.
type NodeServices struct {
	Node     *catalog.Node
	Services map[string]*catalog.Service
}

// Node returns a node with its services, nil when there is none.
func (k Catalog) Node(ctx context.Context, node string, q Query) (*NodeServices, Meta, error) {
	var n *NodeServices
	meta, err := k.c.Do(ctx, http.MethodGet, Path("catalog", "node", node), q, nil, &n)
	if n != nil && n.Node == nil {
		n = nil
	}
	return n, meta, err
}

// Health is the catalog seen through its checks.
// Source: https://developer.hashicorp.com/consul/api-docs/health
type Health struct{ c *Client }

// Health returns the calls of health.
func (c *Client) Health() Health { return Health{c} }

// Service returns the instances of a service with their checks; passing leaves only those in order.
func (h Health) Service(ctx context.Context, name string, tags []string, passing bool, q Query) ([]*catalog.Instance, Meta, error) {
	for _, tag := range tags {
		q = q.With("tag", tag)
	}
	if passing {
		q = q.With("passing", "1")
	}
	var instances []*catalog.Instance
	meta, err := h.c.Do(ctx, http.MethodGet, Path("health", "service", name), q, nil, &instances)
	return instances, meta, err
}

// State returns the checks in a state; catalog.Any is all.
func (h Health) State(ctx context.Context, status catalog.Status, q Query) ([]*catalog.Check, Meta, error) {
	var checks []*catalog.Check
	meta, err := h.c.Do(ctx, http.MethodGet, Path("health", "state", string(status)), q, nil, &checks)
	return checks, meta, err
}

// Txn makes operations of which either all take effect or none, then with status 409.
// Source: https://developer.hashicorp.com/consul/api-docs/txn
func (c *Client) Txn(ctx context.Context, q Query, ops ...map[string]any) error {
	_, err := c.Do(ctx, http.MethodPut, "/v1/txn", q, ops, nil)
	return err
}

// Coordinates is where the nodes are in the network.
// Source: https://developer.hashicorp.com/consul/api-docs/coordinate
type Coordinates struct{ c *Client }

// Coordinates returns the calls of coordinates.
func (c *Client) Coordinates() Coordinates { return Coordinates{c} }

// Nodes returns the coordinates of a datacenter's nodes.
func (k Coordinates) Nodes(ctx context.Context, q Query) ([]*catalog.NodeCoordinate, error) {
	var coords []*catalog.NodeCoordinate
	_, err := k.c.Do(ctx, http.MethodGet, "/v1/coordinate/nodes", q, nil, &coords)
	return coords, err
}

// DatacenterMap holds the coordinates of a datacenter's servers in one area.
type DatacenterMap struct {
	Datacenter  string
	AreaID      string
	Coordinates []*catalog.NodeCoordinate
}

// Datacenters returns the coordinates of all servers in the WAN.
func (k Coordinates) Datacenters(ctx context.Context) ([]DatacenterMap, error) {
	var maps []DatacenterMap
	_, err := k.c.Do(ctx, http.MethodGet, "/v1/coordinate/datacenters", Query{}, nil, &maps)
	return maps, err
}
