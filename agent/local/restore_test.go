package local

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	c := newServers()
	bubble(t, func(t *testing.T) {
		a := run(t, testConfig(dir), c, func(s *State) {
			if err := s.SetConfig([]*catalog.ServiceDefinition{define("file", ttlCheck("file-up", time.Minute)), define("vanishes")}, nil); err != nil {
				t.Fatal(err)
			}
		})
		def := define("web", ttlCheck("up", time.Minute), ttlCheck("slow", time.Hour), ttlCheck("expired", 10*time.Second))
		def.Token, def.Meta = "secret-token", map[string]string{"a": "b"}
		def.Connect = &catalog.ServiceConnect{SidecarService: &catalog.ServiceDefinition{Port: 4000}}
		a.register(def)
		a.register(define("gone", ttlCheck("gone-up", time.Hour)))
		mem := ttlCheck("mem", time.Hour)
		if err := a.RegisterCheck(t.Context(), mem, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := a.Deregister(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		if err := a.SetServiceMaintenance(t.Context(), "web", true, "upgrade", ""); err != nil {
			t.Fatal(err)
		}
		again := ttlCheck("again", time.Minute)
		if err := a.RegisterCheck(t.Context(), again, Options{}); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"up", "slow", "expired", "file-up", "again"} {
			if err := a.UpdateCheck(id, catalog.Passing, "fine"); err != nil {
				t.Fatal(err)
			}
		}
		a.stop()
		if a.log.has("secret-token") {
			t.Error("the token is in the log")
		}

		pass(30 * time.Second)
		before := c.services["web"]
		file := define("file", ttlCheck("file-up", time.Minute))
		a = run(t, testConfig(dir), c, func(s *State) {
			if err := s.SetConfig([]*catalog.ServiceDefinition{file}, nil); err != nil {
				t.Fatal(err)
			}
		})
		pass(time.Second)
		if got := slices.Sorted(maps.Keys(a.Services())); !slices.Equal(got, []string{"file", "web", "web-sidecar-proxy"}) {
			t.Fatalf("services %v", got)
		}
		if row, _ := a.Service("web"); !row.Same(before) || a.services["web"].token != "secret-token" || !maps.EqualFunc(a.Services(), c.services, (*catalog.Service).Same) {
			t.Errorf("web is %+v, was %+v", row, before)
		}
		want := map[string]catalog.Status{"up": "passing", "slow": "passing", "expired": "critical", "file-up": "passing", "mem": "critical", "_service_maintenance:web": "critical"}
		for id, status := range want {
			if row := c.check(id); row == nil || row.Status != status {
				t.Errorf("check %s is %+v, want it %s", id, row, status)
			}
		}
		if row, _ := a.Check("up"); row.Output != "fine" || row.Type != "ttl" {
			t.Errorf("output of a restored check: %+v", row)
		}
		// The same news as before the restart are news too.
		pass(20 * time.Second)
		if err := a.UpdateCheck("file-up", catalog.Passing, "fine"); err != nil {
			t.Fatal(err)
		}
		if err := a.RegisterCheck(t.Context(), again, Options{}); err != nil {
			t.Fatal(err)
		}
		pass(15 * time.Second) // 66 s after the last news of "up", 36 s after the restart
		up, _ := a.Check("up")
		told, _ := a.Check("file-up")
		registered, _ := a.Check("again")
		if up.Status != catalog.Critical || told.Status != catalog.Passing || registered.Status != catalog.Passing {
			t.Errorf("a minute after the last news: %s, with news: %s, registered again: %s", up.Status, told.Status, registered.Status)
		}
		if err := a.Deregister(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		a.stop()
		a = run(t, testConfig(dir), c, nil)
		if n := len(a.Services()) + len(a.Checks()); n != 2 {
			t.Errorf("the last restart: %v, %v", a.Services(), a.Checks())
		}
	})
}

// A restart of the agent is not one of its services: what was up stays up, and what went down meanwhile is found out soon.
func TestRestartKeepsStates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := testConfig(t.TempDir())
		down := false
		cfg.Checks.Dial = func(context.Context, string, string) (net.Conn, error) {
			if down {
				return nil, syscall.ECONNREFUSED
			}
			c, far := net.Pipe()
			far.Close()
			return c, nil
		}
		tcp := func(id string) *catalog.AgentCheck {
			c := &catalog.AgentCheck{CheckID: id, Name: id}
			c.TCP, c.Interval = "192.0.2.1:80", catalog.Duration(10*time.Second)
			return c
		}
		side := func() *catalog.AgentCheck {
			c := &catalog.AgentCheck{CheckID: "alias", Name: "alias"}
			c.AliasService = "web"
			return c
		}
		file := func(s *State) {
			if err := s.SetConfig([]*catalog.ServiceDefinition{define("file", tcp("file-tcp"))}, nil); err != nil {
				t.Fatal(err)
			}
		}
		c := newServers()
		a := run(t, cfg, c, file)
		a.register(define("web", tcp("web-tcp")))
		a.register(define("side", side()))
		ids := []string{"file-tcp", "web-tcp", "alias"}
		pass(time.Minute)
		states := func(when string, want catalog.Status) {
			t.Helper()
			for _, id := range ids {
				row, _ := a.Check(id)
				if theirs := c.check(id); row == nil || theirs == nil || row.Status != want || theirs.Status != want {
					t.Errorf("%s: %s is %+v, and %+v in the catalog", when, id, row, theirs)
				}
			}
		}
		states("at first", catalog.Passing)
		a.stop()
		said := c.calls()
		a = run(t, cfg, c, file)
		states("at once", catalog.Passing)
		pass(time.Minute)
		states("afterwards", catalog.Passing)
		for _, s := range c.syncs[said:] {
			for _, check := range s.Register.Checks {
				if check.Status != catalog.Passing {
					t.Errorf("the catalog was told %+v", check)
				}
			}
		}
		a.stop()
		down = true
		a = run(t, cfg, c, file)
		pass(2 * time.Second)
		states("gone meanwhile", catalog.Critical)
		a.stop()
		down = false
		a = run(t, cfg, c, file)
		states("still gone", catalog.Critical)
		pass(2 * time.Second)
		states("back meanwhile", catalog.Passing)
	})
}

