package frontdoor_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// maxConns is what one address may hold of the HTTP API, by default.
const maxConns = 200

// Floods come from other addresses of this machine than the client that behaves.
func attacker(i int) string { return fmt.Sprintf("127.0.0.%d", 2+i) }

// wire is a TCP connection to an agent on which a test says what it likes.
type wire struct {
	net.Conn
	in *bufio.Reader
}

// dial connects from an address of this machine, "" for any.
func dial(addr, from string) (*wire, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &wire{conn, bufio.NewReader(conn)}, nil
}

func open(t testing.TB, addr string) *wire {
	t.Helper()
	w, err := dial(addr, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// reply reads one answer. Connections that are idle, and bodies that do not come, have another end than that.
func (w *wire) reply(method string) (int, http.Header, string, error) {
	w.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.Close {
		resp.Header.Set("Connection", "close")
	}
	return resp.StatusCode, resp.Header, string(body), err
}

// say sends a request as it is and reads the answer.
func say(t testing.TB, addr, request string) (status int, header http.Header, body string) {
	t.Helper()
	w := open(t, addr)
	if _, err := io.WriteString(w, request); err != nil {
		t.Fatal(err)
	}
	status, header, body, err := w.reply(request[:3])
	if err != nil {
		t.Fatalf("no answer to %.60q: %v", request, err)
	}
	return status, header, body
}

// zeros never end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
