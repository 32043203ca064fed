//go:build unix

package demo

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// keeper ends the agents and removes what is temporary, when the demo ends, however it ends. It is a process of its own, that
// waits for the end of a pipe that only the demo has. The agents are in its process group.
type keeper struct {
	program string
	cmd     *exec.Cmd
	life    *os.File      // the demo ends: it is closed
	all     *os.File      // each agent has it, and the demo
	ended   chan struct{} // closed when the keeper has
}

// startKeeper starts the keeper of a directory.
func startKeeper(program, dir string, temporary bool) (*keeper, error) {
	watched, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer watched.Close()
	others, all, err := os.Pipe()
	if err != nil {
		life.Close()
		return nil, err
	}
	defer others.Close()
	args := []string{"demo", "-keep", "-data-dir=" + dir}
	if temporary {
		args = append(args, "-temporary")
	}
	k := &keeper{program: program, life: life, all: all, ended: make(chan struct{}), cmd: exec.Command(program, args...)}
	k.cmd.Stdin, k.cmd.Stderr, k.cmd.ExtraFiles, k.cmd.Env, k.cmd.Dir = watched, os.Stderr, []*os.File{others}, environment(), dir
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := k.cmd.Start(); err != nil {
		life.Close()
		all.Close()
		return nil, err
	}
	go func() { // ends with the keeper
		defer close(k.ended)
		_ = k.cmd.Wait() // that it ends too early is what counts
	}()
	return k, nil
}

// adopt makes an agent that is about to start one that the keeper ends.
func (k *keeper) adopt(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: k.cmd.Process.Pid}
	cmd.ExtraFiles = []*os.File{k.all}
}

// end has the keeper end all agents, and waits until it has.
func (k *keeper) end() {
	k.life.Close()
	k.all.Close()
	<-k.ended
}

// Keep is the keeper: it waits until the demo that started it has ended, ends the agents of its group, and removes dir if that is
// temporary.
func Keep(dir string, temporary bool) error {
	if syscall.Getpgrp() != os.Getpid() || temporary && !(strings.HasPrefix(filepath.Base(dir), temporaryPrefix) && own(dir)) {
		return errors.New("only a demo starts this: nothing is ended or removed") // what is of others is not to go
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP) // the first one comes from here
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} { // the second for those that are frozen
		if err := syscall.Kill(0, s); err != nil {
			return err
		}
	}
	if err := syscall.SetNonblock(3, true); err != nil {
		return err
	}
	others := os.NewFile(3, "agents")
	if err := others.SetReadDeadline(time.Now().Add(endTime)); err != nil {
		return err
	}
	_, err := others.Read(make([]byte, 1)) // ends when nobody has the other end, agents and what they have started
	stuck := errors.Is(err, os.ErrDeadlineExceeded)
	if err = os.Remove(filepath.Join(dir, controlSocket)); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if temporary {
		err = os.RemoveAll(dir)
	}
	if stuck {
		return syscall.Kill(0, syscall.SIGKILL) // and this process with them
	}
	return err
}

// own reports whether a file is this user's and nobody else's.
func own(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	at, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(at.Uid) == os.Getuid()
}

// freeze stops an agent as a cut of all its links would seem to others; thaw lets it go on.
func (a *process) freeze() error { return a.cmd.Process.Signal(syscall.SIGSTOP) }
func (a *process) thaw() error   { return a.cmd.Process.Signal(syscall.SIGCONT) }
