//go:build !unix

package proxy

import "net"

// eager writes to a socket what it takes at once, which cannot be done here.
type eager struct{}

func newEager(net.Conn) *eager { return nil }

func (*eager) write([]byte) (int, error) { return 0, nil }
