package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
)

// Entries is the configuration entries. They travel as JSON, since each kind has its own form.
// Source: https://developer.hashicorp.com/consul/api-docs/config
type Entries struct{ c *Client }

// Entries returns the calls of configuration entries.
func (c *Client) Entries() Entries { return Entries{c} }

// Write stores an entry; with cas only when it is at that ModifyIndex (0: when there is none). It reports
// whether the entry was stored.
func (e Entries) Write(ctx context.Context, entry json.RawMessage, cas *uint64, q Query) (bool, error) {
	if cas != nil {
		q = q.With("cas", strconv.FormatUint(*cas, 10))
	}
	var done bool
	_, err := e.c.Do(ctx, http.MethodPut, "/v1/config", q, entry, &done)
	return done, err
}

// Read returns an entry. It fails with status 404 when there is none.
func (e Entries) Read(ctx context.Context, kind, name string, q Query) (json.RawMessage, error) {
	var raw json.RawMessage
	_, err := e.c.Do(ctx, http.MethodGet, Path("config", kind, name), q, nil, &raw)
	return raw, err
}

// List returns the entries of a kind.
func (e Entries) List(ctx context.Context, kind string, q Query) ([]json.RawMessage, error) {
	var raw []json.RawMessage
	_, err := e.c.Do(ctx, http.MethodGet, Path("config", kind), q, nil, &raw)
	return raw, err
}

// Delete removes an entry; with cas only when it is at that ModifyIndex. It reports whether it did.
func (e Entries) Delete(ctx context.Context, kind, name string, cas *uint64, q Query) (bool, error) {
	path := Path("config", kind, name)
	if cas == nil {
		_, err := e.c.Do(ctx, http.MethodDelete, path, q, nil, nil)
		return err == nil, err
	}
	var done bool
	_, err := e.c.Do(ctx, http.MethodDelete, path, q.With("cas", strconv.FormatUint(*cas, 10)), nil, &done)
	return done, err
}

// ExportedService is a service with those that it is exported to.
type ExportedService struct {
	Service   string
	Consumers struct {
		Peers      []string `json:",omitempty"`
		Partitions []string `json:",omitempty"`
	}
}

// Exported returns the exported services, wildcards resolved.
func (e Entries) Exported(ctx context.Context, q Query) ([]ExportedService, error) {
	var services []ExportedService
	_, err := e.c.Do(ctx, http.MethodGet, "/v1/exported-services", q, nil, &services)
	return services, err
}
