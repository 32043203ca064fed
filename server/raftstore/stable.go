package raftstore

import "encoding/binary"

// Set stores val under key and returns when it is durable. All keys and values
// together may take 64 KiB.
func (s *Store) Set(key, val []byte) error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.checkValue(key, val); err != nil {
		return err
	}
	if err := s.begin(frameSize(int64(stableOverhead + len(key) + len(val)))); err != nil {
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

// SetUint64 is Set for a number.
func (s *Store) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}
