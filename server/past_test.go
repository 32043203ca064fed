package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server"
	"github.com/curia-mesh/curia/server/raftstore"
)

// snapshotsOf returns the directories of dir's snapshots.
func snapshotsOf(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "*-*-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// halfRestored returns what kill -9 leaves when it comes after a restore's snapshot is written and before
// the log that it replaces is emptied: the log of before, and the snapshots of after.
func halfRestored(t *testing.T, use func(*server.Config)) (dir, snapshot string) {
	t.Helper()
	live, dir := t.TempDir(), filepath.Join(t.TempDir(), "killed")
	s, stop := start(t, live, use)
	put(t, s, "kept", "1")
	saved, _ := save(t, s)
	put(t, s, "kept", "2")
	for i := range 20 {
		put(t, s, fmt.Sprint("k", i), "1")
	}
	stop()
	if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	s, stop = start(t, live, use)
	if err := restore(t, s, saved); err != nil {
		t.Fatal(err)
	}
	stop()
	before := len(snapshotsOf(t, dir))
	if err := os.CopyFS(filepath.Join(dir, "new"), os.DirFS(filepath.Join(live, "raft", "snapshots"))); err != nil {
		t.Fatal(err)
	}
	for _, from := range snapshotsOf(t, live) {
		to := filepath.Join(dir, "raft", "snapshots", filepath.Base(from))
		if _, err := os.Stat(to); err == nil {
			continue
		}
		snapshot = to
		if err := os.Rename(filepath.Join(dir, "new", filepath.Base(from)), to); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "new")); err != nil || len(snapshotsOf(t, dir)) != before+1 {
		t.Fatal(snapshotsOf(t, dir), err)
	}
	return dir, snapshot
}

func TestRestoreKilledBeforeTheLogIsEmptied(t *testing.T) {
	for _, backend := range []string{"wal", "boltdb"} {
		use := func(c *server.Config) { c.LogStore.Backend = backend }
		dir, snapshot := halfRestored(t, use)
		for life := range 3 {
			s, stop := start(t, dir, use)
			if got, _ := get(t, s, "kept"); got != "1" {
				t.Errorf("%s, life %d: kept = %q, want what was restored", backend, life, got)
			}
			if got, _ := get(t, s, "k7"); got != "" {
				t.Errorf("%s, life %d: what the restore replaced is back", backend, life)
			}
			for i := range life {
				if got, _ := get(t, s, fmt.Sprint("life", i)); got != "1" {
					t.Errorf("%s, life %d: a write after the restore is lost", backend, life)
				}
			}
			put(t, s, fmt.Sprint("life", life), "1")
			stop()
		}
		if _, err := os.Stat(snapshot); err != nil {
			t.Error(err)
		}
	}
}

// A restore that nobody was told of, and that a disk has damaged, is not dropped in silence either; the way
// that the error shows leads back to the state before.
func TestHalfRestoredAndDamaged(t *testing.T) {
	dir, snapshot := halfRestored(t, func(*server.Config) {})
	damage(t, filepath.Join(snapshot, "state.bin"))
	got := open(t, config(dir))
	if !strings.Contains(got, filepath.Join(snapshot, "state.bin")) || !strings.Contains(got, "move "+snapshot+" away") {
		t.Fatalf("refused with %q", got)
	}
	if err := os.RemoveAll(snapshot); err != nil {
		t.Fatal(err)
	}
	s, _ := start(t, dir)
	if got, _ := get(t, s, "kept"); got != "2" {
		t.Errorf("kept = %q, want what was before the restore", got)
	}
}

// damage flips a bit in the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Either file of the only snapshot, with the log whole or compacted.
func TestDamagedOnlySnapshot(t *testing.T) {
	hurts := map[string]func(*testing.T, string){
		"damaged": damage,
		"removed": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		},
	}
	for what, hurt := range hurts {
		for _, file := range []string{"meta.json", "state.bin"} {
			for _, trailing := range []uint64{1, 1000} {
				name := fmt.Sprintf("%s %s, %d entries stay behind a snapshot", what, file, trailing)
				dir := t.TempDir()
				s, stop := start(t, dir, func(c *server.Config) { c.Pace.TrailingLogs = trailing })
				for i := range 20 {
					put(t, s, fmt.Sprint("k", i), "1")
				}
				save(t, s)
				put(t, s, "last", "1")
				stop()
				path := filepath.Join(snapshotsOf(t, dir)[0], file)
				hurt(t, path)
				if trailing == 1 {
					got := open(t, config(dir))
					if !strings.Contains(got, path) || !strings.Contains(got, "put back") {
						t.Errorf("%s: refused with %q", name, got)
					}
					continue
				}
				s, stop = start(t, dir)
				for _, key := range []string{"k0", "k19", "last"} {
					if got, _ := get(t, s, key); got != "1" {
						t.Errorf("%s: %s is lost", name, key)
					}
				}
				save(t, s)
				stop()
				start(t, dir)
				if aside, _ := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "*.damaged")); len(aside) != 1 {
					t.Errorf("%s: set aside are %v", name, aside)
				}
			}
		}
	}
}

// A snapshot that somebody removed leaves a hole before the log, at which Raft would panic.
func TestHoleBetweenSnapshotAndLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, dir, func(c *server.Config) { c.Pace.TrailingLogs = 1 })
	for i := range 20 {
		put(t, s, fmt.Sprint("k", i), "1")
	}
	save(t, s)
	stop()
	if err := os.RemoveAll(snapshotsOf(t, dir)[0]); err != nil {
		t.Fatal(err)
	}
	got := open(t, config(dir))
	if !strings.Contains(got, filepath.Join(dir, "raft", "snapshots")) || !strings.Contains(got, "is missing") {
		t.Errorf("refused with %q", got)
	}
}

// What a snapshot says of an entry is committed; a log that has another one there was never.
func TestLogOfAnotherTermIsDropped(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, dir)
	put(t, s, "kept", "1")
	_, index := save(t, s)
	stop()
	log, err := raftstore.Open(filepath.Join(dir, "raft", "log", "wal"), raftstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	last, _ := log.LastIndex()
	if err := log.DeleteRange(index, last); err != nil {
		t.Fatal(err)
	}
	for i := index; i < index+3; i++ {
		if err := log.StoreLog(&raft.Log{Index: i, Term: 1, Type: raft.LogNoop}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	s, stop = start(t, dir)
	if got, _ := get(t, s, "kept"); got != "1" {
		t.Errorf("kept = %q", got)
	}
	put(t, s, "after", "1")
	stop()
	log, err = raftstore.Open(filepath.Join(dir, "raft", "log", "wal"), raftstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if first, _ := log.FirstIndex(); first != index+1 {
		t.Errorf("the log begins with entry %d, want the one behind the snapshot, %d", first, index+1)
	}
}
