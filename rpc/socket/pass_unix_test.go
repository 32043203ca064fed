//go:build unix

package socket_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/curia-mesh/curia/rpc/socket"
)

// between are the ends of a connection over a unix socket.
func between(t *testing.T) (from, to *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	one, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		one.Close()
		other.Close()
	})
	return one.(*net.UnixConn), other.(*net.UnixConn)
}

// A connection that waits at a listener is there for the process that took it, when the one that opened it has closed it.
func TestPass(t *testing.T) {
	from, to := between(t)
	opened, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	waits, err := net.Dial("tcp", opened.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	if err := socket.Pass(from, opened); err != nil {
		t.Fatal(err)
	}
	taken, err := socket.Take(to)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	opened.Close()
	c, err := taken.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "here")
	c.Close()
	if said, err := io.ReadAll(waits); string(said) != "here" {
		t.Errorf("got %q, %v", said, err)
	}
}

func TestTakeRefuses(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	pipe := int(read.Fd())
	refused := func(want string, rights []byte) {
		t.Helper()
		from, to := between(t)
		if _, _, err := from.WriteMsgUnix([]byte{0}, rights, nil); err != nil {
			t.Fatal(err)
		}
		if l, err := socket.Take(to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", l, err, want)
		}
	}
	refused("0 files came", nil)
	refused("2 files came", syscall.UnixRights(pipe, pipe))
	refused("no socket that listens", syscall.UnixRights(pipe))
	refused("more files than asked for", syscall.UnixRights(pipe, pipe, pipe, pipe, pipe, pipe, pipe))
	from, to := between(t)
	from.Close()
	if _, err := socket.Take(to); !errors.Is(err, io.EOF) {
		t.Errorf("got %v at the end, want %v", err, io.EOF)
	}
}
