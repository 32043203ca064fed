package frontdoor_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/backup"
	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/agent/testkit"
)

// told sends the messages of a log to a channel.
type told struct {
	slog.Handler
	messages chan string
}

func (h told) Handle(_ context.Context, r slog.Record) error {
	h.messages <- r.Message
	return nil
}

func (h told) Enabled(context.Context, slog.Level) bool { return true }

// await reads messages until one has come.
func (h told) await(t *testing.T, message string) {
	t.Helper()
	for {
		select {
		case got := <-h.messages:
			if got == message {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q is not said", message)
		}
	}
}

func runner(t *testing.T, n *testkit.Node, cfg backup.Config, log *slog.Logger) *backup.Runner {
	t.Helper()
	api, err := client.New(client.Config{Address: n.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	cfg.Prefix, cfg.LockKey = "consul", "consul-snapshot/lock"
	r, err := backup.New(cfg, api, log)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestBackups: each is proven, the newest are kept and nobody else's files are touched, and one that is damaged later is
// told of at the next turn.
func TestBackups(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	n.Put(t, "/v1/kv/a", "first")
	dir := filepath.Join(t.TempDir(), "backups")
	r := runner(t, n, backup.Config{Dir: dir, Retain: 2}, slog.New(slog.DiscardHandler))
	first, err := r.Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(first.Path); err != nil || info.Mode().Perm() != 0o600 || first.Rows == 0 || first.Index == 0 {
		t.Errorf("%+v, %v, %v", first, info, err)
	}
	others := []string{"consul-1.snap.old", "consul-x.snap", "other-1.snap", "consul-01.snap"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.Put(t, "/v1/kv/a", "second")
	second, err := r.Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	third, err := r.Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := append(slices.Clone(others), filepath.Base(second.Path), filepath.Base(third.Path))
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("there are %q, want %q", names, want)
	}
	n.Put(t, "/v1/kv/a", "third")
	archive, err := os.ReadFile(second.Path)
	if err != nil {
		t.Fatal(err)
	}
	n.Put(t, "/v1/snapshot", string(archive))
	if got := n.Get(t, "/v1/kv/a?raw").Body; got != "second" {
		t.Errorf("the second snapshot restored %q", got)
	}
	archive, err = os.ReadFile(third.Path)
	if err != nil {
		t.Fatal(err)
	}
	archive[len(archive)/2] ^= 1
	if err := os.WriteFile(third.Path, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Once(t.Context()); err == nil || !strings.Contains(err.Error(), third.Path) || !strings.Contains(err.Error(), "an older snapshot is damaged") {
		t.Errorf("a damaged snapshot: %v", err)
	}
	if _, err := backup.Verify(third.Path); err == nil {
		t.Error("a damaged snapshot is verified")
	}

	once := t.TempDir()
	out, code := n.Run(t, "snapshot", "agent", "-interval=0", "-local-path", once)
	files, _ := os.ReadDir(once)
	if code != 0 || len(files) != 1 {
		t.Fatalf("exit code %d, %d files\n%s", code, len(files), out)
	}
	if out, code := n.Run(t, "snapshot", "verify", filepath.Join(once, files[0].Name())); code != 0 || !strings.Contains(out, "can be restored") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if out, code := n.Run(t, "snapshot", "verify", third.Path); code != 1 || !strings.Contains(out, "cannot be restored") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestBackupsAreTakenByOne: of two runners one saves, and the other one when the first has gone.
func TestBackupsAreTakenByOne(t *testing.T) {
	n := testkit.NewDev(t, nil)
	n.Start(t)
	const saved = "a snapshot was saved and restored on trial"
	begin := func(service string) (told, string, func()) {
		dir, said := t.TempDir(), told{slog.DiscardHandler, make(chan string, 1000)}
		r := runner(t, n, backup.Config{Dir: dir, Interval: time.Second, Service: service, DeregisterAfter: time.Hour}, slog.New(said))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		return said, dir, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	first, _, end := begin("one")
	first.await(t, saved)
	second, dir, endSecond := begin("two")
	second.await(t, "waiting for the lock")
	first.await(t, saved)
	first.await(t, saved)
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("the second one has saved %v", files)
	}
	if checks := n.Get(t, "/v1/agent/checks").Body; !strings.Contains(checks, "one:saving") || !strings.Contains(checks, "two:alive") || strings.Contains(checks, "two:saving") {
		t.Errorf("checks: %s", checks)
	}
	end()
	second.await(t, saved)
	if checks := n.Get(t, "/v1/agent/checks").Body; strings.Contains(checks, "one:") || !strings.Contains(checks, "two:saving") {
		t.Errorf("checks after the first has gone: %s", checks)
	}
	endSecond()
}

// TestBackupsThatFail: who cannot save lets another one try, and says so in its check.
func TestBackupsThatFail(t *testing.T) {
	n := testkit.NewDev(t, testkit.Settings{"http_config": map[string]any{"block_endpoints": []string{"/v1/snapshot"}}})
	n.Start(t)
	said := told{slog.DiscardHandler, make(chan string, 1000)}
	r := runner(t, n, backup.Config{Dir: t.TempDir(), Interval: time.Second, MaxFailures: 2, Service: "s", DeregisterAfter: time.Hour}, slog.New(said))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	said.await(t, "no snapshot was saved")
	if checks := n.Get(t, "/v1/agent/checks").Body; !strings.Contains(checks, "block_endpoints") {
		t.Errorf("checks: %s", checks)
	}
	said.await(t, "this runner saves no snapshots now: another one may")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
