//go:build unix

package sidecar

import (
	"os/exec"
	"syscall"
)

// detach has a program run in a session of its own.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
