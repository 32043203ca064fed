package socket

import (
	"fmt"
	"net"
	"os"
)

// SameUser is an error unless the process at the other end of a connection is of the user that this one acts for, as the
// kernel says. Where it does not tell, that is one too.
func SameUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var uid int
	var asked error
	if err := raw.Control(func(fd uintptr) { uid, asked = peerOf(int(fd)) }); err != nil {
		return err
	}
	if asked != nil {
		return fmt.Errorf("who is at the other end of a socket: %w", asked)
	}
	if own := os.Geteuid(); uid != own {
		return fmt.Errorf("the process at the other end of a socket is of user %d, want %d", uid, own)
	}
	return nil
}
