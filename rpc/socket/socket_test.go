package socket_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/curia-mesh/curia/rpc/socket"
)

func TestPrivate(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // a path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sock")
	if err := os.WriteFile(path, []byte("left behind"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := socket.Private(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := socket.Private(filepath.Join(dir, "none", "sock")); err == nil {
		t.Error("a socket in a directory that is not there")
	}
}
