package proxy

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pulseOf asks the kernel how a connection does. It reports whether it says so.
// Source: tcp(7), TCP_INFO; of the kernel's sources include/uapi/linux/tcp.h
func pulseOf(raw syscall.RawConn) (p pulse, known bool) {
	if raw == nil {
		return p, false
	}
	raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		p = pulse{
			opening: i.State == unix.BPF_TCP_SYN_SENT,
			repeats: int(max(i.Retransmits, i.Probes)),
			wait:    time.Duration(i.Rto) * time.Microsecond,
			heard:   time.Duration(i.Last_ack_recv) * time.Millisecond,
		}
		known = true
	})
	return p, known
}
