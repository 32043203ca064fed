//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Thread is where the namespaces of a host are to be found: a thread of this process. Without root there are none, and
// tid is 0.
func (h *Host) Thread() (pid, tid int) { return os.Getpid(), h.space.tid }

// Exec turns this process into a command inside the namespaces of a thread of another process. It returns only when
// it cannot. With tid 0 the command runs where it is.
func Exec(pid, tid int, command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	if tid != 0 {
		runtime.LockOSThread()
		// A thread that shares its root directory with others may not move to another mount namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leave the file system of other threads: %w", err)
		}
		// Entered in this order: after the mounts have changed, /proc is that of the host.
		if err := enter(pid, tid, "net", unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := enter(pid, tid, "mnt", unix.CLONE_NEWNS); err != nil {
			return err
		}
	}
	return syscall.Exec(path, command, os.Environ())
}
