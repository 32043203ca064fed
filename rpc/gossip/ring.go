package gossip

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
)

// keyOp is what can be asked of a ring.
type keyOp string

const (
	keyList    keyOp = "list"
	keyInstall keyOp = "install"
	keyUse     keyOp = "use"
	keyRemove  keyOp = "remove"
)

var (
	errNoEncryption = errors.New("gossip is not encrypted on this node: set encrypt and restart")
	errMigrating    = errors.New("gossip in the clear is still sent or accepted: " +
		"set encrypt_verify_incoming and encrypt_verify_outgoing before keys are listed or changed")
)

// ring is this node's set of keys. A change is checked, written to the file and only then used, so that neither a bad
// key nor one that a restart would forget is ever in use.
type ring struct {
	path string // of the keyring file, "" for none

	mu   sync.Mutex
	live *memberlist.Keyring // shared with memberlist
}

// newRing returns nil when there are no keys: no encryption.
func newRing(path string, keys []Key) (*ring, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("%d encryption keys, more than %d: remove old ones", len(keys), maxKeys)
	}
	live, err := memberlist.NewKeyring(rawKeys(keys), keys[0].bytes())
	if err != nil {
		return nil, fmt.Errorf("gossip keyring: %w", err)
	}
	return &ring{path: path, live: live}, nil
}

// list returns the keys, the primary first.
func (r *ring) list() []Key {
	raw := r.live.GetKeys()
	keys := make([]Key, len(raw))
	for i, k := range raw {
		keys[i] = Key{raw: string(k)}
	}
	return keys
}

// apply carries out op and returns the keys afterwards.
func (r *ring) apply(op keyOp, k Key) ([]Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.list()
	next, err := changed(now, op, k)
	if err != nil {
		return nil, err
	}
	return next, r.setLocked(now, next)
}

// replace puts keys, the first one primary, in the place of all present ones.
func (r *ring) replace(keys []Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var next []Key
	for _, k := range keys {
		if _, err := keyFromBytes(k.bytes()); err != nil {
			return err
		}
		if !contains(next, k) {
			next = append(next, k)
		}
	}
	if len(next) == 0 || len(next) > maxKeys {
		return fmt.Errorf("%d encryption keys: between 1 and %d are possible", len(next), maxKeys)
	}
	return r.setLocked(r.list(), next)
}

func (r *ring) setLocked(now, next []Key) error {
	if slices.Equal(now, next) {
		return nil
	}
	if r.path != "" {
		if err := saveKeyring(r.path, next); err != nil {
			return err
		}
	}
	for _, k := range next {
		if err := r.live.AddKey(k.bytes()); err != nil {
			return err
		}
	}
	if err := r.live.UseKey(next[0].bytes()); err != nil {
		return err
	}
	// memberlist takes a key out of the slice that it decrypts with; only the last key goes without moving others.
	// The rotation of one key, its usual life, removes the last.
	for _, k := range now {
		if !contains(next, k) {
			if err := r.live.RemoveKey(k.bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

// changed is the ring after op: pure.
func changed(now []Key, op keyOp, k Key) ([]Key, error) {
	if _, err := keyFromBytes(k.bytes()); op != keyList && err != nil {
		return nil, err
	}
	switch op {
	case keyList:
		return now, nil
	case keyInstall:
		if contains(now, k) {
			return now, nil
		}
		if len(now) >= maxKeys {
			return nil, fmt.Errorf("the ring is full with %d keys: remove unused ones first", maxKeys)
		}
		return append(slices.Clone(now), k), nil
	case keyUse:
		if !contains(now, k) {
			return nil, errors.New("the key is not in the ring: install it first")
		}
		return append([]Key{k}, without(now, k)...), nil
	case keyRemove:
		if now[0] == k {
			return nil, errors.New("the key is the primary one: use another first")
		}
		return without(now, k), nil
	}
	return nil, fmt.Errorf("unknown key operation %q", op)
}

func contains(keys []Key, k Key) bool { return slices.Contains(keys, k) }

func without(keys []Key, k Key) []Key {
	return slices.DeleteFunc(slices.Clone(keys), func(x Key) bool { return x == k })
}

func rawKeys(keys []Key) [][]byte {
	raw := make([][]byte, len(keys))
	for i, k := range keys {
		raw[i] = k.bytes()
	}
	return raw
}
