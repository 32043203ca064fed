package socket_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/curia-mesh/curia/rpc/socket"
)

func TestSameUser(t *testing.T) {
	from, to := between(t)
	for _, c := range []*net.UnixConn{from, to} {
		if err := socket.SameUser(c); err != nil {
			t.Error(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can act for another user")
	}
	runtime.LockOSThread()
	const nobody, same = 65534, ^uintptr(0)
	actAs := func(uid uintptr) {
		if _, _, err := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uid, same); err != 0 { // of this thread alone
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", fmt.Sprint("@curia-test-", os.Getpid())) // no file that another user may not open
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	actAs(nobody)
	c, err := net.Dial("unix", l.Addr().String())
	actAs(0)
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := socket.SameUser(other.(*net.UnixConn)); err == nil || !strings.Contains(err.Error(), "user 65534, want 0") {
		t.Errorf("another user is taken for this one: %v", err)
	}
}
