package client

import (
	"context"
	"net/http"
	"time"
)

// Federation is how a datacenter stands to its primary.
type Federation struct {
	Datacenter          string
	Primary, Configured string
	Epoch               uint64
	Copying             bool
	Copies              []struct {
		Kind string
		CopyProgress
	}
	Refusal string
	Loss    FederationLoss
}

// CopyProgress is how far a copy of what another datacenter has has come.
type CopyProgress struct {
	Index                  uint64
	Rows                   int
	LastSuccess, LastError time.Time
	LastErrorMessage       string
	Restarts               int
}

// FederationLoss is what a datacenter has of its own, and its primary lacks, or has in another form.
type FederationLoss struct{ Dropped, Replaced []string }

// Primacy is which datacenter was promoted.
type Primacy struct {
	Datacenter string
	Epoch      uint64
}

// Federation returns how a datacenter stands to its primary.
func (o Operator) Federation(ctx context.Context, q Query) (*Federation, error) {
	out := &Federation{}
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/federation", q, nil, out)
	return out, err
}

// AcceptFederation lets the primary's data take the place of the datacenter's own, and returns what is lost.
func (o Operator) AcceptFederation(ctx context.Context, q Query) (*FederationLoss, error) {
	out := &FederationLoss{}
	_, err := o.c.Do(ctx, http.MethodPut, "/v1/operator/federation/accept", q, nil, out)
	return out, err
}

// Promote makes the datacenter the primary; with force without the one before.
func (o Operator) Promote(ctx context.Context, force bool, q Query) (*Primacy, error) {
	if force {
		q = q.With("force", "")
	}
	out := &Primacy{}
	_, err := o.c.Do(ctx, http.MethodPut, "/v1/operator/federation/promote", q, nil, out)
	return out, err
}
