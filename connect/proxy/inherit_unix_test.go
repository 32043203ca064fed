//go:build unix

package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/curia-mesh/curia/connect/proxy"
	"github.com/curia-mesh/curia/rpc/socket"
)

// passed are the listeners of a proxy as another process gets them.
func passed(t *testing.T, dir string, p *proxy.Proxy) *proxy.Inherited {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, "between"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	all := &proxy.Inherited{}
	for _, s := range p.Sockets() {
		if err := socket.Pass(from.(*net.UnixConn), s.Listener); err != nil {
			t.Fatal(err)
		}
		if s.Listener, err = socket.Take(to.(*net.UnixConn)); err != nil {
			t.Fatal(err)
		}
		if err := all.Add(s); err != nil {
			t.Fatal(err)
		}
		wrong := s
		wrong.Address += "1"
		if err := all.Add(wrong); err == nil {
			t.Errorf("a listener at %s passes for one at %s", s.Addr(), wrong.Address)
		}
		if err := all.Add(s); err == nil {
			t.Errorf("there are two listeners at %s", s.Address)
		}
	}
	return all
}

// Listeners that another proxy takes stay open, whatever has connected. Who is at the first proxy is answered there, and told to
// come again; files of sockets are the second one's to remove.
func TestHandOver(t *testing.T) {
	dir, err := os.MkdirTemp("", "p") // a path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	app := answering(t, echo)
	path := filepath.Join(dir, "http")
	snapshot := func() *proxy.Snapshot {
		s := &proxy.Snapshot{}
		for _, l := range []*proxy.Listener{
			{Name: "http", Network: "tcp", Address: "127.0.0.1:0", Protocol: proxy.HTTP},
			{Name: "tcp", Network: "tcp", Address: "localhost:0"},
			{Name: "file", Network: "unix", Address: path, Mode: 0o600, Protocol: proxy.HTTP},
			{Name: "old", Network: "unix", Address: path + "2"},
		} {
			l.Routes = proxy.Direct(target("app", app.addr))
			s.Listeners = append(s.Listeners, l)
		}
		return s
	}
	first := proxy.New(proxy.Options{})
	if err := first.Update(snapshot()); err != nil {
		t.Fatal(err)
	}
	http1, tcp := first.Addr("http").String(), first.Addr("tcp").String()
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- first.Run(ctx) }() // ends below

	request := "GET /%s HTTP/1.1\r\nHost: api\r\n\r\n"
	answered := func(c net.Conn, in *bufio.Reader, path string, last bool) {
		t.Helper()
		fmt.Fprintf(c, request, path)
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "GET /"+path+" " || r.Close != last {
			t.Errorf("%s: %q, %v, the last one: %v", path, body, err, r.Close)
		}
	}
	fresh, kept, stream := dial(t, http1), dial(t, http1), dial(t, tcp) // in this order they are accepted
	fromKept, fromStream := bufio.NewReader(kept), bufio.NewReader(stream)
	answered(kept, fromKept, "kept", false)
	answered(stream, fromStream, "stream", false)

	all := passed(t, dir, first)
	now := snapshot()
	now.Listeners = now.Listeners[:3] // it has no use for the last one
	second := run(t, now, proxy.Options{Inherited: all})
	<-second.Begun()
	first.HandOver()
	all.Own()
	end()
	if first.Update(snapshot()) == nil {
		t.Error("a proxy that has handed its listeners over opens others")
	}
	for _, at := range []string{http1, tcp} {
		c := dial(t, at)
		answered(c, bufio.NewReader(c), "later", false)
		c.Close()
	}
	answered(kept, fromKept, "kept", true)
	answered(fresh, bufio.NewReader(fresh), "fresh", true)
	answered(stream, fromStream, "stream", false)
	kept.Close()
	stream.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	answered(c, bufio.NewReader(c), "file", false)
	c.Close()
	if _, err := os.Stat(path + "2"); err == nil {
		t.Error("the file of a socket that nobody listens at is left")
	}
	now.Listeners = now.Listeners[:1]
	if err := second.Update(now); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file of a listener that is closed is left")
	}
}
