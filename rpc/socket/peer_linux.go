package socket

import "syscall"

// peerOf is the user of who connected, or of who listens.
// Source: unix(7), SO_PEERCRED
func peerOf(fd int) (uid int, err error) {
	c, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(c.Uid), nil
}
