//go:build unix

package check_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

func TestScript(t *testing.T) {
	f := func(want catalog.Status, output string, args ...string) {
		t.Helper()
		expect(t, define(catalog.CheckDefinition{ScriptArgs: args}), check.Deps{}, want, output)
	}
	f(catalog.Passing, "fine\n", "echo", "fine")
	f(catalog.Warning, "to stderr", "sh", "-c", "echo to stderr >&2; exit 1")
	f(catalog.Critical, "disk full", "sh", "-c", "echo disk full; exit 2")
	f(catalog.Critical, "signal: killed\nlast words", "sh", "-c", "echo last words; kill -9 $$")
	f(catalog.Critical, "no such file", "/absent/program")
	f(catalog.Passing, "a b|$HOME", "printf", "%s", "a b|$HOME")

	shell := func(want catalog.Status, output string, args ...string) {
		t.Helper()
		expect(t, define(catalog.CheckDefinition{Shell: "/bin/sh", ScriptArgs: args}), check.Deps{Env: []string{"PATH=" + os.Getenv("PATH"), "X=y"}}, want, output)
	}
	shell(catalog.Warning, "y!", "echo $X!; exit 1")
	shell(catalog.Passing, "<it's><$X>", "printf", "<%s>", "it's", "$X")

	_, output := probe(t, define(catalog.CheckDefinition{ScriptArgs: []string{"sh", "-c", "seq 1 100000; echo the end"}}), check.Deps{}, nil)
	if len(output) != catalog.MaxCheckOutput || !strings.HasSuffix(output, "\n100000\nthe end\n") || !strings.HasPrefix(output, "(the last of 588903 bytes)\n") {
		t.Errorf("%d bytes were kept: %.60q", len(output), output)
	}
}

// listen makes a FIFO and returns channels that are closed when somebody has opened it for writing, and when
// whoever held it open is gone.
func listen(t *testing.T) (fifo string, opened, gone <-chan struct{}) {
	fifo = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	begin, end := make(chan struct{}), make(chan struct{})
	go func() { // ends with the writers
		defer close(end)
		file, err := os.Open(fifo)
		close(begin)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		io.Copy(io.Discard, file)
	}()
	return fifo, begin, end
}

func TestScriptTimeoutKillsGrandchildren(t *testing.T) {
	fifo, opened, gone := listen(t)
	def := define(catalog.CheckDefinition{
		ScriptArgs: []string{"sh", "-c", "echo started; sh -c 'sleep 60; echo never' > " + fifo + " & sleep 60"},
	})
	start := time.Now()
	expectLate(t, opened, def, check.Deps{}, catalog.Critical, "killed\nstarted")
	if <-gone; time.Since(start) >= time.Minute {
		t.Error("a grandchild lived to its end")
	}
}

// A child that outlives the script and holds its output is killed; the exit code of the script counts.
func TestScriptLeavesChild(t *testing.T) {
	fifo, _, gone := listen(t)
	def := define(catalog.CheckDefinition{ScriptArgs: []string{"sh", "-c", "exec 3> " + fifo + "; sleep 60 & exit 1"}})
	start := time.Now()
	expect(t, def, check.Deps{}, catalog.Warning, "")
	if <-gone; time.Since(start) >= time.Minute {
		t.Error("the child lived to its end")
	}
}

func TestOSService(t *testing.T) {
	if runtime.GOOS != "linux" {
		_, err := check.New(define(catalog.CheckDefinition{OSService: "nginx"}), check.Deps{})
		if err == nil || !strings.Contains(err.Error(), "script check") {
			t.Errorf("error %v does not offer another way", err)
		}
		return
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	f := func(answer string, want catalog.Status, output string) {
		t.Helper()
		text := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = 'show --property=LoadState,ActiveState,SubState -- nginx.service' ] || exit 9\n%s\n", answer)
		if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		expect(t, define(catalog.CheckDefinition{OSService: "nginx.service"}), check.Deps{}, want, "Service nginx.service"+output)
	}
	f(`printf 'LoadState=loaded\nActiveState=active\nSubState=running\n'`, catalog.Passing, " is active (running)")
	f(`printf 'LoadState=loaded\nActiveState=activating\nSubState=start\n'`, catalog.Warning, " is activating (start)")
	f(`printf 'LoadState=loaded\nActiveState=failed\nSubState=failed\n'`, catalog.Critical, " is failed (failed)")
	f(`printf 'LoadState=not-found\nActiveState=inactive\nSubState=dead\n'`, catalog.Critical, " is inactive (dead), unit not-found")
	f(`echo no bus >&2; exit 1`, catalog.Critical, ": systemctl: exit status 1 no bus")
	f(`echo hello`, catalog.Critical, ": systemctl named no ActiveState: hello")
}
