//go:build unix

package check

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes cmd the leader of a process group of its own.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills the leader, though it may have left its group, and whoever is in the group.
func killGroup(leader *os.Process) error {
	// The group keeps its number for as long as anybody is in it, so this meets no other one; that there
	// is nobody any more is no error.
	_ = syscall.Kill(-leader.Pid, syscall.SIGKILL)
	return leader.Kill()
}
