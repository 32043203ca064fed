package enroll_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/enroll"
	"github.com/curia-mesh/curia/rpc/durable"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestKept: what is kept is read as it was written, by its owner alone; what is damaged, of another key, or elsewhere is
// refused by its name and without what it says.
func TestKept(t *testing.T) {
	a := newAuthority(t)
	one, other := a.issue(), a.issue()
	dir := t.TempDir()
	path := filepath.Join(dir, "enrolled.json")
	if got, err := enroll.Read(path); got != nil || err != nil {
		t.Errorf("nothing is %v, %v", got, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(elsewhere, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		if got, err := enroll.Read(path); err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), "precious") {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	refused("a link")
	if err := one.Write(path); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "precious" {
		t.Errorf("the target of a link was written: %q, %v", text, err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	got, err := enroll.Read(path)
	if err != nil || *got != *one {
		t.Fatalf("read %v, %v", got, err)
	}
	pair, err := got.Pair()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		dc, node string
		at       time.Time
		want     bool
	}{{"dc1", "n1", now, true}, {"dc1", "n2", now, false}, {"dc2", "n1", now, false}, {"dc1", "n1", now.Add(100 * time.Hour), false}} {
		if enroll.Serves(pair, c.dc, c.node, c.at) != c.want {
			t.Errorf("%+v", c)
		}
	}
	if err := (&enroll.Kept{Certificate: one.Certificate, Key: other.Key}).Write(path); err != nil {
		t.Fatal(err)
	}
	refused("another key")
	for _, text := range []string{"", "{", `{"Certificate":"x"}`, strings.Repeat("x", 2<<20)} {
		if err := durable.Write(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(text[:min(len(text), 20)])
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}
