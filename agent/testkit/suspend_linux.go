package testkit

import (
	"syscall"
	"testing"
)

// Suspend stops the process until it gets SIGCONT, and returns when it has stopped.
func (p *Process) Suspend(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.Pid(), &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("status %#x, %v", status, err)
	}
}
