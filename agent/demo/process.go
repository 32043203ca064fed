package demo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// readyLine is in the log of an agent that can be asked for everything.
var readyLine = []byte("agent: ready: ")

// process is an agent that runs.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{} // closed when it says so
	ended chan struct{} // closed when it has
	tail  func() string // the end of its log
}

// start runs the agent of a place in the keeper's group.
func (k *keeper) start(p *place) (*process, error) {
	file, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		file.Close()
		return nil, err
	}
	cmd := exec.Command(k.program, "agent", "-config-dir="+p.config())
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = in, in, p.dir, environment()
	k.adopt(cmd)
	err = cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		file.Close()
		return nil, fmt.Errorf("agent %s: %w", p.Name, err)
	}
	a := &process{cmd: cmd, ready: make(chan struct{}), ended: make(chan struct{})}
	last := &last{}
	a.tail = last.text
	go func() { // ends with the agent
		defer close(a.ended)
		follow(out, file, last, a.ready)
		out.Close()
		file.Close()
		_ = cmd.Wait() // the state says it too
	}()
	return a, nil
}

// environment has nothing in it that would configure an agent. Agents keep to half of the cores, and give memory back: there are many.
func environment() []string {
	env := []string{"GOGC=50"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOMAXPROCS"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// follow copies the log of an agent to its file, and closes ready when the agent is.
func follow(from io.Reader, file io.Writer, last *last, ready chan struct{}) {
	lines := bufio.NewReader(from)
	told := false
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			file.Write(line) // a full disk is the agents' to report
			last.add(line)
		}
		if !told && bytes.Contains(line, readyLine) {
			told = true
			close(ready)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// last keeps the last lines of a log.
type last struct {
	mu    sync.Mutex
	lines [][]byte
}

const lastLines = 5

func (l *last) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, bytes.Clone(line))
	l.lines = l.lines[max(0, len(l.lines)-lastLines):]
}

func (l *last) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(bytes.Join(l.lines, nil)))
}

// kill ends the agent as a crash does, and waits until it has.
func (a *process) kill() {
	_ = a.cmd.Process.Kill() // it may have ended
	<-a.ended
}

// endTime is how long agents may take to end when they are told to.
const endTime = 10 * time.Second
