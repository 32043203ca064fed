// Package tour_test replays the pages of the documentation as their reader would: it types the commands of
// their console blocks, and wants to see what the page says that they print.
//
// The blocks of a page run in order, in one shell, in an empty directory with an empty home. A block of
// another language with a title is a file of that name. A console block with a title is a second terminal,
// whose commands run beside the others; it is where agents run.
package tour_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// hostname is what the pages call the machine.
const hostname = "vm"

// world is where a page is replayed.
type world struct {
	alone   bool   // nothing else runs there, so pages may run side by side
	host    string // the name of the machine
	prepare string // commands of the shell before all others
	enter   func(*exec.Cmd)
	end     func(*exec.Cmd) // ends all that runs in it
}

// TestPages replays every page.
func TestPages(t *testing.T) {
	if testing.Short() {
		t.Skip("pages sleep, as their readers do")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"bash", "dig", "curl", "jq", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; ./scripts/test installs it", err)
		}
	}
	w, ok := isolated()
	if !ok {
		w = shared(t)
	}
	for _, path := range pages(t, root) {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			if w.alone {
				t.Parallel()
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, w, name, string(text))
		})
	}
}

// pages are the files that have console blocks.
func pages(t *testing.T, root string) []string {
	all := []string{filepath.Join(root, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "website", "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(path string) bool {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(string(text), "```console")
	})
}

// shared is the machine itself, where one page runs after another, if nothing else has the ports.
func shared(t *testing.T) world {
	for _, port := range []int{8080, 8300, 8301, 8302, 8500, 8600} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Skipf("network namespaces are not to be had here, and the ports of the pages are not free: %v", err)
		}
		l.Close()
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return world{host: host, enter: ownGroup, end: endGroup}
}

// environment is what a reader has who has just built the program, and Go's caches so that examples in Go
// need no network.
func environment(t *testing.T, program, temporary string) []string {
	caches, err := exec.Command("go", "env", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(caches))
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"PATH=" + filepath.Dir(program) + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + temporary,
		"LC_ALL=C.UTF-8", "CHECKOUT=" + root, "GOMODCACHE=" + dirs[0], "GOCACHE=" + dirs[1], "GOFLAGS=",
	}
}

// replay does what the page says and compares what is printed.
func replay(t *testing.T, w world, name, text string) {
	all, err := blocks(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s := open(t, w, testkit.Program())
	for _, b := range all {
		switch {
		case b.language != "console" && b.title != "":
			write(t, filepath.Join(s.dir, b.title), strings.Join(b.text, "\n")+"\n")
		case b.language == "console":
			steps, err := b.steps()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if b.title != "" {
				beside(t, w, s, name, steps)
				continue
			}
			for _, step := range steps {
				place := fmt.Sprintf("%s:%d: $ %s", name, step.line, step.command)
				got, err := s.run(step.command)
				if err != nil {
					t.Fatalf("%s\n%v; it printed:\n%s", place, err, strings.Join(got, "\n"))
				}
				same(t, w, place, step.prints, got)
			}
		}
	}
}

// write makes a file, in a new directory if need be.
func write(t *testing.T, path, text string) {
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// beside runs a block as a second terminal, and waits as long as a reader would: until the agent is there.
// What it prints goes on, so the page shows how it begins.
func beside(t *testing.T, w world, s *shell, name string, steps []step) {
	var commands, prints []string
	for _, step := range steps {
		commands, prints = append(commands, step.command), append(prints, step.prints...)
	}
	place := fmt.Sprintf("%s:%d: $ %s", name, steps[0].line, strings.Join(commands, "\n$ "))
	got, err := s.run(fmt.Sprintf("{ %s\n} >$TMPDIR/terminal 2>&1 &\n", strings.Join(commands, "\n")) + ready)
	text, _ := os.ReadFile(filepath.Join(s.temporary, "terminal")) // without it there is nothing to show
	if err != nil || strings.Join(got, "") != "" {
		t.Fatalf("%s\nno agent came up: %v\n%s\n%s", place, err, strings.Join(got, "\n"), text)
	}
	lines := strings.Split(string(text), "\n")
	same(t, w, place, prints, lines[:min(len(prints), len(lines))])
}

// same compares what a page says with what was printed.
func same(t *testing.T, w world, place string, says, printed []string) {
	t.Helper()
	if !slices.Equal(comparable(says, w.host), comparable(printed, w.host)) {
		t.Errorf("%s\nthe page says:\n%s\nit printed:\n%s", place, strings.Join(says, "\n"), strings.Join(printed, "\n"))
	}
}

// ready waits until the agent has registered itself, or answers where it may not without a token.
const ready = `until curl -sif http://127.0.0.1:8500/v1/catalog/service/consul 2>/dev/null | grep -qE 'ServiceName|Default-Acl-Policy: deny'; do
	kill -0 $! 2>/dev/null || { echo 'it ended'; break; }; sleep 0.1; done`
