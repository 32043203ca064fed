package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/curia-mesh/curia/server/raftstore"
)

// update runs one transaction that holds entries of the log. The caller holds w.
func (s *Store) update(entries int, change func(*bbolt.Tx) error) error {
	return s.memory.Write(s.path, entries, func() (bytes, syncs int, err error) {
		err = s.guard(func() error {
			tx, err := s.db.Begin(true)
			if err != nil {
				return err
			}
			if err := change(tx); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			if err := tx.Commit(); err != nil {
				return err
			}
			stats := tx.Stats()
			bytes = int(stats.GetPageAlloc()) + s.db.Info().PageSize // and the meta page
			return nil
		})
		return bytes, 2, err // one for the pages, one for the meta page
	})
}

// StoreLog is StoreLogs for one entry.
func (s *Store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries, all or none, and returns when they are durable.
// Their indexes must continue the log; an empty log may start anywhere.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.memory.CheckAppend(logs); err != nil {
		return err
	}
	keys, values := s.encode(logs)
	err := s.update(len(logs), func(tx *bbolt.Tx) error {
		b := tx.Bucket(logsBucket)
		b.FillPercent = 1 // nothing is ever put in between
		for i := range logs {
			if err := b.Put(keys[i], values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.memory.Appended(logs)
	return nil
}

// keepBuffer is the largest buffer kept for the next batch.
const keepBuffer = 1 << 20

// encode returns keys and values that are valid until the next call.
func (s *Store) encode(logs []*raft.Log) (keys, values [][]byte) {
	size := 0
	for _, l := range logs {
		size += keySize + int(raftstore.EntrySize(l)) + crcSize
	}
	if cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	s.buf = slices.Grow(s.buf[:0], size) // no append below moves it
	keys, values = make([][]byte, 0, len(logs)), make([][]byte, 0, len(logs))
	for _, l := range logs {
		at := len(s.buf)
		s.buf = binary.BigEndian.AppendUint64(s.buf, l.Index)
		key := s.buf[at:len(s.buf):len(s.buf)]
		s.buf = seal(raftstore.AppendEntry(s.buf, l), at+keySize, key)
		keys, values = append(keys, key), append(values, s.buf[at+keySize:len(s.buf):len(s.buf)])
	}
	return keys, values
}

const (
	keySize = 8
	crcSize = 4
)

// decode verifies the entry under key and fills l, which then shares value.
func (s *Store) decode(key, value []byte, l *raft.Log) error {
	p, ok := unseal(value, key)
	if !ok {
		return s.damage("the entry at %x fails its checksum", key)
	}
	if !raftstore.DecodeEntry(p, l) || len(key) != keySize || l.Index != binary.BigEndian.Uint64(key) {
		return s.damage("the entry at %x does not decode", key)
	}
	return nil
}

// GetLog reads the entry at index into l, or returns raft.ErrLogNotFound.
func (s *Store) GetLog(index uint64, l *raft.Log) error {
	if err := s.memory.Contains(index); err != nil {
		return err
	}
	key := binary.BigEndian.AppendUint64(nil, index)
	var value []byte
	err := s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			value = slices.Clone(tx.Bucket(logsBucket).Get(key))
			return nil
		})
	})
	if err == nil && value == nil {
		// Deleted in the meantime, or gone though it was never deleted.
		if err = s.memory.Contains(index); err == nil {
			err = s.damage("the entry is missing")
		}
	}
	if err == nil {
		err = s.decode(key, value, l)
	}
	switch {
	case err == nil:
		s.memory.Read(l)
		return nil
	case errors.Is(err, raft.ErrLogNotFound):
		return raft.ErrLogNotFound
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return raftstore.ErrClosed
	}
	return fmt.Errorf("read raft log entry %d: %w", index, err)
}

// DeleteRange deletes the entries from lo to hi, durably. They must reach an
// end of the log: what lies outside it is ignored, a hole is refused. It takes
// a transaction per few thousand entries, from the end of the log that they
// reach; only the whole log goes at once.
func (s *Store) DeleteRange(lo, hi uint64) error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.memory.Usable(); err != nil {
		return err
	}
	old, left, err := s.memory.Remainder(lo, hi)
	if err != nil || left == old {
		return err
	}
	// First out of sight: GetLog may take an entry that it misses for damage.
	s.memory.Cut(left)
	if left.Empty() {
		return s.update(0, func(tx *bbolt.Tx) error {
			if err := tx.DeleteBucket(logsBucket); err != nil {
				return err
			}
			_, err := tx.CreateBucket(logsBucket)
			return err
		})
	}
	for old.First < left.First {
		to := min(old.First+deleteBatch, left.First)
		if err := s.delete(old.First, to); err != nil {
			return err
		}
		old.First = to
	}
	for old.Last > left.Last {
		to := max(old.Last-min(old.Last, deleteBatch), left.Last)
		if err := s.delete(to+1, old.Last+1); err != nil {
			return err
		}
		old.Last = to
	}
	return nil
}

// delete deletes the entries from lo to below hi in one transaction.
func (s *Store) delete(lo, hi uint64) error {
	return s.update(0, func(tx *bbolt.Tx) error {
		b := tx.Bucket(logsBucket)
		for i := lo; i < hi; i++ {
			if err := b.Delete(binary.BigEndian.AppendUint64(nil, i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set stores val under key and returns when it is durable. All keys and values
// together may take 64 KiB.
func (s *Store) Set(key, val []byte) error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.memory.CheckValue(key, val); err != nil {
		return err
	}
	sealed := seal(slices.Clone(val), 0, key)
	err := s.update(0, func(tx *bbolt.Tx) error { return tx.Bucket(stableBucket).Put(key, sealed) })
	if err != nil {
		return err
	}
	s.memory.Stored(key, val)
	return nil
}

// SetUint64 is Set for a number.
func (s *Store) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}
