package client

import (
	"context"
	"net/http"
	"time"
)

// JoinToken lets agents join a secured cluster.
type JoinToken struct {
	ID      string
	Role    string // server or client
	Uses    int    // that are left
	Expires time.Time
	// Text is what is handed over, in the answer to CreateJoinToken only.
	Text string
}

// CreateJoinToken makes a token with which so many agents may join.
func (o Operator) CreateJoinToken(ctx context.Context, role string, uses int, ttl time.Duration) (*JoinToken, error) {
	var made JoinToken
	body := struct {
		Role string
		Uses int
		TTL  string
	}{role, uses, ttl.String()}
	_, err := o.c.Do(ctx, http.MethodPut, "/v1/operator/join-token", Query{}, body, &made)
	return &made, err
}

// JoinTokens lists the tokens that still let somebody in, or would if they had not expired.
func (o Operator) JoinTokens(ctx context.Context) ([]*JoinToken, error) {
	var all []*JoinToken
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/join-token", Query{}, nil, &all)
	return all, err
}

// RevokeJoinToken makes a token useless.
func (o Operator) RevokeJoinToken(ctx context.Context, id string) error {
	_, err := o.c.Do(ctx, http.MethodDelete, "/v1/operator/join-token", Query{}.With("id", id), nil, nil)
	return err
}
