package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
)

// The marks by which clients of all languages tell a lock's key and a semaphore's from other keys.
const (
	lockFlag      = 0x2ddccbc058a50c18
	semaphoreFlag = 0xe0f69a2baa414de0
	lockName      = ".lock"
)

// Times of locks.
const (
	lockTTL     = 15 * time.Second
	lockWait    = 15 * time.Second // of one blocking query for a free place
	lockRetry   = 5 * time.Second  // while a lock delay lasts
	releaseTime = 5 * time.Second
)

var (
	// ErrNotAcquired means that the lock was not free in time.
	ErrNotAcquired = errors.New("lock is held by others")
	// ErrLockLost means that the lock was lost while it was held.
	ErrLockLost = errors.New("lock was lost")
)

// Lock is a lock, or with Limit above 1 a semaphore, in the key/value store below a prefix.
// Source: https://developer.hashicorp.com/consul/docs/dynamic-app-config/sessions
type Lock struct {
	Prefix string
	Limit  int           // how many may hold it at once; 0 means 1
	Name   string        // of the session
	Try    time.Duration // how long to wait for it; 0 means for ever
	// Retries is how often a failed look at a held lock is tried again, RetryWait apart, before it counts
	// as lost. RetryWait of 0 means two seconds.
	Retries   int
	RetryWait time.Duration
}

// Hold waits for the lock, calls f while it is held, and releases it. f's context ends with the cause
// ErrLockLost when the lock is lost. Hold returns f's error, or ErrNotAcquired if f was never called.
func (c *Client) Hold(ctx context.Context, l Lock, f func(context.Context) error) error {
	if l.Prefix = strings.Trim(l.Prefix, "/"); l.Prefix == "" {
		return catalog.Errorf(catalog.Invalid, "lock has no prefix: name the place in the key/value store where it lives")
	}
	if l.RetryWait == 0 {
		l.RetryWait = 2 * time.Second
	}
	session, err := c.Session().Create(ctx, SessionRequest{Name: l.Name, TTL: lockTTL.String()}, Query{})
	if err != nil {
		return fmt.Errorf("create the lock's session: %w", err)
	}
	held := holder{c: c, lock: l, session: session}
	var place place = &mutex{held, l.Prefix + "/" + lockName}
	if l.Limit > 1 {
		place = &semaphore{held, l.Prefix + "/" + session, l.Prefix + "/" + lockName}
	}
	inner, cancel := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() { // ends with inner
		defer close(renewed)
		cancel(held.renew(inner))
	}()
	err = held.hold(inner, place, cancel, f)
	cancel(nil)
	<-renewed
	return held.end(ctx, place, err)
}

// place is what is held: a lock's only one, or one of a semaphore's.
type place interface {
	// take waits for the place until ctx ends.
	take(ctx context.Context) error
	// watch returns when the place is no longer held, an error when it cannot tell.
	watch(ctx context.Context) error
	// give returns the place and removes its keys when nobody uses them.
	give(ctx context.Context) error
}

type holder struct {
	c       *Client
	lock    Lock
	session string
}

func (h *holder) hold(ctx context.Context, p place, cancel context.CancelCauseFunc, f func(context.Context) error) error {
	take := ctx
	if h.lock.Try > 0 {
		var stop context.CancelFunc
		take, stop = context.WithTimeoutCause(ctx, h.lock.Try, ErrNotAcquired)
		defer stop()
	}
	if err := p.take(take); err != nil {
		if context.Cause(take) == ErrNotAcquired {
			return fmt.Errorf("%s: %w (waited %s)", h.lock.Prefix, ErrNotAcquired, h.lock.Try)
		}
		return err
	}
	watched := make(chan struct{})
	inner, stop := context.WithCancel(ctx)
	go func() { // ends with inner
		defer close(watched)
		if h.monitor(inner, p) {
			cancel(ErrLockLost)
		}
	}()
	err := f(ctx)
	stop()
	<-watched
	return err
}

