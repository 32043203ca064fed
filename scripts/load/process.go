//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// process is a server that this program started and will stop.
type process struct {
	name    string
	cmd     *exec.Cmd
	log     string
	exited  chan struct{}
	started time.Time
}

// spawn starts a program with its output in dir/name.log. Should this program die first, the kernel ends it.
func spawn(dir, name, path string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { // ends with the process
		p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop ends the process, by force when it has not ended itself in 20 s, and waits for its end.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// gone is an error with the end of the log when the process has ended, nil while it runs.
func (p *process) gone() error {
	select {
	case <-p.exited:
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s ended (%s): %s", p.name, p.cmd.ProcessState, bytes.TrimSpace(log[max(len(log)-2000, 0):]))
	default:
		return nil
	}
}

// cpu is what the process has used since its start, user and system: utime+stime of /proc/PID/stat, read
// from the process's CPU clock (clock_getcpuclockid(3)), which counts nanoseconds in place of ticks of 10 ms.
func (p *process) cpu() time.Duration { return cpuOf(p.cmd.Process.Pid) }

func cpuOf(pid int) time.Duration {
	const scheduler = 2 // CPUCLOCK_SCHED, the precise one
	clock := int32(^pid)<<3 | scheduler
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		return 0
	}
	return time.Duration(t.Nano())
}

// idleTime is how long the cores together have had nothing to do since the boot, in ticks of 10 ms: idle and
// iowait in the first line of /proc/stat (proc(5)). The kernel measures it; what it says of the busy time it
// guesses from samples.
func idleTime() time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := bytes.Cut(text, []byte("\n"))
	var ticks int
	if f := bytes.Fields(line); len(f) > 5 {
		for _, f := range f[4:6] {
			n, _ := strconv.Atoi(string(f))
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// rss is the memory of the process that is resident now, in bytes; 0 when it has ended.
func (p *process) rss() int { return rssOf(p.cmd.Process.Pid) }

func rssOf(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(status, []byte("VmRSS:"))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.Atoi(string(fields[0]))
	return kib << 10
}

// settle waits until the process has used less than 1 % of a core for half a second, at most for limit.
func (p *process) settle(ctx context.Context, limit time.Duration) {
	const look = 100 * time.Millisecond
	end := time.Now().Add(limit)
	for calm := 0; calm < 5 && ctx.Err() == nil && time.Now().Before(end); {
		before := p.cpu()
		time.Sleep(look)
		if p.cpu()-before < look/100 {
			calm++
		} else {
			calm = 0
		}
	}
}
