package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// said is a connection that said something and waits.
type said struct {
	net.Conn
	io.Reader
	step int // bytes at a time; 0 for all
}

func (s *said) Read(p []byte) (int, error) {
	if s.step > 0 {
		p = p[:min(len(p), s.step)]
	}
	return s.Reader.Read(p)
}
func (s *said) Write(p []byte) (int, error)      { return len(p), nil }
func (s *said) Close() error                     { return nil }
func (s *said) SetDeadline(time.Time) error      { return nil }
func (s *said) SetReadDeadline(time.Time) error  { return nil }
func (s *said) SetWriteDeadline(time.Time) error { return nil }

// helloOf is what a client of crypto/tls begins with.
func helloOf(t testing.TB, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go func() { // ends with the pipe
		_ = tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake()
	}()
	defer b.Close()
	h, err := readHello(b)
	if err != nil && !errors.Is(err, noName) {
		t.Fatal(err)
	}
	if h == nil {
		t.Fatal("no hello")
	}
	return h.raw
}

// inRecords is a message cut into records of so many bytes.
func inRecords(raw []byte, size int) (out []byte) {
	for body := raw[5:]; len(body) > 0; {
		n := min(size, len(body))
		out = append(append(out, 22, 3, 1, byte(n>>8), byte(n)), body[:n]...)
		body = body[n:]
	}
	return out
}

func TestHello(t *testing.T) {
	raw := helloOf(t, "Web.default.dc2.internal.x.consul")
	f := func(what string, text []byte, step int, name string, want error) {
		t.Helper()
		h, err := readHello(&said{Reader: bytes.NewReader(text), step: step})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if err == nil && (h.name != name || !bytes.Equal(h.raw, text[:len(h.raw)])) {
			t.Errorf("%s: name %q", what, h.name)
		}
	}
	const name = "web.default.dc2.internal.x.consul"
	f("whole", raw, 0, name, nil)
	f("byte by byte", raw, 1, name, nil)
	f("with more behind it", append(bytes.Clone(raw), "more"...), 0, name, nil)
	f("in records of 100 bytes", inRecords(raw, 100), 0, name, nil)
	f("in records of 100 bytes, slowly", inRecords(raw, 100), 3, name, nil)
	f("in records of a byte", inRecords(raw, 1), 0, "", tooLong)
	f("nothing", nil, 0, "", cutShort)
	f("half", raw[:len(raw)/2], 0, "", cutShort)
	f("HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), 0, "", notTLS)
	f("SSH", []byte("S"), 0, "", notTLS)
	f("SSL 2", []byte{0x80, 0x2e, 1, 0, 2}, 0, "", notTLS)
	f("an empty record", append([]byte{22, 3, 1, 0, 0}, raw...), 0, "", notTLS)
	f("another message", append([]byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, raw...), 0, "", notTLS)
	f("too long", append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x40, 1}, make([]byte, 1<<14)...), 0, "", tooLong)
	f("without name", helloOf(t, ""), 0, "", noName)
	twice := bytes.Replace(raw, []byte("Web.default"), []byte("Web\x00default"), 1)
	if _, err := readHello(&said{Reader: bytes.NewReader(twice)}); err != nil {
		t.Errorf("a name of any bytes is a name: %v", err)
	}
}

// FuzzHello: whatever a connection begins with is understood as crypto/tls understands it, or refused, with bounds.
func FuzzHello(f *testing.F) {
	raw := helloOf(f, "web.default.dc2.internal.x.consul")
	f.Add(raw)
	f.Add(inRecords(raw, 50))
	f.Add(helloOf(f, ""))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := readHello(&said{Reader: bytes.NewReader(text)})
		if err == nil && (len(h.raw) > maxRaw || len(h.name) > maxName || h.name != strings.ToLower(h.name)) {
			t.Fatalf("%d bytes, name %q", len(h.raw), h.name)
		}
		var seen *string
		_ = tls.Server(&said{Reader: bytes.NewReader(text)}, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			seen = &i.ServerName
			return nil, io.EOF
		}}).HandshakeContext(context.Background())
		if seen != nil && err == nil && strings.ToLower(*seen) != h.name {
			t.Fatalf("crypto/tls reads the name %q, we read %q", *seen, h.name)
		}
		if seen != nil && *seen == "" && err == nil {
			t.Fatalf("crypto/tls reads no name, we read %q", h.name)
		}
	})
}
