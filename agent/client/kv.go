package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// KV is the key/value store.
// Source: https://developer.hashicorp.com/consul/api-docs/kv
type KV struct{ c *Client }

// KV returns the calls of the key/value store.
func (c *Client) KV() KV { return KV{c} }

// KVWrite is on what condition a key is written or deleted.
type KVWrite struct {
	CAS     *uint64 // only at this ModifyIndex; 0 means only if there is none
	Acquire string  // the session that locks the key
	Release string  // the session that unlocks it
}

func (w KVWrite) query(q Query) Query {
	if w.CAS != nil {
		q = q.With("cas", strconv.FormatUint(*w.CAS, 10))
	}
	if w.Acquire != "" {
		q = q.With("acquire", w.Acquire)
	}
	if w.Release != "" {
		q = q.With("release", w.Release)
	}
	return q
}

// Get returns a key, nil when there is none.
func (kv KV) Get(ctx context.Context, key string, q Query) (*catalog.KVPair, Meta, error) {
	var pairs []*catalog.KVPair
	meta, err := kv.read(ctx, key, q, &pairs)
	if err != nil || len(pairs) == 0 {
		return nil, meta, err
	}
	return pairs[0], meta, nil
}

// List returns the keys that begin with prefix, in their order.
func (kv KV) List(ctx context.Context, prefix string, q Query) ([]*catalog.KVPair, Meta, error) {
	var pairs []*catalog.KVPair
	meta, err := kv.read(ctx, prefix, q.With("recurse", ""), &pairs)
	return pairs, meta, err
}

// Keys returns the names of the keys that begin with prefix, those that go on beyond a separator joined
// into one.
func (kv KV) Keys(ctx context.Context, prefix, separator string, q Query) ([]string, Meta, error) {
	q = q.With("keys", "")
	if separator != "" {
		q = q.With("separator", separator)
	}
	var keys []string
	meta, err := kv.read(ctx, prefix, q, &keys)
	return keys, meta, err
}

// read answers with nothing when the agent answers that there is nothing.
func (kv KV) read(ctx context.Context, key string, q Query, out any) (Meta, error) {
	meta, err := kv.c.Do(ctx, http.MethodGet, keyPath(key), q, nil, out)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return e.Meta, nil
	}
	return meta, err
}

// exportIdle is how long an agent may take between two pieces of a long list.
const exportIdle = time.Minute

// Each calls f with every key that begins with prefix, in their order, without holding them all. It ends
// with f's first error.
func (kv KV) Each(ctx context.Context, prefix string, q Query, f func(*catalog.KVPair) error) error {
	r, _, err := kv.c.Open(ctx, Stream{Method: http.MethodGet, Path: keyPath(prefix), Query: q.With("recurse", ""), Idle: exportIdle})
	if IsStatus(err, http.StatusNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	dec := json.NewDecoder(r)
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	for dec.More() {
		pair := &catalog.KVPair{}
		if err := dec.Decode(pair); err != nil {
			return fmt.Errorf("read the keys: %w", err)
		}
		if err := f(pair); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	return nil
}

// Put writes a key and reports whether its conditions held.
func (kv KV) Put(ctx context.Context, pair *catalog.KVPair, w KVWrite, q Query) (bool, error) {
	if pair.Flags != 0 {
		q = q.With("flags", strconv.FormatUint(pair.Flags, 10))
	}
	value := pair.Value
	if value == nil {
		value = []byte{}
	}
	var done bool
	_, err := kv.c.Do(ctx, http.MethodPut, keyPath(pair.Key), w.query(q), value, &done)
	return done, err
}

// Delete removes a key and reports whether its conditions held.
func (kv KV) Delete(ctx context.Context, key string, w KVWrite, q Query) (bool, error) {
	var done bool
	_, err := kv.c.Do(ctx, http.MethodDelete, keyPath(key), w.query(q), nil, &done)
	return done, err
}

// DeleteTree removes every key that begins with prefix.
func (kv KV) DeleteTree(ctx context.Context, prefix string, q Query) error {
	_, err := kv.c.Do(ctx, http.MethodDelete, keyPath(prefix), q.With("recurse", ""), nil, nil)
	return err
}
