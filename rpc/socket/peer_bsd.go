//go:build darwin || freebsd

package socket

import "golang.org/x/sys/unix"

// peerOf is the user of who connected, or of who listens.
// Source: unix(4), LOCAL_PEERCRED
func peerOf(fd int) (uid int, err error) {
	c, err := unix.GetsockoptXucred(fd, 0, unix.LOCAL_PEERCRED) // level 0 is that of unix sockets
	if err != nil {
		return 0, err
	}
	return int(c.Uid), nil
}
