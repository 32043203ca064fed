//go:build !linux

package tcpinfo

import "syscall"

// Of knows nothing here.
func Of(syscall.RawConn) (p Info, known bool) { return p, false }
