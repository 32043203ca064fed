//go:build !unix

package socket

import (
	"errors"
	"net"
)

// Pass cannot hand a listener on here.
func Pass(*net.UnixConn, net.Listener) error { return errors.ErrUnsupported }

// Take cannot take one.
func Take(*net.UnixConn) (net.Listener, error) { return nil, errors.ErrUnsupported }
