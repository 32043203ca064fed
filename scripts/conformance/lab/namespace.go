//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// space is a thread that lives in a network namespace and a mount namespace of its own. What do runs is inside: sockets
// it makes, files it mounts and processes it starts belong to the host. Without root there is no such thread, and do
// runs where it is called.
type space struct {
	calls chan func()
	tid   int // of the thread
}

// openSpace starts the thread, which ends with close.
func openSpace(root bool) (*space, error) {
	s := &space{}
	if !root {
		return s, nil
	}
	s.calls = make(chan func())
	ready := make(chan error)
	go func() {
		// Never unlocked: the runtime ends the thread with the goroutine, and with it the namespaces.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		s.tid = unix.Gettid()
		if ready <- err; err != nil {
			return
		}
		for call := range s.calls {
			call()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	return s, nil
}

// do runs f inside and returns its error. f must not wait for long: calls run one after another.
func (s *space) do(f func() error) error {
	if s.calls == nil {
		return f()
	}
	done := make(chan error)
	s.calls <- func() { done <- f() }
	return <-done
}

func (s *space) close() {
	if s.calls != nil {
		close(s.calls)
	}
}

// enter moves the calling thread into the network namespace of the space. The thread must be locked and must not be
// used for anything else afterwards.
func (s *space) enter() error {
	return enter(os.Getpid(), s.tid, "net", unix.CLONE_NEWNET)
}

// enter moves the calling thread into one namespace of another thread.
func enter(pid, tid int, kind string, flag int) error {
	path := fmt.Sprintf("/proc/%d/task/%d/ns/%s", pid, tid, kind)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, flag); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}

// device makes the host's only network device and returns the end that packets come out of. It must run inside.
func device(addr netip.Addr) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	request, err := unix.NewIfreq("lab0")
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make a TUN device: %w", err)
	}
	tun := os.NewFile(uintptr(fd), path)
	for _, args := range []string{
		"link set lo up",
		fmt.Sprintf("addr add %s/16 dev lab0", addr),
		fmt.Sprintf("link set lab0 mtu %d txqueuelen 10000 up", mtu),
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("ip %s: %w: %s", args, err, out), tun.Close())
		}
	}
	return tun, nil
}
