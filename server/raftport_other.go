//go:build !linux

package server

import (
	"syscall"
	"time"
)

// boundLoss leaves it to the kernel when a connection is lost.
func boundLoss(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
