//go:build !unix

package proxy

import (
	"errors"
	"net"
)

// probe looks at what has come over a connection without taking it, which cannot be done here.
type probe struct{}

func newProbe(net.Conn) *probe { return &probe{} }

// state tells nothing: no connection is used again, and no caller is known to be gone.
func (p *probe) state() (quiet, ended bool) { return false, false }

// await is not used where awaits says so.
func (p *probe) await() (*buffer, int, error) { return nil, 0, errors.ErrUnsupported }

// awaits reports whether await can be used.
func (p *probe) awaits() bool { return false }
