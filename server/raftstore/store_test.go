package raftstore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

func TestSegmentSizeOutOfRange(t *testing.T) {
	_, err := Open(t.TempDir(), Options{SegmentSize: 100})
	if err == nil || !strings.Contains(err.Error(), "segment size 100 is out of range") {
		t.Error(err)
	}
}

// TestDirectory checks modes, the lock, and a restart on a real file system.
func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "raft")
	s, err := Open(dir, Options{SegmentSize: testSegment})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{LockTimeout: time.Nanosecond})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Open: %v", err)
	}
	m, failed := run(s, workload())
	if failed != nil {
		t.Fatal(failed.Name, s.Err())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	storetest.CheckModes(t, dir)
	if s, err = Open(dir, Options{SegmentSize: 2 * testSegment}); err != nil { // the size may change
		t.Fatal(err)
	}
	defer s.Close()
	if err := m.Differs(s); err != nil {
		t.Error(err)
	}
}

func TestSuite(t *testing.T) {
	storetest.Suite(t, func(dir string) (storetest.OpenStore, error) {
		return Open(dir, Options{SegmentSize: testSegment, CacheBytes: -1})
	})
}
