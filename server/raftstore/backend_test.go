package raftstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/boltstore"
	"github.com/curia-mesh/curia/server/raftstore"
	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

var errKilled = errors.New("killed")

func backends() (wal, bolt raftstore.Backend) {
	wal = raftstore.Backend{Name: "wal", Open: func(dir string) (raftstore.Log, error) {
		return raftstore.Open(dir, raftstore.Options{SegmentSize: 64 << 10})
	}}
	bolt = raftstore.Backend{Name: "boltdb", Open: func(dir string) (raftstore.Log, error) {
		return boltstore.Open(dir, boltstore.Options{})
	}}
	return wal, bolt
}

// past makes a compacted log with votes, more than one write of the copy.
func past(t *testing.T, dir string, b raftstore.Backend) storetest.Model {
	t.Helper()
	l, err := raftstore.OpenBackend(dir, b)
	if err != nil {
		t.Fatal(err)
	}
	var logs []*raft.Log
	for i := uint64(7); i < 100; i++ {
		logs = append(logs, storetest.Entry(i, i/10, int(i)*8))
	}
	logs[80].Data = bytes.Repeat([]byte("large"), 20<<10)
	err = errors.Join(l.StoreLogs(logs), l.DeleteRange(7, 20), l.Set([]byte("a"), []byte("vote")), l.Set([]byte("b"), nil), l.Close())
	if err != nil {
		t.Fatal(err)
	}
	return storetest.NewModel().Append(logs).Delete(7, 20).Set("a", "vote").Set("b", "")
}

// check opens want's store, compares it, and closes it.
func check(t *testing.T, dir string, m storetest.Model, want, other raftstore.Backend) {
	t.Helper()
	l, err := raftstore.OpenBackend(dir, want, other)
	if err != nil {
		t.Fatal(err)
	}
	n, err := raftstore.Verify(t.Context(), l)
	if n != uint64(len(m.Logs)) {
		t.Errorf("verified %d entries of %d", n, len(m.Logs))
	}
	if err := errors.Join(err, m.Differs(l), l.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestMigrate goes from either backend to the other and back, with a kill at
// every step: the same data is found, whichever backend is wanted next.
func TestMigrate(t *testing.T) {
	wal, bolt := backends()
	for _, pair := range [][2]raftstore.Backend{{wal, bolt}, {bolt, wal}} {
		from, to := pair[0], pair[1]
		for next := range 2 {
			for n, done := 0, false; !done; n++ {
				dir := t.TempDir()
				m := past(t, dir, from)
				left := n
				l, err := raftstore.OpenBackendSteps(dir, func() error {
					if left--; left < 0 {
						return errKilled
					}
					return nil
				}, to, from)
				if done = err == nil; done {
					err = l.Close()
				} else if errors.Is(err, errKilled) {
					err = nil
				}
				if err != nil {
					t.Fatal(err)
				}
				check(t, dir, m, pair[next], pair[1-next])
				check(t, dir, m, pair[1-next], pair[next])
				if done && n < 9 {
					t.Errorf("a migration from %s to %s has only %d steps", from.Name, to.Name, n)
				}
			}
		}
	}
}

// TestMigrateKeepsTheOld: what a migration left behind stays, and only the
// newest; nothing else does.
func TestMigrateKeepsTheOld(t *testing.T) {
	dir := t.TempDir()
	wal, bolt := backends()
	m := past(t, dir, wal)
	if err := os.MkdirAll(filepath.Join(dir, "wal.tmp", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	check(t, dir, m, bolt, wal)
	check(t, dir, m, wal, bolt)
	check(t, dir, m, bolt, wal)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		names[i] = filepath.Base(name)
	}
	if got := strings.Join(names, " "); got != "LOCK boltdb boltdb.bak wal.bak" {
		t.Errorf("found %s", got)
	}
	if _, err := raftstore.OpenBackend(dir, raftstore.Backend{Name: "wal.bak", Open: wal.Open}); err != nil {
		t.Error("the old store:", err)
	}
}

// TestMigrateRefused: a log that is in use, or damaged, is left alone.
func TestMigrateRefused(t *testing.T) {
	dir := t.TempDir()
	wal, bolt := backends()
	m := past(t, dir, wal)
	held, err := raftstore.OpenBackend(dir, wal, bolt)
	if err != nil {
		t.Fatal(err)
	}
	_, err = raftstore.OpenBackend(dir, bolt, wal)
	if !errors.Is(err, raftstore.ErrLocked) || !strings.Contains(err.Error(), "from wal to boltdb") {
		t.Error(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "wal-*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	whole, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(whole)
	bad[100] ^= 1
	if err := os.WriteFile(segments[0], bad, 0); err != nil {
		t.Fatal(err)
	}
	_, err = raftstore.OpenBackend(dir, bolt, wal)
	if damage := (*raftstore.CorruptError)(nil); !errors.As(err, &damage) {
		t.Error(err)
	}
	if err := os.WriteFile(segments[0], whole, 0); err != nil {
		t.Fatal(err)
	}
	check(t, dir, m, bolt, wal)
}
