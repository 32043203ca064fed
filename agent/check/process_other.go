//go:build !unix

package check

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// killGroup kills the leader only.
func killGroup(leader *os.Process) error { return leader.Kill() }
