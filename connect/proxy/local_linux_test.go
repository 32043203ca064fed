package proxy

import (
	"testing"

	"golang.org/x/sys/unix"
)

// No network is between programs of one machine.
func TestLocal(t *testing.T) {
	near, _ := joined(t)
	var got string
	var err error
	if failed := socketOf(near).Control(func(fd uintptr) { got, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION) }); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	if got != "reno" {
		t.Errorf("a connection on this machine has the congestion control %q", got)
	}
}
