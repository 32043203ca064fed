package boltstore

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/curia-mesh/curia/server/raftstore"
	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

// image returns a closed store's directory, file, and what it must answer.
func image(t testing.TB, opts Options) (dir string, b []byte, m storetest.Model) {
	t.Helper()
	dir = t.TempDir()
	s := mustOpen(t, dir, opts)
	m = fill(t, s)
	pages := int64(0)
	s.db.View(func(tx *bbolt.Tx) error { pages = tx.Size(); return nil })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return dir, b[:pages], m
}

// TestBitFlips flips single bits of a closed file: what was acknowledged is
// read back right, and after another write too, or Open tells of the damage.
func TestBitFlips(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		opts := small()
		opts.NoFreelistSync = unsynced
		dir, whole, m := image(t, opts)
		path := filepath.Join(dir, fileName)
		rng := rand.New(rand.NewPCG(3, 4))
		found := 0
		for n := range 400 {
			b := append([]byte{}, whole...)
			off, bit := rng.IntN(len(b)), rng.IntN(8)
			if page := os.Getpagesize(); n%2 == 0 { // most of what bbolt itself reads is at the beginning of a page
				off = off/page*page + rng.IntN(160)
			}
			b[off] ^= 1 << bit
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, opts)
			if err != nil {
				if damage := (*raftstore.CorruptError)(nil); !errors.As(err, &damage) && !strings.Contains(err.Error(), "another program") || !strings.Contains(err.Error(), path) {
					t.Fatalf("offset %d bit %d: %v, want a CorruptError naming the file", off, bit, err)
				}
				found++
				continue
			}
			if err := m.Differs(s); err != nil {
				t.Fatalf("offset %d bit %d: opened, but %v", off, bit, err)
			}
			op := storetest.Append(m, []*raft.Log{storetest.Entry(m.Last+1, 99, 5000)})
			if err := op.Call(s); err != nil && !unsynced {
				t.Fatalf("offset %d bit %d: opened, but %v", off, bit, err)
			} else if err == nil {
				if err := op.Done().Differs(s); err != nil {
					t.Fatalf("offset %d bit %d: after a write %v", off, bit, err)
				}
			}
			s.Close()
		}
		if found < 80 {
			t.Errorf("only %d of 400 flips found: the file under test is too empty", found)
		}
	}
}

// TestDamageWhileOpen damages the file under an open store: an error, no panic,
// and from then on no more writes.
func TestDamageWhileOpen(t *testing.T) {
	page := int64(os.Getpagesize())
	damage := map[string]func(f *os.File, size int64) error{
		"zeroed": func(f *os.File, size int64) error {
			_, err := f.WriteAt(make([]byte, size-2*page), 2*page)
			return err
		},
		"cut off": func(f *os.File, size int64) error { return f.Truncate(2 * page) },
		"garbled": func(f *os.File, size int64) error {
			b := make([]byte, size-2*page)
			rand.NewChaCha8([32]byte{1}).Read(b)
			_, err := f.WriteAt(b, 2*page)
			return err
		},
	}
	for name, harm := range damage {
		dir, whole, m := image(t, small())
		s := mustOpen(t, dir, small())
		f, err := os.OpenFile(s.path, os.O_RDWR, 0)
		if err = errors.Join(err, harm(f, int64(len(whole))), f.Close()); err != nil {
			t.Fatal(err)
		}
		found := (*raftstore.CorruptError)(nil)
		if err := s.GetLog(m.First, new(raft.Log)); !errors.As(err, &found) || found.File != s.path {
			t.Errorf("%s: read: %v", name, err)
		}
		if err := s.StoreLog(storetest.Entry(m.Last+1, 1, 1)); !errors.As(err, &found) || s.Err() == nil {
			t.Errorf("%s: write: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

// TestRefused lists files that are not the store's.
func TestRefused(t *testing.T) {
	foreign := func(buckets ...string) func(string) error {
		return func(path string) error {
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				return err
			}
			err = db.Update(func(tx *bbolt.Tx) error {
				for _, name := range buckets {
					if _, err := tx.CreateBucket([]byte(name)); err != nil {
						return err
					}
				}
				return nil
			})
			return errors.Join(err, db.Close())
		}
	}
	content := func(b []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, b, 0o600) }
	}
	_, whole, _ := image(t, small())
	for want, make := range map[string]func(string) error{
		`has a bucket "conf": another program`:       foreign("conf", "logs"),
		`has a bucket "logs.v2": another program or`: foreign("logs.v2"),
		`lacks the bucket`:                           foreign("logs.v1"),
		"meta page 0 is unreadable":                  content([]byte("no bbolt file at all")),
		"meta page 1 is unreadable":                  content(whole[:os.Getpagesize()]),
		"pages of ":                                  content(whole[:len(whole)-1]),
	} {
		dir := t.TempDir()
		if err := make(filepath.Join(dir, fileName)); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, small())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// FuzzOpen overwrites parts of a file: an error, or a log that can be read;
// never a panic, a fault or an endless loop.
func FuzzOpen(f *testing.F) {
	dir, whole, _ := image(f, small())
	page := os.Getpagesize()
	f.Add(uint32(2*page), []byte{3})
	f.Add(uint32(3*page+8), []byte{1})
	f.Add(uint32(page+20), make([]byte, 60))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		b := append([]byte{}, whole...)
		copy(b[int(at)%len(b):], patch)
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, small())
		if err != nil {
			return
		}
		defer s.Close()
		first, _ := s.FirstIndex()
		last, _ := s.LastIndex()
		for i := first; i <= last && i > 0; i++ {
			if err := s.GetLog(i, new(raft.Log)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
