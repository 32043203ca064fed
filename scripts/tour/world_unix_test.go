//go:build unix

package tour_test

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a process the first of a group, which all that it starts is in.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// endGroup ends the group.
func endGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // it may have ended
