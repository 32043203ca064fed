package client

import (
	"context"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// Session is the contract that locks are held by.
// Source: https://developer.hashicorp.com/consul/api-docs/session
type Session struct{ c *Client }

// Session returns the calls of sessions.
func (c *Client) Session() Session { return Session{c} }

// SessionRequest is a session to make; empty fields take the agent's defaults.
type SessionRequest struct {
	Name      string           `json:",omitempty"`
	Node      string           `json:",omitempty"`
	TTL       string           `json:",omitempty"`
	LockDelay string           `json:",omitempty"`
	Behavior  catalog.Behavior `json:",omitempty"`
}

// Create makes a session and returns its id.
func (s Session) Create(ctx context.Context, r SessionRequest, q Query) (string, error) {
	var made struct{ ID string }
	_, err := s.c.Do(ctx, http.MethodPut, "/v1/session/create", q, r, &made)
	return made.ID, err
}

// Renew keeps a session with a TTL alive. It fails with status 404 when the session has ended.
func (s Session) Renew(ctx context.Context, id string, q Query) error {
	_, err := s.c.Do(ctx, http.MethodPut, Path("session", "renew", id), q, nil, nil)
	return err
}

// Destroy ends a session.
func (s Session) Destroy(ctx context.Context, id string, q Query) error {
	_, err := s.c.Do(ctx, http.MethodPut, Path("session", "destroy", id), q, nil, nil)
	return err
}
