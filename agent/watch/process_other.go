//go:build !unix

package watch

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// endGroup kills the leader only.
func endGroup(leader *os.Process) error { return leader.Kill() }

// killGroup kills the leader only.
func killGroup(leader *os.Process) error { return leader.Kill() }
