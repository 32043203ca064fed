//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// planted is a bug that a scenario, or the tests of a package, have to find: what does not fail with it could not find
// such a bug of ours.
type planted struct {
	name     string
	scenario string
	tests    string // in place of a scenario: arguments of go test
	edits    []edit
	adds     map[string]string // files by their paths
}

// by is what has to find the bug.
func (p planted) by() string {
	if p.tests != "" {
		return "go test " + p.tests
	}
	return p.scenario
}

// edit replaces the one place in a file of the product that reads so.
type edit struct{ file, old, new string }

var plants = []planted{
	{"a server answers default reads by itself", "leader-cut", "", []edit{
		{"server/endpoint/registry.go", "h.Consistency == rpc.Stale && r.host.CaughtUp() && r.freshEnough(h)", "h.Consistency != rpc.Consistent && r.host.CaughtUp()"},
		{"server/endpoint/forward.go", "if err != nil || v.kind != query || h.Consistency == rpc.Stale {", "if err != nil || v.kind != query || h.Consistency != rpc.Consistent {"},
	}, nil},
	{"an entry is applied twice", "leader-exit", "", []edit{
		{"server/fsm/fsm.go", "	return f.registry.Apply(tx, entry.Data)", "	f.registry.Apply(tx, entry.Data)\n	return f.registry.Apply(tx, entry.Data)"},
	}, nil},
	{"one server leaves entries out", "leader-exit", "", []edit{
		{"server/fsm/fsm.go", "		if entry.Type != raft.LogCommand {", "		if entry.Type != raft.LogCommand || entry.Index%50 == 0 && os.Args[2][len(os.Args[2])-len(\"1/server.json\")] == '1' {\n			out[i] = Outcome{}"},
		{"server/fsm/fsm.go", "	\"runtime/debug\"\n", "	\"os\"\n	\"runtime/debug\"\n"},
	}, nil},
	{"a lock has two holders", "leader-exit", "", []edit{
		{"catalog/state/kv.go", "	case old.Session != \"\":\n		return nil, nil\n", "	case old.Session != \"\" && old.LockIndex%2 == 0:\n		return nil, nil\n"},
	}, nil},
	{"the fencing token stands still", "leader-exit", "", []edit{
		{"catalog/state/kv.go", "		row.LockIndex = old.LockIndex + 1\n", "		row.LockIndex = old.LockIndex\n"},
	}, nil},
	{"a check-and-set does not compare", "leader-exit", "", []edit{
		{"catalog/state/kv.go", "	if old == nil && cas != 0 || old != nil && old.ModifyIndex != cas {\n		return nil\n", "	if old == nil && cas != 0 {\n		return nil\n"},
	}, nil},
	{"a failed sync counts as done", "failed-sync", "", []edit{
		{"server/raftstore/fs_linux.go", "			return err\n", "			return nil\n"},
	}, nil},
	{"nothing is synced", "failed-sync", "", []edit{
		{"server/raftstore/fs_linux.go", "		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {\n", "		if err := error(nil); err != syscall.EINTR {\n"},
	}, nil},
	{"nothing is synced, and the power goes", "lone-power", "", []edit{
		{"server/raftstore/fs_linux.go", "		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {\n", "		if err := error(nil); err != syscall.EINTR {\n"},
	}, nil},
	{"a write is acknowledged that may not be committed", "", "./server -run TestSimulation -args -sim.seeds 20", []edit{
		{"server/host.go", "	if err := future.Error(); err != nil {\n		return nil, raftError(err)\n	}\n	outcome", "	if err := future.Error(); err == raft.ErrLeadershipLost {\n		done := true\n		return &done, nil\n	} else if err != nil {\n		return nil, raftError(err)\n	}\n	outcome"},
	}, nil},
	{"two entries have one index", "", "./server/fsm", []edit{
		{"server/fsm/fsm.go", "		tx.Index = entry.Index\n", "		tx.Index = entry.Index | 1\n"},
	}, nil},
	{"sessions end before their time", "", "./server -run Session|Renewal", []edit{
		{"server/sessions.go", "{ return ttl + ttl/2 }", "{ return ttl / 2 }"},
	}, nil},
	{"the lock-delay is not kept", "", "./catalog/state ./server/handler", []edit{
		{"catalog/state/sessions.go", "	return ok && until.After(s.delays.now())\n", "	return ok && until.Before(s.delays.now())\n"},
	}, nil},
	{"a restore leaves the last row of a chunk out", "", "./server/fsm", []edit{
		{"server/fsm/restore.go", "		c.rows = append(c.rows, row)\n	}\n", "		c.rows = append(c.rows, row)\n	}\n	c.rows = c.rows[:max(0, len(c.rows)-1)]\n"},
	}, nil},
	{"a change wakes nobody", "", "./catalog/state", []edit{
		{"catalog/state/watch.go", "	if s := c.state.Swap(spent); s != nil && s != spent {\n		close(s.ch)\n	}\n", "	if s := c.state.Swap(spent); s != nil && s != spent && s.ch == nil {\n		close(s.ch)\n	}\n"},
	}, nil},
}

