//go:build !unix

package command

import "os/exec"

func ownGroup(*exec.Cmd)      {}
func endGroup(cmd *exec.Cmd)  { cmd.Process.Kill() }
func killGroup(cmd *exec.Cmd) { cmd.Process.Kill() }
