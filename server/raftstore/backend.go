package raftstore

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/rpc/durable"
)

// Log is an open store of any backend.
type Log interface {
	raft.LogStore
	raft.MonotonicLogStore
	raft.StableStore
	// StableValues returns all stable keys and values.
	StableValues() map[string][]byte
	// Failed is closed when the first write fails; Err then tells why.
	Failed() <-chan struct{}
	Err() error
	// Refuse makes err the answer to every write from now on, as a failed write does.
	Refuse(err error)
	// Size returns the bytes on disk.
	Size() int64
	// Stats returns the figures of this moment without waiting for the disk.
	Stats() Stats
	// Close gives the directory back.
	Close() error
}

// Backend is one way to keep the log.
type Backend struct {
	// Name is that of the backend's directory.
	Name string
	// Open opens the store in a directory, making it if there is none.
	Open func(dir string) (Log, error)
}

const (
	tempSuffix = ".tmp" // a store that is being filled
	oldSuffix  = ".bak" // a store that another one took the place of
)

// OpenBackend opens want's store in the directory of its name below dir. If
// the store of one of the others is there instead, its entries and stable
// values are first copied into a new one, and it stays behind, named .bak.
//
// At any moment a kill leaves one whole store, and the next call, with any of
// the backends wanted, goes on: the copy has a temporary name until it was
// verified, and nothing writes to a store while another is beside it, so two
// that are there hold the same. Where somebody put one there by hand, the wanted
// one counts and the other becomes the .bak.
func OpenBackend(dir string, want Backend, others ...Backend) (Log, error) {
	return (&migration{dir: dir, write: 4 << 20, step: func() error { return nil }}).open(want, others)
}

type migration struct {
	dir   string
	write int64        // about how many bytes are copied at once
	step  func() error // called before each change to the disk; tests fail it
}

func (m *migration) open(want Backend, others []Backend) (Log, error) {
	lock, err := Lock(m.dir, DefaultLockTimeout)
	if err != nil {
		return nil, fmt.Errorf("open raft log in %s: %w", m.dir, err)
	}
	defer lock.Close()
	for _, b := range append([]Backend{want}, others...) {
		if err := os.RemoveAll(m.path(b.Name + tempSuffix)); err != nil {
			return nil, fmt.Errorf("remove an unfinished copy of the raft log: %w", err)
		}
	}
	for _, other := range others {
		if err := m.migrate(other, want); err != nil {
			return nil, fmt.Errorf("turn the raft log in %s from %s to %s: %w", m.dir, other.Name, want.Name, err)
		}
	}
	return want.Open(m.path(want.Name))
}

func (m *migration) path(name string) string { return filepath.Join(m.dir, name) }

// migrate leaves no store of from, if there is one.
func (m *migration) migrate(from, to Backend) error {
	if there, err := exists(m.path(from.Name)); err != nil || !there {
		return err
	}
	// Held to the end, so that no other process uses it.
	old, err := from.Open(m.path(from.Name))
	if err != nil {
		return err
	}
	defer old.Close() // it was only read
	there, err := exists(m.path(to.Name))
	if err == nil && !there {
		err = m.fill(old, to)
	}
	if err != nil {
		return err
	}
	return m.do(
		func() error { return os.RemoveAll(m.path(from.Name + oldSuffix)) },
		func() error { return os.Rename(m.path(from.Name), m.path(from.Name+oldSuffix)) },
		func() error { return durable.SyncDir(m.dir) },
	)
}

// fill makes a store of to that holds what old holds.
func (m *migration) fill(old Log, to Backend) error {
	temp := m.path(to.Name + tempSuffix)
	return m.do(
		func() error { return m.with(to, temp, func(l Log) error { return m.copy(old, l) }) },
		func() error { return m.with(to, temp, func(l Log) error { return same(old, l) }) },
		func() error { return os.Rename(temp, m.path(to.Name)) },
		func() error { return durable.SyncDir(m.dir) },
	)
}

func (m *migration) do(changes ...func() error) error {
	for _, change := range changes {
		if err := m.step(); err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
	}
	return nil
}

func (m *migration) with(b Backend, dir string, f func(Log) error) error {
	l, err := b.Open(dir)
	if err != nil {
		return err
	}
	err = f(l)
	return errors.Join(err, l.Close())
}

func (m *migration) copy(from, to Log) error {
	values := from.StableValues()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := m.do(func() error { return to.Set([]byte(key), values[key]) }); err != nil {
			return err
		}
	}
	b := boundsOf(from)
	var batch []*raft.Log
	size := int64(0)
	for i := b.First; i <= b.Last && !b.Empty(); i++ {
		l := new(raft.Log)
		if err := from.GetLog(i, l); err != nil {
			return err
		}
		batch, size = append(batch, l), size+EntrySize(l)
		if size < m.write && i < b.Last {
			continue
		}
		if err := m.do(func() error { return to.StoreLogs(batch) }); err != nil {
			return err
		}
		batch, size = nil, 0
	}
	return nil
}

// same says whether the copy, which its Open has verified, is complete.
func same(from, to Log) error {
	if boundsOf(from) != boundsOf(to) || !maps.EqualFunc(from.StableValues(), to.StableValues(), slices.Equal) {
		return fmt.Errorf("the copy has entries %v and %d values, of %v and %d",
			boundsOf(to), len(to.StableValues()), boundsOf(from), len(from.StableValues()))
	}
	return nil
}

// boundsOf is for a store that is open, which cannot fail to tell.
func boundsOf(l Log) Bounds {
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	return Bounds{first, last}
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