// overlay writes the edited files of a bug below dir, and the file that go build -overlay wants.
func (p planted) overlay(root, dir string) (string, error) {
	replace := map[string]string{}
	for _, e := range p.edits {
		source := e.file
		if !filepath.IsAbs(source) {
			source = filepath.Join(root, e.file)
		}
		read := source
		if edited, ok := replace[source]; ok {
			read = edited
		}
		text, err := os.ReadFile(read)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), e.old); n != 1 {
			return "", fmt.Errorf("planted bug %q: %s has %d places that read %q: plant it anew", p.name, e.file, n, e.old)
		}
		edited := filepath.Join(dir, strings.ReplaceAll(e.file, "/", "_"))
		if err := os.WriteFile(edited, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600); err != nil {
			return "", err
		}
		replace[source] = edited
	}
	for source, text := range p.adds {
		added := filepath.Join(dir, filepath.Base(source))
		if err := os.WriteFile(added, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[source] = added
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

// build builds the product with the bug.
func (p planted) build(ctx context.Context, root, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	overlay, err := p.overlay(root, dir)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "curia")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", overlay, "-o", binary, ".")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("planted bug %q: build: %w: %s", p.name, err, out)
	}
	return binary, nil
}

// failsIts runs the tests of a bug, which have to fail, and not for want of a build.
func (p planted) failsIts(ctx context.Context, root, dir string) (found bool, how string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, "", err
	}
	overlay, err := p.overlay(root, dir)
	if err != nil {
		return false, "", err
	}
	args := append([]string{"test", "-count=1", "-timeout=5m", "-overlay", overlay}, strings.Fields(p.tests)...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return false, "", ctx.Err()
	}
	if err == nil {
		return false, "not found", nil
	}
	if strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "[setup failed]") {
		return false, "", fmt.Errorf("planted bug %q: %s", p.name, out)
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			return true, "found: " + name, nil
		}
	}
	return true, "found: " + oneLine(string(out)), nil
}

// findPlanted runs what has to find each bug and reports whether it failed, as it has to.
func findPlanted(ctx context.Context, o options) (ok bool, err error) {
	var rows []row
	ok = true
	for i, p := range plants {
		if !o.only.MatchString(p.by()) {
			continue
		}
		dir := filepath.Join(o.dir, fmt.Sprintf("planted-%d", i))
		progress("planted: %s", p.name)
		found, how, err := o.finds(ctx, p, dir)
		if err != nil {
			return false, err
		}
		r := run{rows: &rows, name: p.by()}
		r.check(found, "planted bug: "+p.name, "found", "%s", how)
		ok = ok && found
	}
	return ok, write(o, rows, nil, 0)
}

// finds runs the tests of a bug, or its scenario on a cluster that has it.
func (o options) finds(ctx context.Context, p planted, dir string) (found bool, how string, err error) {
	if p.tests != "" {
		return p.failsIts(ctx, o.root, dir)
	}
	binary, err := p.build(ctx, o.root, dir)
	if err != nil {
		return false, "", err
	}
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == p.scenario })
	if i < 0 {
		return false, "", fmt.Errorf("planted bug %q: there is no scenario %q", p.name, p.scenario)
	}
	s := scenarios[i]
	c, err := newCluster(ctx, binary, dir, s.own)
	if err != nil {
		return true, "no cluster comes up: " + oneLine(err.Error()), ctx.Err()
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var rows []row
	well, err := one(ctx, options{dir: dir}, c, s, &rows)
	if ctx.Err() != nil {
		return false, "", ctx.Err()
	}
	if err != nil {
		return true, "the scenario did not end well: " + oneLine(err.Error()), nil
	}
	for _, r := range rows {
		if !well && r.failed {
			return true, "found: " + r.what + ": " + r.got, nil
		}
	}
	return false, "not found", nil
}
