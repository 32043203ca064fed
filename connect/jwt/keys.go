package jwt

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/curia-mesh/curia/catalog"
)

const (
	// pauseAsking is how long after a request for keys the next one is made at the earliest: who shows tokens that nobody
	// has signed must not make us ask all the time.
	pauseAsking = 10 * time.Second
	// maxKeys bounds the keys of a set.
	maxKeys = 128
)

// Set is a set of keys (RFC 7517, 5). It is not changed.
type Set struct {
	keys []jose.JSONWebKey
	got  time.Time
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Set) UnmarshalJSON(text []byte) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		return err
	}
	if len(set.Keys) > maxKeys {
		return fmt.Errorf("it has %d keys: at most %d are taken", len(set.Keys), maxKeys)
	}
	s.keys = set.Keys
	return nil
}

// For returns the keys that may have signed a token: those with the id that it names, if it names one.
func (s *Set) For(t *Token) (keys []any) {
	id, alg := t.Headers[0].KeyID, t.Headers[0].Algorithm
	for i := range s.keys {
		k := &s.keys[i]
		if (id == "" || k.KeyID == id) && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || k.Algorithm == alg) && MayVerify(k.Key) {
			keys = append(keys, k.Key)
		}
	}
	return keys
}

// fit is how many of the keys may verify at all.
func (s *Set) fit() (n int) {
	for i := range s.keys {
		if MayVerify(s.keys[i].Key) {
			n++
		}
	}
	return n
}

// Keys are the keys at one place, remembered. It is safe for many goroutines.
type Keys struct {
	ask   func(ctx context.Context) (*Set, error)
	kept  time.Duration
	stale time.Duration
	time  time.Duration
	// written keys are the ones in an entry: others would be another entry's.
	written bool

	set    atomic.Pointer[Set]
	mu     sync.Mutex
	flight *flight // while they are asked for
	asked  time.Time
	err    error // of the last request
}

// flight is a request for keys that many wait for.
type flight struct {
	done chan struct{}
	err  error
}

// NewKeys returns keys that ask gets, in no longer than limit. They are asked for anew when they are older than kept, and
// believed for stale longer while they cannot be had.
func NewKeys(ask func(ctx context.Context) (*Set, error), limit, kept, stale time.Duration) *Keys {
	return &Keys{ask: ask, time: limit, kept: kept, stale: stale}
}

// Get returns the keys. It waits for them, no longer than ctx, when there are none that are still believed, or with anew,
// when they may have changed; but not when they were asked for a moment ago.
func (k *Keys) Get(ctx context.Context, anew bool) (*Set, error) {
	set, now := k.set.Load(), time.Now()
	if set != nil && !anew && now.Sub(set.got) <= k.kept {
		return set, nil
	}
	f, err := k.begin(now)
	set = k.set.Load()
	usable := set != nil && now.Sub(set.got) <= k.kept+k.stale
	if f != nil && (anew || !usable) {
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, catalog.Errorf(catalog.Unavailable, "waiting for the signer's keys: %w", ctx.Err())
		}
		if err = f.err; err == nil {
			return k.set.Load(), nil
		}
	}
	if usable {
		return set, nil
	}
	return nil, catalog.Errorf(catalog.Unavailable, "the signer's keys could not be got: %w", err)
}

// Known are the keys that are at hand, however old; nil when there are none.
func (k *Keys) Known() *Set { return k.set.Load() }

// begin has the keys asked for, unless they are already. It returns nothing to wait for when they were a moment ago, and
// what came of that.
func (k *Keys) begin(now time.Time) (*flight, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return k.flight, nil
	}
	if now.Sub(k.asked) < pauseAsking {
		return nil, k.err
	}
	f := &flight{done: make(chan struct{})}
	k.flight, k.asked = f, now
	go k.fly(f) // ends when its time is over, at the latest
	return f, nil
}

func (k *Keys) fly(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), k.time)
	defer cancel()
	set, err := k.ask(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		set.got = time.Now()
		k.set.Store(set)
	}
	k.err, f.err, k.flight = err, err, nil
	close(f.done)
}