// monitor reports whether the place was lost, as opposed to ctx having ended.
func (h *holder) monitor(ctx context.Context, p place) bool {
	for failures := 0; ; failures++ {
		started := time.Now()
		err := p.watch(ctx)
		if ctx.Err() != nil {
			return false
		}
		if time.Since(started) > h.lock.RetryWait {
			failures = 0
		}
		if err == nil || failures >= h.lock.Retries {
			return true
		}
		if !pause.For(ctx, h.lock.RetryWait) {
			return false
		}
	}
}

// renew keeps the session alive until ctx ends; it returns ErrLockLost when the session may be over.
func (h *holder) renew(ctx context.Context) error {
	alive := time.Now()
	wait := lockTTL / 2
	for pause.For(ctx, wait) {
		tried := time.Now()
		limited, stop := context.WithTimeout(ctx, lockTTL/3)
		err := h.c.Session().Renew(limited, h.session, Query{})
		stop()
		switch {
		case err == nil:
			alive, wait = tried, lockTTL/2
		case IsStatus(err, http.StatusNotFound) || time.Since(alive) > lockTTL:
			return ErrLockLost
		default:
			wait = time.Second
		}
	}
	return nil
}

// end gives the place back and ends the session, even when ctx has ended.
func (h *holder) end(ctx context.Context, p place, err error) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer stop()
	given := p.give(ctx)
	if gone := h.c.Session().Destroy(ctx, h.session, Query{}); given == nil {
		given = gone
	}
	if err == nil && given != nil {
		return fmt.Errorf("release the lock (its session ends by itself within %s): %w", 2*lockTTL, given)
	}
	return err
}

// mutex is a lock on one key.
type mutex struct {
	holder
	key string
}

func (m *mutex) take(ctx context.Context) error {
	q := Query{Wait: lockWait}
	for {
		pair, meta, err := m.c.KV().Get(ctx, m.key, q)
		if err != nil {
			return err
		}
		if pair != nil && pair.Flags != lockFlag {
			return catalog.Errorf(catalog.Conflict, "key %q exists and is no lock: choose another prefix", m.key)
		}
		if pair != nil && pair.Session == m.session {
			return nil
		}
		if pair != nil && pair.Session != "" {
			q.Index = next(meta.Index, q.Index)
			continue
		}
		done, err := m.c.KV().Put(ctx, &catalog.KVPair{Key: m.key, Flags: lockFlag}, KVWrite{Acquire: m.session}, Query{})
		if err != nil || done {
			return err
		}
		// Free and yet not ours: another was quicker, or the lock delay lasts.
		q.Index = 0
		if pair, _, err = m.c.KV().Get(ctx, m.key, q); err == nil && pair != nil && pair.Session != "" {
			continue
		}
		if !pause.For(ctx, lockRetry) {
			return context.Cause(ctx)
		}
	}
}

func (m *mutex) watch(ctx context.Context) error {
	q := Query{Consistent: true}
	for {
		pair, meta, err := m.c.KV().Get(ctx, m.key, q)
		if err != nil {
			return err
		}
		if pair == nil || pair.Session != m.session {
			return nil
		}
		q.Index = next(meta.Index, q.Index)
	}
}

func (m *mutex) give(ctx context.Context) error {
	pair, _, err := m.c.KV().Get(ctx, m.key, Query{})
	if err != nil || pair == nil || pair.Session != m.session {
		return err
	}
	if _, err := m.c.KV().Put(ctx, &catalog.KVPair{Key: m.key, Flags: lockFlag}, KVWrite{Release: m.session}, Query{}); err != nil {
		return err
	}
	pair, _, err = m.c.KV().Get(ctx, m.key, Query{})
	if err != nil || pair == nil || pair.Session != "" {
		return err
	}
	_, err = m.c.KV().Delete(ctx, m.key, KVWrite{CAS: &pair.ModifyIndex}, Query{})
	return err
}

// next is the index of the next blocking query: never 0, which would not block, and from the start again
// when the index went back.
// Source: https://developer.hashicorp.com/consul/api-docs/features/blocking
func next(index, last uint64) uint64 {
	if index < last {
		return 0
	}
	return max(index, 1)
}
