package conformance

import (
	"os/exec"
	"syscall"
)

// bind makes the kernel end a process should the tests die first.
func bind(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
