//go:build unix && (!linux || !(amd64 || arm64) || race || msan || asan)

package proxy

import "syscall"

// recvNow takes what has come over a socket that does not wait, with flags as recv(2) has them.
func recvNow(fd uintptr, b []byte, flags int) (n int, err error) {
	for err = syscall.EINTR; err == syscall.EINTR; {
		n, _, err = syscall.Recvfrom(int(fd), b, flags|syscall.MSG_DONTWAIT)
	}
	return n, err
}

// sendNow sends as much as a socket takes without waiting.
func sendNow(fd uintptr, b []byte) (n int, err error) {
	for err = syscall.EINTR; err == syscall.EINTR; {
		n, err = syscall.Write(int(fd), b)
	}
	return n, err
}
