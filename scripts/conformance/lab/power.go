//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// imageBytes is the size of a disk that can lose its power; the file has holes.
	imageBytes = 1 << 30
	// shutdownFS is EXT4_IOC_SHUTDOWN, and dropLog its EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h of Linux): from that
	// moment nothing reaches the device any more, neither data nor journal.
	shutdownFS, dropLog = 0x8004587d, 2
)

// powered is a disk whose power can be cut: an ext4 file system of its own, in a file.
type powered struct{ image, point string }

// makePowered makes the file system of a disk and mounts it at point. It must run inside the host's mount namespace.
func makePowered(image, point string) (*powered, error) {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(imageBytes), f.Close()); err != nil {
		return nil, err
	}
	p := &powered{image, point}
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", image); err != nil {
		return nil, err
	}
	return p, p.mount()
}

// mount makes the file system usable; ext4 replays its journal if it has to. The loop device ends with the mount, and so
// at the latest with the last process in the namespace.
func (p *powered) mount() error {
	return command("mount", "-t", "ext4", "-o", "loop,nosuid,nodev", p.image, p.point)
}

func (p *powered) unmount() error {
	if err := unix.Unmount(p.point, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", p.point, err)
	}
	return nil
}

// off ends all that goes to the disk. What runs sees input/output errors.
func (p *powered) off() error {
	dir, err := os.Open(p.point)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), shutdownFS, dropLog); err != nil {
		return fmt.Errorf("shut %s down: %w", p.point, err)
	}
	return nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, out)
	}
	return nil
}

// CutPower makes the host lose its power: what was not synced by then is gone, and the process with it. Afterwards the
// host has power again, and nothing runs. Needs Options.Power.
func (h *Host) CutPower() error {
	if h.power == nil {
		return fmt.Errorf("host %s: cut the power: open the lab with Power, as root", h.Name)
	}
	if err := h.space.do(h.power.off); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	h.lab.mu.Lock()
	run := h.run
	if run.running() {
		h.signal(syscall.SIGKILL) // it may have ended for its disk meanwhile
	}
	h.lab.mu.Unlock()
	if run != nil {
		<-run.exited
	}
	if err := h.space.do(func() error { return errors.Join(h.power.unmount(), h.power.mount()) }); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}
