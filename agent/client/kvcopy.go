package client

import (
	"context"
	"net/http"
)

// KVReplication is which keys a datacenter copies from others.
type KVReplication struct {
	Datacenter string
	Copying    bool
	Copies     []struct {
		Entry, Source          string
		Prefixes               []string
		Written, Deleted, Kept int
		CopyProgress
	}
}

// KVReplication returns how far the copies of keys of other datacenters have come.
func (o Operator) KVReplication(ctx context.Context, q Query) (*KVReplication, error) {
	out := &KVReplication{}
	_, err := o.c.Do(ctx, http.MethodGet, "/v1/operator/kv-replication", q, nil, out)
	return out, err
}
