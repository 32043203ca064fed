package snapstore_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/snapstore"
)

var servers = raft.Configuration{Servers: []raft.Server{{ID: "9e0e0bd1-0000-4000-8000-000000000001", Address: "127.0.0.1:8300"}}}

func open(t *testing.T, dir string, changes ...func(*snapstore.Options)) *snapstore.Store {
	t.Helper()
	opts := snapstore.Options{Keep: 2, Logger: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&opts)
	}
	s, err := snapstore.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// begin makes a snapshot that is not closed yet.
func begin(t *testing.T, s *snapstore.Store, index uint64, content string) raft.SnapshotSink {
	t.Helper()
	sink, err := s.Create(1, index, 3, servers, 7, nil)
	if err == nil {
		_, err = io.Copy(sink, strings.NewReader(content))
	}
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func take(t *testing.T, s *snapstore.Store, index uint64, content string) string {
	t.Helper()
	sink := begin(t, s, index, content)
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	return sink.ID()
}

func ids(t *testing.T, s *snapstore.Store) []snapstore.ID {
	t.Helper()
	found, err := s.IDs()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSnapshotIsReadBackAsItWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshots")
	content := strings.Repeat("state ", 50_000)
	id := take(t, open(t, dir), 12, content)
	s := open(t, dir)
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].ID != id {
		t.Fatalf("listed %v, %v", list, err)
	}
	m, state, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	got, err := io.ReadAll(state)
	if err != nil || string(got) != content {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if m.Index != 12 || m.Term != 3 || m.Size != int64(len(content)) || m.ConfigurationIndex != 7 || len(m.Configuration.Servers) != 1 || m.Configuration.Servers[0] != servers.Servers[0] {
		t.Errorf("meta %+v", m)
	}
}

func TestOnlyTheNewestStay(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for index := range uint64(12) {
		take(t, s, index+1, "x")
	}
	found := ids(t, s)
	if len(found) != 2 || found[0].Index != 12 || found[1].Index != 11 { // by number, not by name
		t.Errorf("left are %v", found)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("left are %v, %v", names, err)
	}
}

func TestUnfinishedSnapshotsAreNoneAndGo(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	cancelled := begin(t, s, 1, "x")
	if err := errors.Join(cancelled.Cancel(), cancelled.Cancel(), cancelled.Close()); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("a cancelled one leaves %v, %v", names, err)
	}
	begin(t, s, 2, "x") // killed here
	if found := ids(t, s); len(found) != 0 {
		t.Errorf("an unfinished one is listed: %v", found)
	}
	open(t, dir)
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("a crash leaves %v, %v", names, err)
	}
}

// RELIABILITY: every flipped bit of either file is found.
func TestBitFlipsAndCutsAreFound(t *testing.T) {
	s := open(t, t.TempDir())
	id := take(t, s, 12, strings.Repeat("state ", 2000))
	dir := s.Path(ids(t, s)[0])
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"meta.json", "state.bin"} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused := func(what string, content []byte) {
			t.Helper()
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, state, err := s.Open(id)
			if damage := (*snapstore.DamagedError)(nil); !errors.As(err, &damage) || damage.File != path || !strings.Contains(err.Error(), path) {
				t.Fatalf("%s: %v", what, err)
			}
			if state != nil {
				t.Fatalf("%s: there is a state beside the error", what)
			}
		}
		for range 500 {
			flipped := bytes.Clone(whole)
			at := rng.IntN(len(whole))
			flipped[at] ^= 1 << rng.IntN(8)
			refused(name+" with a flipped bit", flipped)
		}
		for range 100 {
			refused(name+" cut short", whole[:rng.IntN(len(whole))])
		}
		refused(name+" and more", append(bytes.Clone(whole), '\n'))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Open(id); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s missing: %v", name, err)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(ids(t, s)[0]); err != nil {
			t.Error("whole again:", err)
		}
	}
}

func TestAnotherSnapshotsNameIsDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id := take(t, s, 12, "x")
	if err := os.Rename(filepath.Join(dir, id), filepath.Join(dir, "3-13-5")); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(snapstore.ID{Term: 3, Index: 13, Millis: 5}); err == nil || !strings.Contains(err.Error(), "renamed") {
		t.Error(err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("listed %v, %v", list, err)
	}
}

func TestNewerFormatIsNoDamage(t *testing.T) {
	s := open(t, t.TempDir())
	take(t, s, 12, "x")
	id := ids(t, s)[0]
	path := filepath.Join(s.Path(id), "meta.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, snapstore.Reseal(bytes.Replace(b, []byte(`"Format":1`), []byte(`"Format":2`), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	err = s.Verify(id)
	if damage := (*snapstore.DamagedError)(nil); err == nil || errors.As(err, &damage) || !strings.Contains(err.Error(), "run the version that wrote it") {
		t.Error(err)
	}
}

// A sync that fails after the rename leaves open what a restart finds; one before it does not.
func TestFailedSync(t *testing.T) {
	dir := t.TempDir()
	broken := ""
	var doubt error
	s := open(t, dir, func(o *snapstore.Options) {
		o.Doubt = func(err error) { doubt = err }
		o.SyncDir = func(d string) error {
			if strings.HasSuffix(d, broken) && broken != "" {
				return syscall.EIO
			}
			return nil
		}
	})
	sink := begin(t, s, 1, "x")
	broken = ".tmp"
	if err := sink.Close(); !errors.Is(err, syscall.EIO) || doubt != nil || len(ids(t, s)) != 0 {
		t.Errorf("before the rename: %v, doubt %v", err, doubt)
	}
	sink = begin(t, s, 1, "x")
	broken = dir
	if err := sink.Close(); !errors.Is(err, syscall.EIO) || !errors.Is(doubt, syscall.EIO) {
		t.Errorf("after the rename: %v, doubt %v", err, doubt)
	}
}

func TestOpenNeedsADirectoryThatCanBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshots")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := snapstore.Open(dir, snapstore.Options{}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
}
