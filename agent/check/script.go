package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// killGrace is how long children that outlive a program may keep its output open, and how long a killed
// one may take to end.
const killGrace = time.Second

// command is what a script or docker check runs: its args as they are or, where it names a shell, through
// that: one argument is shell text, several are words that stay what they are.
func command(def *catalog.AgentCheck) []string {
	if def.Shell == "" {
		return def.ScriptArgs
	}
	text := def.ScriptArgs[0]
	if len(def.ScriptArgs) > 1 {
		words := make([]string, len(def.ScriptArgs))
		for i, arg := range def.ScriptArgs {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		text = strings.Join(words, " ")
	}
	return []string{def.Shell, "-c", text}
}

// exitStatus is the state that a program tells with its exit code: the one of Nagios plugins.
func exitStatus(code int) catalog.Status {
	switch code {
	case 0:
		return catalog.Passing
	case 1:
		return catalog.Warning
	}
	return catalog.Critical
}

// A script is a check that runs a program.
type script struct {
	args      []string
	env       []string
	maxOutput int
	stuck     <-chan error // of a program that did not end when it was killed; used by probe alone
}

func newScript(args, env []string, maxOutput int) *script {
	return &script{args: args, env: env, maxOutput: maxOutput}
}

func (s *script) probe(ctx context.Context) (catalog.Status, string) {
	output, err := s.run(ctx)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return catalog.Passing, output
	case errors.As(err, &exit) && exit.Exited():
		return exitStatus(exit.ExitCode()), output
	}
	return catalog.Critical, strings.TrimRight(err.Error()+"\n"+output, "\n")
}

// run runs the program in a process group of its own and returns the end of what it wrote. When ctx ends
// the group is killed. run returns within three killGrace of that, whatever the program does; one
// that cannot be killed, since it waits for a dead disk, keeps a goroutine until it ends, and no other is
// started before.
func (s *script) run(ctx context.Context) (string, error) {
	if s.stuck != nil {
		select {
		case <-s.stuck:
			s.stuck = nil
		default:
			return "", errors.New("not started: the previous run was killed, but has not ended")
		}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return "", err
	}
	start := time.Now()
	output := newTail(s.maxOutput)
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, writer, writer
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	err = cmd.Start()
	writer.Close()
	if err != nil {
		reader.Close()
		return "", err
	}
	done := make(chan error, 1)
	go func() { done <- finish(cmd, reader, output) }() // ends with the program
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(3 * killGrace):
			s.stuck = done
			return "", fmt.Errorf("timed out after %s, and does not end though killed", time.Since(start).Round(time.Millisecond))
		}
	}
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("timed out after %s, killed", time.Since(start).Round(time.Millisecond))
	}
	return output.String(), err
}

// finish waits for the program and for the end of its output. Children that keep the output open for
// longer than killGrace are killed; those that left the group go on, but nobody listens to them.
func finish(cmd *exec.Cmd, reader *os.File, output *tail) error {
	copied := make(chan struct{})
	go func() { // ends when reader does
		defer close(copied)
		_, _ = io.Copy(output, reader) // an error is the end of it, too
	}()
	err := cmd.Wait()
	for _, end := range []func(){func() { _ = killGroup(cmd.Process) }, func() { reader.Close() }} {
		select {
		case <-copied:
		case <-time.After(killGrace):
			end()
		}
	}
	<-copied
	reader.Close()
	return err
}
