package raftstore

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

// TestFailedWrite fails one write or sync: the store refuses every later write
// with the first error, still reads, and loses nothing acknowledged even if
// the power goes after a restart that found the unsynced data in the cache.
func TestFailedWrite(t *testing.T) {
	for _, broken := range []string{"write", "sync"} {
		d := newDisk()
		s := mustOpen(t, d)
		m, _ := run(s, workload()[:4])
		failures := 0
		d.fail = func(op, name string, _ int) error {
			if op == broken && failures == 0 {
				failures++
				return syscall.EIO
			}
			return nil
		}
		op := storetest.Append(m, []*raft.Log{storetest.Entry(m.Last+1, 9, 100)})
		first := op.Call(s)
		if !errors.Is(first, syscall.EIO) {
			t.Fatalf("%s: got %v", broken, first)
		}
		select {
		case <-s.Failed():
		default:
			t.Error("Failed is not closed")
		}
		later := map[string]error{
			"StoreLogs": op.Call(s), "DeleteRange": s.DeleteRange(m.Last, m.Last),
			"Set": s.Set([]byte("a"), nil), "SetUint64": s.SetUint64([]byte("a"), 1), "Err": s.Err(),
		}
		for name, err := range later {
			if err != first {
				t.Errorf("%s after a failed %s: %v, want the first error", name, broken, err)
			}
		}
		if err := m.Differs(s); err != nil {
			t.Error("reads after the failure:", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		d = d.kill()
		m, err := op.Settle(mustOpen(t, d))
		if err != nil {
			t.Fatal(err)
		}
		// Whatever it answered now is a promise.
		if err := m.Differs(mustOpen(t, d.powerCut(keepNothing))); err != nil {
			t.Errorf("after a failed %s, a restart and a power cut: %v", broken, err)
		}
	}
}

// TestFailedSyncInBackground: a disk that cannot be trusted with the next
// segment is not trusted with this one.
func TestFailedSyncInBackground(t *testing.T) {
	for _, broken := range []string{"sync", "syncdir"} {
		d := newDisk()
		s := mustOpen(t, d)
		d.fail = func(op, name string, _ int) error {
			if op == broken && name != segmentName(1) {
				return syscall.EIO
			}
			return nil
		}
		if err := s.StoreLog(storetest.Entry(1, 1, 1)); err != nil {
			t.Fatal(err)
		}
		s.bg.Wait()
		if err := s.StoreLog(storetest.Entry(2, 1, 1)); !errors.Is(err, syscall.EIO) {
			t.Errorf("after a failed %s: %v", broken, err)
		}
	}
}

// TestDiskFull fills the disk: appends go on while the segment has room, then
// fail for good; after space is freed a restart goes on without hand work.
func TestDiskFull(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, d)
	d.fail = func(op, name string, _ int) error {
		if op == "write" && name == spareName {
			return syscall.ENOSPC
		}
		return nil
	}
	m, stored := storetest.NewModel(), 0
	for ; ; stored++ {
		op := storetest.Append(m, []*raft.Log{storetest.Entry(m.Last+1, 1, 100)})
		err := op.Call(s)
		s.bg.Wait()
		if err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
		m = op.Done()
	}
	if want := testSegment / (frameHeaderSize + entryFixed + 100) * 9 / 10; stored < want {
		t.Errorf("stored %d entries, room was for %d", stored, want)
	}
	if _, ok := d.names[spareName]; ok {
		t.Error("a half-written file keeps space that others need")
	}
	d = d.kill()
	s = mustOpen(t, d)
	if err := m.Differs(s); err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLog(storetest.Entry(m.Last+1, 2, 3000)); err != nil {
		t.Fatal(err)
	}
}

// TestObserver sees what is written, and a watchdog sees a write that hangs.
func TestObserver(t *testing.T) {
	d, told, hanging := newDisk(), 0, time.Duration(0)
	s, err := Open("mem", Options{SegmentSize: testSegment, FS: d, Observer: func(entries, bytes int, took time.Duration) {
		if told += entries; bytes < entries*(frameHeaderSize+entryFixed) || took <= 0 {
			t.Errorf("observed %d entries, %d bytes, %v", entries, bytes, took)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	d.fail = func(op, _ string, _ int) error {
		if op == "sync" {
			hanging = max(hanging, s.Stats().Writing)
		}
		return nil
	}
	m, _ := run(s, workload()[:7])
	if st := s.Stats(); told != int(st.EntriesWritten) || hanging == 0 || st.Writing != 0 || st.LastIndex != m.Last {
		t.Errorf("told of %d entries, hanging %v, stats %+v", told, hanging, st)
	}
}

// TestSpaceStaysBounded writes many times the size of what compaction leaves.
func TestSpaceStaysBounded(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, d)
	for i := uint64(1); i <= 20_000; i++ {
		if err := s.StoreLog(storetest.Entry(i, 1, 100)); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 && i > 100 {
			if err := s.DeleteRange(1, i-100); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.bg.Wait()
	var onDisk int64
	for _, n := range d.names {
		onDisk += int64(len(n.data))
	}
	if size := s.Size(); size != onDisk || size > 9*testSegment {
		t.Errorf("size %d, on disk %d, want the same and at most %d", size, onDisk, 9*testSegment)
	}
	if st := s.Stats(); st.HeadTruncated != 19_900 || st.Appends != 20_000 || st.Syncs > 20_500+st.Rotations {
		t.Errorf("stats %+v", st)
	}
}
