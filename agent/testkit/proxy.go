package testkit

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/curia-mesh/curia/agent/sidecar"
)

// KillProxy ends the process that runs the node's sidecars, if there is one, as a crash does, and waits until it has. It
// reports whether there was one.
func (n *Node) KillProxy(t testing.TB) bool {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(n.Data(), "proxy", "sock"))
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /attach HTTP/1.0\r\nHost: proxy\r\n\r\n"); err != nil {
		return false
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	body := bufio.NewReader(r.Body)
	var hello sidecar.Hello
	if line, err := body.ReadBytes('\n'); err != nil || json.Unmarshal(line, &hello) != nil {
		return false
	}
	p, err := os.FindProcess(hello.Pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Errorf("the node's proxy: %v", err)
	}
	_, _ = io.Copy(io.Discard, body) // until it has ended
	return true
}
