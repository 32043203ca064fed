package command

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// grace is how long a child may take to end after it was asked to.
const grace = 5 * time.Second

// child makes the command that args mean: a line for the shell, or a program with its arguments. It runs
// in a process group of its own unless it shares the terminal's input.
func child(args []string, shell, ownInput bool) *exec.Cmd {
	var cmd *exec.Cmd
	switch {
	case shell && runtime.GOOS == "windows":
		cmd = exec.Command("cmd", "/C", strings.Join(args, " "))
	case shell:
		cmd = exec.Command("/bin/sh", "-c", strings.Join(args, " "))
	default:
		cmd = exec.Command(args[0], args[1:]...)
	}
	cmd.Env = os.Environ()
	cmd.WaitDelay = grace
	if ownInput {
		ownGroup(cmd)
	}
	return cmd
}

// runChild runs cmd until it ends, or until ctx does: then its whole group is asked to end, and killed
// when it does not in time or the user is in a hurry. It returns what cmd.Wait does.
func (c *call) runChild(ctx context.Context, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the child
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	endGroup(cmd)
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
	case <-c.hurry:
	}
	killGroup(cmd)
	return <-done
}

// failedChild reports whether err is a child's own failure, as opposed to one to start it.
func failedChild(err error) bool {
	var e *exec.ExitError
	return errors.As(err, &e)
}
