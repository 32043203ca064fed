//go:build !unix

package proxy

import "net"

// directly is a connection that was just made, as it is to be used.
func directly(c net.Conn) net.Conn { return c }

// bare is a connection between plain sockets as the kernel can pass it on.
func bare(c net.Conn) net.Conn { return c }
