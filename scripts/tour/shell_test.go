package tour_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// shell is one bash that runs the commands of a page.
type shell struct {
	dir, temporary string
	commands       *os.File // each ended by a zero byte
	raw            *os.File // the output of all that runs in it
	output         *bufio.Reader
}

// mark ends the output of a command. Nothing that a page prints holds this byte.
const mark = '\x1e'

// patience is how long a command may take. One of them builds the program, perhaps with nothing in its caches.
const patience = 5 * time.Minute

// loop runs one command after another, in the shell itself, so that variables and directories last.
const loop = `while IFS= read -r -d '' -u 3 command; do eval "$command" </dev/null 3<&-; printf '\036'; done`

// open starts a shell in an empty directory with an empty home. All that runs in it ends with the test.
func open(t *testing.T, w world, program string) *shell {
	t.Helper()
	dir, temporary := t.TempDir(), t.TempDir()
	theirs, commands, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	output, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--noprofile", "--norc", "-c", w.prepare+loop)
	cmd.Dir = dir
	cmd.Env = environment(t, program, temporary)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = ours, ours
	w.enter(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	ours.Close()
	t.Cleanup(func() {
		w.end(cmd)
		_ = cmd.Wait() // it was killed
		commands.Close()
		output.Close()
	})
	return &shell{dir: dir, temporary: temporary, commands: commands, output: bufio.NewReader(output), raw: output}
}

// run runs a command and returns the lines that it printed.
func (s *shell) run(command string) ([]string, error) {
	if err := s.raw.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(s.commands, command+"\x00"); err != nil {
		return nil, err
	}
	text, err := s.output.ReadString(mark)
	lines := strings.Split(strings.TrimSuffix(text, string(mark)), "\n")
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return lines, fmt.Errorf("did not end within %v", patience)
	case err != nil:
		return lines, fmt.Errorf("ended the shell: %w", err)
	}
	return lines, nil
}