// What may not run any more is critical, it does not vanish.
func TestRestoredCheckThatMayNotRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := testConfig(t.TempDir())
		cfg.Policy = check.Policy{Scripts: true}
		c := newServers()
		a := run(t, cfg, c, nil)
		script := &catalog.AgentCheck{Name: "script", Status: catalog.Passing}
		script.ScriptArgs, script.Interval = []string{"/bin/true"}, catalog.Duration(time.Hour)
		a.register(define("web", script))
		a.stop()
		cfg.Policy = check.Policy{}
		run(t, cfg, c, nil)
		pass(time.Second)
		if row := c.check("service:web"); row == nil || row.Status != catalog.Critical || !strings.Contains(row.Output, "script checks are off") {
			t.Errorf("check %+v", row)
		}
	})
}

func open(t *testing.T, dir string) (*journal, map[string]json.RawMessage, *lines) {
	t.Helper()
	log := &lines{}
	j, saved, err := openJournal(filepath.Join(dir, "journal"), true, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.close)
	return j, saved, log
}

// put writes saves and returns the file as it is then, without the zeros ahead.
func put(t *testing.T, j *journal, saves ...save) []byte {
	t.Helper()
	f := j.commit(saves)
	j.write()
	if err := f.failure(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	return data[:j.size]
}

// After a crash at any byte of a write the file says what was told before, with or without the last words.
func TestJournalAfterACrash(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	old := put(t, j, save{"a", "1"}, save{"b", "1"})
	whole := put(t, j, save{"a", "2"})
	for n := len(old); n < len(whole); n++ {
		for _, data := range [][]byte{whole[:n], append(slices.Clone(whole[:n]), make([]byte, 100)...)} {
			crashed := t.TempDir()
			if err := os.WriteFile(filepath.Join(crashed, "journal"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(crashed, "journal.tmp"), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
			j, saved, log := open(t, crashed)
			if len(saved) != 2 || string(saved["a"]) != `"1"` || log.has("damaged") || log.has("unfinished") != (n > len(old)) {
				t.Fatalf("cut at %d of %d: %v", n, len(whole), saved)
			}
			if again := put(t, j, save{"a", "3"}); strings.Count(string(again), `"a"`) != 2 {
				t.Fatalf("written on after a crash: %q", again)
			}
		}
	}
}

func TestJournalDamage(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	whole := put(t, j, save{"a", "1"}, save{"b", "1"}, save{"c", "1"})
	damage := func(data []byte) (map[string]json.RawMessage, *lines, []string) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "journal"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, saved, log := open(t, dir)
		aside, _ := filepath.Glob(filepath.Join(dir, "*damaged*"))
		return saved, log, aside
	}
	for i := range whole {
		data := slices.Clone(whole)
		data[i] ^= 0x20
		saved, log, aside := damage(data)
		lost, most, noticed := 3-len(saved), 1, len(aside) == 1 && log.has("journal.damaged")
		if whole[i] == '\n' {
			most = 2 // two lines become one
		}
		if lost < 1 || lost > most || !noticed && i < len(whole)-1 {
			t.Fatalf("byte %d of %d flipped: %v, %v, log %s", i, len(whole), saved, aside, log)
		}
	}
	for _, data := range []string{"garbage", "garbage\n", "\x00\x00garbage\n", strings.Repeat("\xff", 100)} {
		if saved, _, aside := damage([]byte(data)); len(saved) != 0 || len(aside) != 1 {
			t.Errorf("%q: %v, %v", data, saved, aside)
		}
	}
	if saved, _, aside := damage(nil); len(saved)+len(aside) != 0 {
		t.Errorf("an empty file: %v, %v", saved, aside)
	}
	if err := os.Mkdir(filepath.Join(dir, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openJournal(dir, true, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory was opened as a journal")
	}
}

// Records that are whole but make no sense are named and left out.
func TestRestoreNonsense(t *testing.T) {
	dir := t.TempDir()
	bubble(t, func(t *testing.T) {
		run(t, testConfig(dir), newServers(), nil).register(define("good"))
	})
	j, _, _ := open(t, filepath.Join(dir, "services"))
	put(t, j, save{"service/bad", 17}, save{"service/other", map[string]any{"Service": map[string]any{"ID": "x"}}}, save{"service/port", map[string]any{"Service": map[string]any{"ID": "port", "Service": "p", "Port": -1}}},
		save{"service/side", map[string]any{"Parent": "absent", "Service": map[string]any{"ID": "side"}}}, save{"check/lost", map[string]any{"Check": map[string]any{"CheckID": "lost", "TTL": "1h", "ServiceID": "absent"}}}, save{"check/nil", map[string]any{}}, save{"what", 1})
	j.close()
	bubble(t, func(t *testing.T) {
		a := run(t, testConfig(dir), newServers(), nil)
		if n := a.Counts(); n.Services != 1 || n.Checks != 0 {
			t.Errorf("restored %+v", n)
		}
		for _, id := range []string{"service/bad", "other", "port", "absent", "lost", "nil"} {
			if !a.log.has(id) {
				t.Errorf("the log does not name %s: %s", id, a.log)
			}
		}
	})
	if _, saved, _ := open(t, filepath.Join(dir, "services")); len(saved) != 2 || saved["what"] == nil {
		t.Errorf("kept %v, want the good one and that of a kind from the future", saved)
	}
}

func TestJournalIsPrivateAndStaysSmall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "services")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	j, _, log := open(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 || !log.has("closed to them") {
		t.Errorf("directory %v, %v", info.Mode(), err)
	}
	value := strings.Repeat("x", 4000)
	for i := range 3000 {
		put := j.commit([]save{{fmt.Sprint(i % 10), value}})
		j.durable = false // the disk's own speed is not of interest
		j.write()
		if err := put.failure(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(j.path)
	if err != nil || info.Size() > 2*journalRewrite || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %d bytes, %v", info.Mode(), info.Size(), err)
	}
	// A file that cannot be written any more is written anew.
	j.file.Close()
	lost := j.commit([]save{{"lost", "1"}})
	j.write()
	if lost.failure() == nil {
		t.Fatal("writing to a closed file went well")
	}
	put(t, j, save{"found", "1"})
	j.close()
	if _, saved, _ := open(t, dir); len(saved) != 12 || string(saved["lost"]) != `"1"` {
		t.Errorf("%d records", len(saved))
	}
}

func TestRegistrationIsOnDiskWhenItReturns(t *testing.T) {
	cfg := testConfig(t.TempDir())
	a := run(t, cfg, newServers(), nil)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			id := fmt.Sprint("web-", i)
			a.register(define(id))
			data, err := os.ReadFile(a.records.path)
			if saved, _, _ := parseJournal(data); err != nil || saved[serviceKey(id)] == nil {
				t.Errorf("%s is not on disk: %v", id, err)
			}
		})
	}
	all.Wait()
}

func FuzzJournal(f *testing.F) {
	text, _ := appendLine(nil, save{"a", "1"})
	f.Add(text)
	f.Add(append(append([]byte{}, text...), 0, 0, 'x', '\n'))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		saved, _, _ := parseJournal(data)
		var again []byte
		for key, value := range saved {
			var err error
			if again, err = appendLine(again, save{key, value}); err != nil {
				t.Fatal(err)
			}
		}
		if got, damaged, torn := parseJournal(again); damaged > 0 || torn || len(got) != len(saved) {
			t.Errorf("%d records, read again %d, %d damaged, torn %v", len(saved), len(got), damaged, torn)
		}
	})
}
