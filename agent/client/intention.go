package client

import (
	"context"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// Intentions says which services may reach which.
// Source: https://developer.hashicorp.com/consul/api-docs/connect/intentions
type Intentions struct{ c *Client }

// Intentions returns the calls of intentions.
func (c *Client) Intentions() Intentions { return Intentions{c} }

const intentionsPath = "/v1/connect/intentions"

func ends(q Query, source, destination string) Query {
	return q.With("source", source).With("destination", destination)
}

// List returns all intentions, the most specific first.
func (i Intentions) List(ctx context.Context, q Query) ([]*catalog.Intention, Meta, error) {
	var list []*catalog.Intention
	meta, err := i.c.Do(ctx, http.MethodGet, intentionsPath, q, nil, &list)
	return list, meta, err
}

// Get returns the intention with exactly these ends. It fails with status 404 when there is none.
func (i Intentions) Get(ctx context.Context, source, destination string, q Query) (*catalog.Intention, error) {
	found := &catalog.Intention{}
	_, err := i.c.Do(ctx, http.MethodGet, intentionsPath+"/exact", ends(q, source, destination), nil, found)
	return found, err
}

// GetID returns the intention with an id. It fails with status 404 when there is none.
func (i Intentions) GetID(ctx context.Context, id string, q Query) (*catalog.Intention, error) {
	found := &catalog.Intention{}
	_, err := i.c.Do(ctx, http.MethodGet, Path("connect", "intentions", id), q, nil, found)
	return found, err
}

// Create makes an intention and returns its id. It fails when one with the same ends exists.
func (i Intentions) Create(ctx context.Context, intention *catalog.Intention, q Query) (string, error) {
	var made struct{ ID string }
	_, err := i.c.Do(ctx, http.MethodPost, intentionsPath, q, intention, &made)
	return made.ID, err
}

// Update changes the intention with the id that intention has.
func (i Intentions) Update(ctx context.Context, intention *catalog.Intention, q Query) error {
	_, err := i.c.Do(ctx, http.MethodPut, Path("connect", "intentions", intention.ID), q, intention, nil)
	return err
}

// Upsert makes the intention with these ends, or replaces it. It has no id.
func (i Intentions) Upsert(ctx context.Context, intention *catalog.Intention, q Query) error {
	_, err := i.c.Do(ctx, http.MethodPut, intentionsPath+"/exact", ends(q, intention.SourceName, intention.DestinationName), intention, nil)
	return err
}

// Delete removes the intention with exactly these ends, if there is one.
func (i Intentions) Delete(ctx context.Context, source, destination string, q Query) error {
	_, err := i.c.Do(ctx, http.MethodDelete, intentionsPath+"/exact", ends(q, source, destination), nil, nil)
	return err
}

// DeleteID removes the intention with an id, if there is one.
func (i Intentions) DeleteID(ctx context.Context, id string, q Query) error {
	_, err := i.c.Do(ctx, http.MethodDelete, Path("connect", "intentions", id), q, nil, nil)
	return err
}

// Match returns the intentions that count for a service, in the order in which they do: by is "source" or
// "destination".
func (i Intentions) Match(ctx context.Context, by, name string, q Query) ([]*catalog.Intention, Meta, error) {
	var found map[string][]*catalog.Intention
	meta, err := i.c.Do(ctx, http.MethodGet, intentionsPath+"/match", q.With("by", by).With("name", name), nil, &found)
	return found[name], meta, err
}

// Check reports whether a service may connect to another.
func (i Intentions) Check(ctx context.Context, source, destination string, q Query) (bool, error) {
	var answer struct{ Allowed bool }
	_, err := i.c.Do(ctx, http.MethodGet, intentionsPath+"/check", ends(q, source, destination), nil, &answer)
	return answer.Allowed, err
}
