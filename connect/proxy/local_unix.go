//go:build unix && !linux

package proxy

import (
	"net"
	"syscall"
)

// local does nothing here.
func local(*net.TCPConn, syscall.RawConn) {}
