package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/curia-mesh/curia/rpc/durable"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	holds := func(path, want string, mode os.FileMode) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil || string(text) != want {
			t.Fatalf("%s holds %q, %v; want %q", path, text, err, want)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != mode {
			t.Fatalf("%s: mode %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
	if err := durable.Write(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(path, "one", 0o600)
	if err := durable.Write(path, []byte("two"), 0o644); err != nil {
		t.Fatal(err)
	}
	holds(path, "two", 0o644)

	if err := os.Symlink("a", link); err != nil {
		t.Fatal(err)
	}
	if err := durable.Write(link, []byte("three"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(link, "three", 0o600) // the link's place, not what it led to
	holds(path, "two", 0o644)

	full := errors.New("full")
	err := durable.Create(path, 0o600, func(f *os.File) error {
		f.WriteString("half")
		return full
	})
	if !errors.Is(err, full) {
		t.Fatal(err)
	}
	holds(path, "two", 0o644)
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Fatalf("something was left: %v", list)
	}
	if err := durable.Write(filepath.Join(dir, "none", "a"), nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
