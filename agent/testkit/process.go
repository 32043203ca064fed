package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// program is the path of the built program, while Main runs.
var program string

// Main builds the program, runs the tests and ends the process: it is the body of a TestMain whose tests
// call Spawn or Run. Tests that leave goroutines behind fail.
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "curia-testkit-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "curia")
	build := exec.Command("go", "build", "-o", program, "github.com/curia-mesh/curia")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// Program is the path of the built program, a file called curia, for tests that run it in their own way.
func Program() string { return program }

// Process is an agent in a process of its own.
type Process struct {
	*Node
	Log  *Log
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Spawn runs the node's agent as a process, with further arguments, until it is ended or the test ends.
// It waits until the agent leads.
func (n *Node) Spawn(t testing.TB, args ...string) *Process {
	t.Helper()
	p := n.Begin(t, n.Command(args...))
	p.Log.Wait(t, "agent: ready: ")
	return p
}

// Command is how the node's agent is run, for tests that change the surroundings.
func (n *Node) Command(args ...string) *exec.Cmd {
	line := []string{"agent", "-config-file=" + n.Config()}
	if n.Dev {
		line = append(line, "-dev")
	}
	cmd := exec.Command(program, append(line, args...)...)
	cmd.Env = Environment()
	cmd.Dir = n.Dir
	return cmd
}

// Environment is that of this process without what would configure an agent or a command.
func Environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
}

// Begin runs a command that Command made, and waits for nothing. The test's end kills it.
func (n *Node) Begin(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Node: n, Log: newLog(), cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.Log, p.Log
	bind(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		_ = cmd.Wait() // the state says it too
		p.Log.end()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-p.done
		n.KillProxy(t) // which outlives agents
	})
	return p
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the process at once, as a crash does.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end, as a service manager does, and wants exit code 0.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	if code := p.Exit(t); code != 0 {
		t.Fatalf("exit code %d; the end of the log:\n%s", code, p.Log.Tail())
	}
}

// Exit waits for the end of the process and returns its exit code.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("the process does not end; the end of its log:\n%s", p.Log.Tail())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Run runs another command of the program against the node and returns what it writes and its exit code.
func (n *Node) Run(t testing.TB, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(Environment(), "CONSUL_HTTP_ADDR="+n.Addr())
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
