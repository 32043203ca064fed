package tour_test

import (
	"os"
	"os/exec"
	"syscall"
)

// isolated is a world of its own for each page: the pages' ports are free, the host has their name, and
// what runs in it ends with its first process.
func isolated() (world, bool) {
	w := world{
		alone:   true,
		host:    hostname,
		prepare: "ip link set lo up && hostname " + hostname + " || exit; ",
		enter: func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Pdeathsig:  syscall.SIGKILL,
				Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID,
			}
			if os.Getuid() != 0 { // only with a user of its own
				cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
			}
		},
		end: func(cmd *exec.Cmd) { _ = cmd.Process.Kill() }, // it may have ended
	}
	probe := exec.Command("bash", "-c", w.prepare)
	w.enter(probe)
	return w, probe.Run() == nil
}
