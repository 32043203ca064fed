// Package socket is what programs of one user speak to one another by: unix sockets that are theirs alone, which listeners can be
// passed on over.
package socket

import (
	"errors"
	"io/fs"
	"net"
	"os"
)

// Private listens at a path, in place of what lay there, for the user of this process alone. Whoever calls it has made sure
// that nobody answers there, and that the directory is the user's own: until the socket has its mode, the directory is what
// keeps others out.
func Private(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
