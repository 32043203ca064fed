package raftstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// maxStable bounds all stable keys and values together: each new segment
// repeats them. raft needs about a hundred bytes.
const maxStable = 64 << 10

// stateSize is the payload size of a state frame.
func stateSize(s state) int64 {
	n := int64(16 + 4)
	for k, v := range s.stable {
		n += stableOverhead + int64(len(k)+len(v))
	}
	return n
}

// Set stores val under key and returns when it is durable. All keys and values
// together may take 64 KiB.
func (s *Store) Set(key, val []byte) error {
	s.w.Lock()
	defer s.w.Unlock()
	size := int64(stableOverhead + len(key) + len(val))
	if stateSize(state{stable: s.stable})+size > maxStable {
		return fmt.Errorf("set %.40q in raft store %s: values exceed %d bytes in all: keep only what raft votes with here", key, s.dir, maxStable)
	}
	if err := s.begin(frameSize(size)); err != nil {
		return err
	}
	s.batch.open()
	s.batch.buf = appendStable(s.batch.buf, string(key), val)
	s.batch.close(kindStable)
	if err := s.flush(0); err != nil {
		return err
	}
	s.mu.Lock()
	s.advance()
	s.stable[string(key)] = append([]byte{}, val...)
	s.kick()
	s.mu.Unlock()
	s.counts.stableSets.Add(1)
	return nil
}

// Get returns the value of key, or ErrNotFound.
func (s *Store) Get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.counts.stableGets.Add(1)
	val, ok := s.stable[string(key)]
	if !ok {
		return nil, ErrNotFound
	}
	return bytes.Clone(val), nil
}

// SetUint64 is Set for a number.
func (s *Store) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 returns the number stored under key, or ErrNotFound.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	val, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(val) != 8 {
		return 0, fmt.Errorf("raft store %s: the value of %.40q has %d bytes, a number has 8", s.dir, key, len(val))
	}
	return binary.BigEndian.Uint64(val), nil
}
