package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// semaphore is a place among several: a contender's key that its session locks, and the lock's key that
// names the holders.
type semaphore struct {
	holder
	contender string
	key       string
}

// holders is the value of a semaphore's key, as clients of all languages write it.
type holders struct {
	Limit   int
	Holders map[string]bool
}

func (s *semaphore) take(ctx context.Context) error {
	done, err := s.c.KV().Put(ctx, &catalog.KVPair{Key: s.contender, Flags: semaphoreFlag}, KVWrite{Acquire: s.session}, Query{})
	if err != nil {
		return err
	}
	if !done {
		return catalog.Errorf(catalog.Conflict, "semaphore: key %q is locked by another session", s.contender)
	}
	q := Query{Wait: lockWait}
	for {
		state, index, meta, err := s.state(ctx, q)
		if err != nil {
			return err
		}
		if state.Limit != s.lock.Limit {
			return catalog.Errorf(catalog.Conflict, "semaphore %q is for %d holders, not for %d: use the same -n everywhere", s.lock.Prefix, state.Limit, s.lock.Limit)
		}
		if !state.Holders[s.session] && len(state.Holders) >= state.Limit {
			q.Index = next(meta.Index, q.Index)
			continue
		}
		state.Holders[s.session] = true
		if done, err := s.store(ctx, state, index); err != nil || done {
			return err
		}
		q.Index = 0 // another was quicker
	}
}

// state reads the holders that are alive, and the ModifyIndex of the key that names them.
func (s *semaphore) state(ctx context.Context, q Query) (holders, uint64, Meta, error) {
	state := holders{Limit: s.lock.Limit}
	pairs, meta, err := s.c.KV().List(ctx, s.lock.Prefix+"/", q)
	if err != nil {
		return state, 0, meta, err
	}
	var index uint64
	alive := map[string]bool{}
	for _, p := range pairs {
		if p.Key == s.key {
			if p.Flags != semaphoreFlag {
				return state, 0, meta, catalog.Errorf(catalog.Conflict, "key %q exists and is no semaphore: choose another prefix", s.key)
			}
			if err := json.Unmarshal(p.Value, &state); err != nil {
				return state, 0, meta, fmt.Errorf("key %q holds no semaphore: %w", s.key, err)
			}
			index = p.ModifyIndex
		} else if p.Session != "" && strings.HasSuffix(p.Key, "/"+p.Session) {
			alive[p.Session] = true
		}
	}
	kept := map[string]bool{}
	for session := range state.Holders {
		if alive[session] {
			kept[session] = true
		}
	}
	state.Holders = kept
	return state, index, meta, nil
}

func (s *semaphore) store(ctx context.Context, state holders, index uint64) (bool, error) {
	value, err := json.Marshal(state)
	if err != nil {
		return false, err
	}
	return s.c.KV().Put(ctx, &catalog.KVPair{Key: s.key, Value: value, Flags: semaphoreFlag}, KVWrite{CAS: &index}, Query{})
}

func (s *semaphore) watch(ctx context.Context) error {
	q := Query{Consistent: true}
	for {
		state, _, meta, err := s.state(ctx, q)
		if err != nil {
			return err
		}
		if !state.Holders[s.session] {
			return nil
		}
		q.Index = next(meta.Index, q.Index)
	}
}

func (s *semaphore) give(ctx context.Context) error {
	left := s.leave(ctx)
	if _, err := s.c.KV().Delete(ctx, s.contender, KVWrite{}, Query{}); err != nil {
		return err
	}
	if left != nil {
		return left
	}
	pairs, _, err := s.c.KV().List(ctx, s.lock.Prefix+"/", Query{})
	if err != nil || len(pairs) != 1 || pairs[0].Key != s.key {
		return err
	}
	_, err = s.c.KV().Delete(ctx, s.key, KVWrite{CAS: &pairs[0].ModifyIndex}, Query{})
	return err
}

// leave takes the session out of the holders.
func (s *semaphore) leave(ctx context.Context) error {
	for {
		state, index, _, err := s.state(ctx, Query{})
		if err != nil || !state.Holders[s.session] {
			return err
		}
		delete(state.Holders, s.session)
		if done, err := s.store(ctx, state, index); err != nil || done {
			return err
		}
	}
}
