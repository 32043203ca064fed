package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// maxOutput is how many bytes of what a handler says are kept for the log.
const maxOutput = 4 << 10

const (
	// termGrace is how long a handler has to end when it is told to.
	termGrace = 2 * time.Second
	// pipeGrace is how long children that outlive a handler may keep its output open; above termGrace.
	pipeGrace = 3 * time.Second
)

// script is a handler that is a program: it gets the JSON on its standard input and the index in
// CONSUL_INDEX.
type script struct{ args []string }

// shell runs one argument of shell text.
func shell() []string {
	if runtime.GOOS == "windows" {
		return []string{"cmd", "/C"}
	}
	return []string{"/bin/sh", "-c"}
}

// handle runs the program in a process group of its own. When ctx ends the group is told to end, and killed
// if its leader does not. What the program leaves running otherwise goes on.
func (s *script) handle(ctx context.Context, l look) (string, error) {
	output := &tail{limit: maxOutput}
	index := strconv.FormatUint(l.index, 10)
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	cmd.Env = append(os.Environ(), "CONSUL_INDEX="+index, "CURIA_INDEX="+index)
	cmd.Stdin = io.MultiReader(bytes.NewReader(l.json), strings.NewReader("\n"))
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = pipeGrace
	ownGroup(cmd)
	var kill *time.Timer
	cmd.Cancel = func() error {
		kill = time.AfterFunc(termGrace, func() { _ = killGroup(cmd.Process) })
		return endGroup(cmd.Process)
	}
	err := cmd.Run()
	if kill != nil {
		kill.Stop()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the program has ended well, though something that it started has not
	}
	return output.String(), err
}

// tail keeps the end of what is written to it: there a program says why it failed.
type tail struct {
	limit   int
	kept    []byte
	dropped int
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	t.kept = append(t.kept, p[max(0, n-t.limit):]...)
	t.dropped += max(0, n-t.limit)
	if over := len(t.kept) - t.limit; over > 0 {
		t.dropped += over
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return n, nil
}

func (t *tail) String() string {
	text := strings.TrimRight(strings.ToValidUTF8(string(t.kept), "?"), "\n")
	if t.dropped > 0 {
		return fmt.Sprintf("(%d bytes) …%s", t.dropped, text)
	}
	return text
}
