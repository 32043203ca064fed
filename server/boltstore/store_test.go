package boltstore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/server/raftstore"
	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

var _ raftstore.Log = (*Store)(nil)

// small makes files of few pages.
func small() Options { return Options{mapSize: 32 << 10, noSync: true} }

func mustOpen(t testing.TB, dir string, opts Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fill writes a log of several pages with large and small entries, free pages,
// and votes, and returns what it must answer.
func fill(t testing.TB, s *Store) storetest.Model {
	t.Helper()
	m := storetest.NewModel()
	do := func(op storetest.Operation) {
		t.Helper()
		if err := op.Call(s); err != nil {
			t.Fatal(op.Name, err)
		}
		m = op.Done()
	}
	for term := uint64(1); term <= 12; term++ {
		var logs []*raft.Log
		for i := range uint64(20) {
			logs = append(logs, storetest.Entry(max(m.Last, 99)+1+i, term, int(i*i*term%700)))
		}
		if term == 9 {
			logs[3].Data = make([]byte, 9000)
		}
		do(storetest.Append(m, logs))
	}
	do(storetest.Set(m, "a", "first"))
	do(storetest.Set(m, "b", "other"))
	do(storetest.Set(m, "a", "second"))
	do(storetest.Delete(m, m.First, m.First+30))
	do(storetest.Delete(m, m.Last-10, m.Last))
	return m
}

func TestSuite(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		storetest.Suite(t, func(dir string) (storetest.OpenStore, error) {
			opts := small()
			opts.NoFreelistSync = unsynced
			return Open(dir, opts)
		})
	}
}

// onFile is a store on a real file, killed by copying it.
type onFile struct {
	s  *Store
	tt *testing.T
}

func (x *onFile) Store() storetest.Store { return x.s }
func (x *onFile) Quiesce()               {}

func (x *onFile) image(t *rapid.T) []byte {
	b, err := os.ReadFile(x.s.path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reopen opens a store whose file holds image; the options may change.
func (x *onFile) reopen(t *rapid.T, image []byte) {
	x.s.Close()
	dir, err := os.MkdirTemp(x.tt.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if image != nil {
		if err := os.WriteFile(filepath.Join(dir, fileName), image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts := small()
	opts.NoFreelistSync = rapid.Bool().Draw(t, "unsynced")
	if x.s, err = Open(dir, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.s.Close() })
}

func (x *onFile) Restart(t *rapid.T) { x.reopen(t, x.image(t)) }

// Interrupt loses power within op: of its pages any may be on the disk, the
// meta page only if all are.
func (x *onFile) Interrupt(t *rapid.T, op storetest.Operation) bool {
	before := x.image(t)
	err := op.Call(x.s)
	after := x.image(t)
	page := os.Getpagesize()
	if rapid.Bool().Draw(t, "whole") {
		x.reopen(t, after)
		return err == nil
	}
	image := append(slices.Clone(before), make([]byte, max(0, len(after)-len(before)))...)
	seed := rapid.Uint64().Draw(t, "pages")
	for i := 2; (i+1)*page <= len(after); i++ {
		if seed>>(i%64)&1 == 1 {
			copy(image[i*page:], after[i*page:(i+1)*page])
		}
	}
	x.reopen(t, image)
	return false
}

// TestModel compares a store with a plain map under random operations,
// restarts, kills and power cuts.
func TestModel(t *testing.T) {
	storetest.Random(t, func(rt *rapid.T) storetest.Subject {
		x := &onFile{tt: t, s: mustOpen(t, t.TempDir(), small())}
		return x
	})
}

// TestDirectory checks modes, the lock, the remains of a first start that was
// killed, and a restart.
func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "raft")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, tempName), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir, Options{})
	m := fill(t, s)
	opts := small()
	opts.LockTimeout = time.Nanosecond
	_, err := Open(dir, opts)
	if !errors.Is(err, raftstore.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Open: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	storetest.CheckModes(t, dir)
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0, nil) // bbolt's own tools lock the file alone
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, opts); !errors.Is(err, raftstore.ErrLocked) {
		t.Errorf("Open beside bbolt: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Differs(mustOpen(t, dir, Options{})); err != nil {
		t.Error(err)
	}
}

// TestDeleteMany takes more than one transaction from either end.
func TestDeleteMany(t *testing.T) {
	s := mustOpen(t, t.TempDir(), small())
	m := storetest.NewModel()
	var logs []*raft.Log
	for i := uint64(1); i <= 3*deleteBatch; i++ {
		logs = append(logs, storetest.Entry(i, 1, 1))
	}
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	m = m.Append(logs)
	for _, r := range [][2]uint64{{1, deleteBatch + 1}, {2*deleteBatch - 1, 4 * deleteBatch}} {
		if err := s.DeleteRange(r[0], r[1]); err != nil {
			t.Fatal(err)
		}
		m = m.Delete(r[0], r[1])
	}
	if err := m.Differs(s); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.HeadTruncated != deleteBatch+1 || st.TailTruncated != deleteBatch+2 || st.SizeBytes == 0 {
		t.Errorf("%+v", st)
	}
	dir := filepath.Dir(s.path)
	s.Close()
	if err := m.Differs(mustOpen(t, dir, small())); err != nil {
		t.Error(err)
	}
}

// TestFailedWrite makes every write fail: the store refuses all later ones with
// the first error, still reads, and can be opened again.
func TestFailedWrite(t *testing.T) {
	dir, told := t.TempDir(), 0
	m := fill(t, mustOpen(t, dir, small()))
	opts := small()
	opts.noSync = false
	opts.Observer = func(int, int, time.Duration) { told++ }
	opts.openFile = func(path string, _ int, mode os.FileMode) (*os.File, error) { return os.Open(path) }
	for _, write := range []func(*Store) error{
		func(s *Store) error { return s.StoreLog(storetest.Entry(m.Last+1, 50, 9)) },
		func(s *Store) error { return s.SetUint64([]byte("n"), 1) },
		func(s *Store) error { return s.DeleteRange(m.Last, m.Last) },
		func(s *Store) error { return s.DeleteRange(0, m.Last) },
	} {
		copied := t.TempDir()
		image, err := os.ReadFile(filepath.Join(dir, fileName))
		if err = errors.Join(err, os.WriteFile(filepath.Join(copied, fileName), image, 0o600)); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, copied, opts)
		first := write(s)
		if !errors.Is(first, syscall.EBADF) || !strings.Contains(first.Error(), s.path) {
			t.Fatalf("got %v", first)
		}
		select {
		case <-s.Failed():
		default:
			t.Error("Failed is not closed")
		}
		for _, err := range []error{s.StoreLog(storetest.Entry(m.Last+1, 1, 1)), s.Set([]byte("a"), nil), s.DeleteRange(1, m.First), s.Err()} {
			if err != first && !strings.Contains(err.Error(), "does not follow") {
				t.Errorf("after the failure: %v, want the first error", err)
			}
		}
		if err := s.GetLog(m.First+1, new(raft.Log)); err != nil && err != raft.ErrLogNotFound {
			t.Error("read after the failure:", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Differs(mustOpen(t, copied, small())); err != nil {
			t.Error(err)
		}
	}
	if told != 0 {
		t.Errorf("the observer was told of %d failed writes", told)
	}
}
