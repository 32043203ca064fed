package client

import (
	"context"
	"io"
	"net/http"
	"time"
)

// snapshotIdle is how long a server may take to begin or go on with a snapshot.
const snapshotIdle = 10 * time.Minute

// Snapshot is the state of the servers in one archive.
// Source: https://developer.hashicorp.com/consul/api-docs/snapshot
type Snapshot struct{ c *Client }

// Snapshot returns the calls of snapshots.
func (c *Client) Snapshot() Snapshot { return Snapshot{c} }

// Save returns an archive of the state; the caller reads and closes it. Meta's Index is the snapshot's.
func (s Snapshot) Save(ctx context.Context, q Query) (io.ReadCloser, Meta, error) {
	return s.c.Open(ctx, Stream{Method: http.MethodGet, Path: "/v1/snapshot", Query: q, Idle: snapshotIdle})
}

// Restore replaces the state by an archive of size bytes, 0 when that is unknown.
func (s Snapshot) Restore(ctx context.Context, archive io.Reader, size int64, q Query) error {
	r, _, err := s.c.Open(ctx, Stream{Method: http.MethodPut, Path: "/v1/snapshot", Query: q, Body: archive, Size: size, Idle: snapshotIdle})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
