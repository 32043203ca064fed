package storetest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// OpenStore is a store that can be closed.
type OpenStore interface {
	Store
	io.Closer
}

// Opener opens the store in a directory.
type Opener func(dir string) (OpenStore, error)

func (open Opener) must(t testing.TB, dir string) OpenStore {
	t.Helper()
	s, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Suite runs what a store on a real file system must pass.
func Suite(t *testing.T, open Opener) {
	t.Run("empty", func(t *testing.T) { testEmpty(t, open) })
	t.Run("refused", func(t *testing.T) { testRefused(t, open) })
	t.Run("readers", func(t *testing.T) { testReaders(t, open) })
	t.Run("raft", func(t *testing.T) { testUnderRaft(t, open) })
}

// CheckModes checks that only the owner can read dir and what is in it.
func CheckModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, _ error) error {
		info, err := os.Stat(path)
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// testEmpty holds a store to what hashicorp/raft expects of a new one.
func testEmpty(t *testing.T, open Opener) {
	s := open.must(t, t.TempDir())
	defer s.Close()
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if first != 0 || last != 0 || err1 != nil || err2 != nil || !s.IsMonotonic() {
		t.Error(first, last, err1, err2)
	}
	if err := s.GetLog(1, new(raft.Log)); err != raft.ErrLogNotFound {
		t.Error(err)
	}
	if _, err := s.Get([]byte("a")); err == nil || err.Error() != "not found" {
		t.Error(err)
	}
	if n, err := s.GetUint64([]byte("a")); n != 0 || err == nil || err.Error() != "not found" {
		t.Error(n, err)
	}
	if has, err := raft.HasExistingState(s, s, raft.NewInmemSnapshotStore()); has || err != nil {
		t.Error(has, err)
	}
	if err := errors.Join(s.StoreLogs(nil), s.DeleteRange(1, 10)); err != nil {
		t.Error(err)
	}
}

// testRefused lists calls that must fail without harm.
func testRefused(t *testing.T, open Opener) {
	s := open.must(t, t.TempDir())
	m := NewModel().Append([]*raft.Log{Entry(5, 1, 10), Entry(6, 1, 10), Entry(7, 1, 10)})
	for i := uint64(5); i <= 7; i++ {
		if err := s.StoreLog(Entry(i, 1, 10)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(s.StoreLog(Entry(9, 1, 1)), "index 9 does not follow the last index 7")
	f(s.StoreLog(Entry(7, 1, 1)), "index 7 does not follow the last index 7")
	f(s.StoreLogs([]*raft.Log{Entry(8, 1, 1), Entry(10, 1, 1)}), "index 10 follows 8 in one batch")
	f(s.DeleteRange(6, 6), "would leave a hole in 5 to 7")
	f(s.Set(nil, nil), "a key has 1 to 32768 bytes")
	f(s.Set([]byte("b"), make([]byte, 65<<10)), "exceed 65536 bytes")
	if err := s.Set([]byte("n"), []byte("abc")); err != nil {
		t.Fatal(err)
	}
	_, err := s.GetUint64([]byte("n"))
	f(err, "has 3 bytes")
	if err := m.Differs(s); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	_, err = s.LastIndex()
	f(err, "closed")
	f(s.StoreLog(Entry(8, 1, 1)), "closed")
	f(s.GetLog(5, new(raft.Log)), "closed")
}

// testReaders reads while entries are appended, truncated and
// compacted: an entry is right or not there.
func testReaders(t *testing.T, open Opener) {
	s := open.must(t, t.TempDir())
	defer s.Close()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-done:
					return
				default:
				}
				first, _ := s.FirstIndex()
				var l raft.Log
				err := s.GetLog(first+i%20, &l)
				if err == nil && string(l.Data) != fmt.Sprint("entry ", l.Index) || err != nil && err != raft.ErrLogNotFound {
					t.Error(l, err)
					return
				}
			}
		})
	}
	for i := uint64(1); i <= 600; i++ {
		l := &raft.Log{Index: i, Data: fmt.Append(nil, "entry ", i), Extensions: make([]byte, 200)}
		err := s.StoreLog(l)
		if i%7 == 0 {
			err = errors.Join(err, s.DeleteRange(i, i), s.StoreLog(l), s.SetUint64([]byte("t"), i))
		}
		if i%30 == 0 {
			err = errors.Join(err, s.DeleteRange(1, i-20))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}

// testUnderRaft runs a one-server raft on a store: elect, apply, compact,
// restart, and find everything applied again.
func testUnderRaft(t *testing.T, open Opener) {
	dir, snaps := t.TempDir(), raft.NewInmemSnapshotStore()
	start := func() (*raft.Raft, OpenStore, *applied) {
		s := open.must(t, dir)
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = "one", hclog.NewNullLogger()
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
		c.TrailingLogs = 10
		addr, trans := raft.NewInmemTransport("one")
		if has, err := raft.HasExistingState(s, s, snaps); err != nil {
			t.Fatal(err)
		} else if !has {
			servers := raft.Configuration{Servers: []raft.Server{{ID: "one", Address: addr}}}
			if err := raft.BootstrapCluster(c, s, s, snaps, trans, servers); err != nil {
				t.Fatal(err)
			}
		}
		fsm := &applied{}
		r, err := raft.NewRaft(c, fsm, s, s, snaps, trans)
		if err != nil {
			t.Fatal(err)
		}
		<-r.LeaderCh()
		return r, s, fsm
	}
	stop := func(r *raft.Raft, s OpenStore) {
		t.Helper()
		if err := errors.Join(r.Shutdown().Error(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	r, s, _ := start()
	for i := range 100 {
		if err := r.Apply(fmt.Appendf(nil, "%d,", i), 0).Error(); err != nil {
			t.Fatal(err)
		}
		if i == 60 {
			if err := r.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if first, _ := s.FirstIndex(); first < 40 {
		t.Errorf("compaction left the log beginning at %d", first)
	}
	stop(r, s)
	r, s, fsm := start()
	if err := r.Barrier(0).Error(); err != nil {
		t.Fatal(err)
	}
	want := ""
	for i := range 100 {
		want += fmt.Sprintf("%d,", i)
	}
	if got := fsm.text; got != want {
		t.Errorf("applied %s", got)
	}
	stop(r, s)
}

// applied is an FSM that strings all commands together.
type applied struct{ text string }

func (a *applied) Apply(l *raft.Log) any               { a.text += string(l.Data); return nil }
func (a *applied) Snapshot() (raft.FSMSnapshot, error) { return &applied{a.text}, nil }
func (a *applied) Release()                            {}
func (a *applied) Persist(sink raft.SnapshotSink) error {
	_, err := io.WriteString(sink, a.text)
	return errors.Join(err, sink.Close())
}
func (a *applied) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	a.text = string(b)
	return err
}
