package catalog

import (
	"time"
)

// Behavior says what happens to the locks of a session that ends.
type Behavior string

// The behaviours of sessions.
const (
	Release Behavior = "release" // the keys stay, unlocked
	Delete  Behavior = "delete"  // the keys go
)

// Bounds of a session's settings.
// Source: https://developer.hashicorp.com/consul/api-docs/session
const (
	MinSessionTTL    = 10 * time.Second
	MaxSessionTTL    = 24 * time.Hour
	DefaultLockDelay = 15 * time.Second
	MaxLockDelay     = 60 * time.Second
)

// ServiceCheck names a check of a service that a session depends on.
type ServiceCheck struct {
	ID        string
	Namespace string `json:",omitempty"`
}

// Session is the contract between a holder of locks and the catalog: it ends when its node or one of
// its checks fails, or when its TTL passes without a renewal.
type Session struct {
	ID            string
	Name          string
	Node          string
	LockDelay     time.Duration
	Behavior      Behavior
	TTL           string
	NodeChecks    []string
	ServiceChecks []ServiceCheck
	CreateIndex   uint64
	ModifyIndex   uint64
}

// Normalize fills what a client may leave out.
func (s *Session) Normalize() {
	if s.Behavior == "" {
		s.Behavior = Release
	}
}

// Validate checks a normalized session. The shortest TTL is MinSessionTTL when shortest is 0.
func (s *Session) Validate(shortest time.Duration) error {
	if shortest == 0 {
		shortest = MinSessionTTL
	}
	if s.Node == "" {
		return Errorf(Invalid, "session has no node")
	}
	if s.Behavior != Release && s.Behavior != Delete {
		return Errorf(Invalid, "session behavior %q is neither release nor delete", s.Behavior)
	}
	if s.LockDelay < 0 || s.LockDelay > MaxLockDelay {
		return Errorf(Invalid, "session lock delay %s is not between 0s and %s", s.LockDelay, MaxLockDelay)
	}
	if s.TTL == "" {
		return nil
	}
	ttl, err := time.ParseDuration(s.TTL)
	if err != nil {
		return Errorf(Invalid, "session TTL: invalid duration %q: want a number with a unit, such as 30s", s.TTL)
	}
	if ttl != 0 && (ttl < shortest || ttl > MaxSessionTTL) {
		return Errorf(Invalid, "session TTL %s is not between %s and %s", ttl, shortest, MaxSessionTTL)
	}
	return nil
}

// Lifetime is the session's TTL, 0 when it has none.
func (s *Session) Lifetime() time.Duration {
	ttl, _ := time.ParseDuration(s.TTL)
	return ttl
}
