package tcpinfo

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Of asks the kernel how a connection does. It reports whether it says so.
// Source: tcp(7), TCP_INFO; of the kernel's sources include/uapi/linux/tcp.h
func Of(raw syscall.RawConn) (p Info, known bool) {
	if raw == nil {
		return p, false
	}
	raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		p = Info{
			Opening: i.State == unix.BPF_TCP_SYN_SENT,
			Repeats: int(max(i.Retransmits, i.Probes)),
			Wait:    time.Duration(i.Rto) * time.Microsecond,
			Heard:   time.Duration(i.Last_ack_recv) * time.Millisecond,
		}
		known = true
	})
	return p, known
}
