//go:build !unix

package proxy

import "net"

// probe looks at what has come over a connection without taking it, which cannot be done here.
type probe struct{}

func newProbe(net.Conn) *probe { return &probe{} }

// state tells nothing: no connection is used again, and no caller is known to be gone.
func (p *probe) state() (quiet, ended bool) { return false, false }
