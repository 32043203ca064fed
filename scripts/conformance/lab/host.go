//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one machine of a lab.
type Host struct {
	Name string
	Addr netip.Addr
	// Dir is for the host's files as the lab sees them; Data is the directory of its disk as its processes see it.
	Dir, Data string

	lab   *Lab
	space *space
	port  *wirePort // nil without root
	disk  *disk     // nil without root, and where the power can be cut
	power *powered  // nil where it cannot

	// Guarded by lab.mu.
	command []string // as it was started last
	run     *process
	frozen  bool
}

// process is one run of a host's command.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// open makes what the host consists of.
func (h *Host) open(root bool) (err error) {
	h.Data = filepath.Join(h.Dir, "disk")
	backing := filepath.Join(h.Dir, "backing")
	dirs := []string{h.Data, backing}
	if h.lab.Power {
		dirs = dirs[:1]
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if h.space, err = openSpace(root); err != nil || !root {
		return err
	}
	return h.space.do(func() error {
		if h.lab.Power {
			h.power, err = makePowered(filepath.Join(h.Dir, "image"), h.Data)
		} else {
			h.disk, err = mountDisk(backing, h.Data)
		}
		if err != nil {
			return err
		}
		tun, err := device(h.Addr)
		if err != nil {
			return err
		}
		h.port = h.lab.wire.attach(h.Addr, tun)
		return nil
	})
}

// close ends the host and all that belongs to it.
func (h *Host) close() error {
	var errs []error
	if h.run.running() {
		h.signal(syscall.SIGKILL)
		<-h.run.exited
	}
	if h.port != nil {
		errs = append(errs, h.port.tun.Close())
	}
	if h.disk != nil {
		errs = append(errs, h.space.do(h.disk.server.Unmount))
	}
	if h.power != nil {
		errs = append(errs, h.space.do(h.power.unmount))
	}
	if h.space != nil {
		h.space.close()
	}
	return errors.Join(errs...)
}

// Log is the file with what the host's processes print.
func (h *Host) Log() string { return filepath.Join(h.Dir, "log") }

// Start runs a program on the host, the one of before when no arguments are given. It does not wait until the
// program serves.
func (h *Host) Start(args ...string) error {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	switch {
	case h.run.running():
		return fmt.Errorf("host %s: a process runs already: kill or stop it before", h.Name)
	case len(args) > 0:
		h.command = args
	case len(h.command) == 0:
		return fmt.Errorf("host %s: nothing was started before: name a program", h.Name)
	}
	log, err := os.OpenFile(h.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(h.command[0], h.command[1:]...), exited: make(chan struct{})}
	// Not on the host's disk: between fork and exec the child must not need an answer from us. The runtime cannot stop
	// the world for a garbage collection then, and nobody would answer.
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, h.Dir
	p.cmd.Env = append(os.Environ(), marker+h.lab.Dir)
	// Pdeathsig fires when the thread ends that started the process: inside a space that one lives as long as the host.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if h.port != nil {
		p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := h.space.do(p.cmd.Start); err != nil {
		return fmt.Errorf("host %s: start %s: %w", h.Name, h.command[0], err)
	}
	h.run, h.frozen = p, false
	go func() { // ends with the process
		p.cmd.Wait()
		close(p.exited)
	}()
	return nil
}

// signal sends a signal to the process group.
func (h *Host) signal(s syscall.Signal) error {
	if !h.run.running() {
		return fmt.Errorf("host %s: no process runs: start it before", h.Name)
	}
	return syscall.Kill(-h.run.cmd.Process.Pid, s)
}

// Kill ends the process as a kill -9 does and waits for its end.
func (h *Host) Kill() error { return h.end(syscall.SIGKILL, time.Minute) }

// Stop asks the process to end, and waits for its end at most for limit.
func (h *Host) Stop(limit time.Duration) error { return h.end(syscall.SIGTERM, limit) }

func (h *Host) end(s syscall.Signal, limit time.Duration) error {
	h.lab.mu.Lock()
	run := h.run
	err := h.signal(s)
	h.lab.mu.Unlock()
	if err != nil {
		return err
	}
	return run.await(h.Name, limit)
}

func (p *process) await(name string, limit time.Duration) error {
	select {
	case <-p.exited:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("host %s: the process has not ended in %s: kill it", name, limit)
	}
}

// Dump ends a Go program and makes it tell in the log what all of its goroutines do.
func (h *Host) Dump() error {
	if err := h.Thaw(); err != nil {
		return err
	}
	return h.end(syscall.SIGQUIT, 10*time.Second)
}

// AwaitExit waits until the process has ended by itself, at most for limit.
func (h *Host) AwaitExit(limit time.Duration) error {
	h.lab.mu.Lock()
	run := h.run
	h.lab.mu.Unlock()
	if run == nil {
		return nil
	}
	return run.await(h.Name, limit)
}

// Freeze stops the process where it is, as a hung machine does; Thaw lets it go on.
func (h *Host) Freeze() error { return h.freeze(syscall.SIGSTOP, true) }

// awaitStop returns when a process that was told to stop has: its threads may answer until then.
func (p *process) awaitStop() error {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// Thaw lets a frozen process go on.
func (h *Host) Thaw() error { return h.freeze(syscall.SIGCONT, false) }

func (h *Host) freeze(s syscall.Signal, frozen bool) error {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	if err := h.signal(s); err != nil {
		return err
	}
	if frozen {
		if err := h.run.awaitStop(); err != nil {
			return fmt.Errorf("host %s: freeze: %w", h.Name, err)
		}
	}
	h.frozen = frozen
	return nil
}

// Running says whether the process of the host runs, frozen or not.
func (h *Host) Running() bool {
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return h.run.running()
}

// SetDisk makes the disk good or bad from now on.
func (h *Host) SetDisk(d Disk) error {
	switch {
	case h.power != nil:
		return fmt.Errorf("host %s: break the disk: its power can be cut, nothing else", h.Name)
	case h.disk == nil:
		return fmt.Errorf("host %s: break the disk: %w", h.Name, ErrNeedsRoot)
	}
	h.disk.faults.Store(&d)
	return nil
}

// Syncs counts the syncs that the host's disk was asked for; 0 without root.
func (h *Host) Syncs() int64 {
	if h.disk == nil {
		return 0
	}
	return h.disk.syncs.Load()
}

// Dial connects from the host to an address of the lab. It is for http.Transport and the like.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	if h.port == nil {
		d.LocalAddr = &net.TCPAddr{IP: h.Addr.AsSlice()}
		return d.DialContext(ctx, network, addr)
	}
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from host %s: %w: names are not looked up here", h.Name, err)
	}
	return inside(h, func() (net.Conn, error) { return d.DialContext(ctx, network, addr) })
}

// Listen takes connections of TCP to a port of the host, as a process on it would.
func (h *Host) Listen(port int) (net.Listener, error) {
	return inside(h, func() (net.Listener, error) {
		return net.Listen("tcp", netip.AddrPortFrom(h.Addr, uint16(port)).String())
	})
}

// inside makes a socket of a host: it belongs to the namespace that its thread is in when it is made.
func inside[T any](h *Host, open func() (T, error)) (T, error) {
	if h.port == nil {
		return open()
	}
	type result struct {
		socket T
		err    error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var r result
		if r.err = h.space.enter(); r.err == nil {
			r.socket, r.err = open()
		}
		done <- r
	}()
	r := <-done
	return r.socket, r.err
}
