//go:build unix

package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Pass hands a listener on over a connection, with one byte. Both processes have it then, with one queue of connections
// between them.
func Pass(c *net.UnixConn, l net.Listener) error {
	file, ok := l.(syscall.Conn)
	if !ok {
		return fmt.Errorf("pass a listener on: a %T has no file", l)
	}
	raw, err := file.SyscallConn() // and not File, which would have its file block, and so that of everybody who has it
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { // it stays open meanwhile
		_, _, sent = c.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}

// Take takes a listener that the other side passes on. What is no listener, or more than one, is refused. The file of a
// unix socket stays when the listener is closed, unless SetUnlinkOnClose says otherwise.
func Take(c *net.UnixConn) (net.Listener, error) {
	one, room := make([]byte, 1), make([]byte, syscall.CmsgSpace(4*maxFiles))
	_, n, flags, _, err := c.ReadMsgUnix(one, room)
	if err != nil {
		return nil, err
	}
	files, err := filesOf(room[:n])
	defer func() {
		for _, f := range files {
			f.Close() // the listener has a file of its own
		}
	}()
	switch {
	case err != nil:
		return nil, err
	case flags&syscall.MSG_CTRUNC != 0:
		return nil, errors.New("take a listener: there are more files than asked for, or than this process may have")
	case len(files) != 1:
		return nil, fmt.Errorf("take a listener: %d files came, want 1", len(files))
	}
	if listens, err := syscall.GetsockoptInt(int(files[0].Fd()), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err != nil || listens == 0 {
		return nil, errors.New("take a listener: the file is no socket that listens")
	}
	return net.FileListener(files[0])
}

// maxFiles is how many files are looked at, of which one is wanted.
const maxFiles = 4

// filesOf are the files that came with a message.
func filesOf(room []byte) (files []*os.File, err error) {
	messages, err := syscall.ParseSocketControlMessage(room)
	if err != nil {
		return nil, os.NewSyscallError("parse control message", err)
	}
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return files, os.NewSyscallError("parse rights", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "listener")) // does not block already: see Pass
		}
	}
	return files, nil
}
