package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/curia-mesh/curia/rpc/durable"
)

// snapshotFile in the proxy's directory is the last snapshot, with its keys: nobody but its owner may read it.
const snapshotFile = "snapshot.json"

// save writes the text of a snapshot, whole or not at all.
func save(dir string, text []byte) error {
	return durable.Write(filepath.Join(dir, snapshotFile), text, 0o600)
}

// Load reads the last snapshot, nil when there is none.
func Load(dir string) (*Snapshot, error) {
	text, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(text)
}

// decode reads a snapshot, and refuses one that lacks what everything else relies on.
func decode(text []byte) (*Snapshot, error) {
	s := &Snapshot{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("the proxy's snapshot: %w", err)
	}
	for i, side := range s.Sidecars {
		if err := side.check(i); err != nil {
			return nil, err
		}
	}
	return s, s.check()
}

// check refuses a snapshot that lacks what everything else relies on, but for its sidecars.
func (s *Snapshot) check() error {
	if s.Roots == nil || slices.Contains(s.Roots.Roots, nil) {
		return errors.New("the proxy's snapshot has no roots")
	}
	for i, g := range s.Gateways {
		if g == nil || g.Service == nil {
			return fmt.Errorf("the proxy's snapshot: gateway %d has no registration", i)
		}
		g.Service.Normalize()
		for key, p := range g.Services {
			if p == nil {
				return fmt.Errorf("the proxy's snapshot: gateway %q: service %q is empty", g.Service.ID, key)
			}
		}
		for dc, a := range g.Abroad {
			if a == nil {
				return fmt.Errorf("the proxy's snapshot: gateway %q: datacenter %q is empty", g.Service.ID, dc)
			}
		}
		if slices.Contains(g.PeerServers, nil) {
			return fmt.Errorf("the proxy's snapshot: gateway %q: servers of a peer are empty", g.Service.ID)
		}
		for name, p := range g.Peers {
			if p == nil {
				return fmt.Errorf("the proxy's snapshot: gateway %q: the gateways of %q are empty", g.Service.ID, name)
			}
		}
	}
	return nil
}

// check refuses a sidecar that lacks what everything else relies on.
func (s *Sidecar) check(i int) error {
	switch {
	case s == nil || s.Service == nil:
		return fmt.Errorf("the proxy's snapshot: sidecar %d has no registration", i)
	case s.Leaf == nil:
		return fmt.Errorf("the proxy's snapshot: sidecar %q has no certificate", s.Service.ID)
	case slices.Contains(s.Peers, nil):
		return fmt.Errorf("the proxy's snapshot: sidecar %q has a peer that is empty", s.Service.ID)
	case slices.Contains(s.Intentions, nil):
		return fmt.Errorf("the proxy's snapshot: sidecar %q has an intention that is empty", s.Service.ID)
	}
	s.Service.Normalize()
	for key, u := range s.Upstreams {
		if u == nil {
			return fmt.Errorf("the proxy's snapshot: sidecar %q: upstream %s is empty", s.Service.ID, key)
		}
		for id, t := range u.Targets {
			if t == nil || u.Chain != nil && u.Chain.Targets[id] == nil {
				return fmt.Errorf("the proxy's snapshot: sidecar %q: target %q is empty or of no chain", s.Service.ID, id)
			}
		}
		if u.Chain == nil && u.Targets[""] == nil {
			return fmt.Errorf("the proxy's snapshot: sidecar %q: upstream %s has no target", s.Service.ID, key)
		}
	}
	return nil
}
