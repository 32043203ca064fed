package proxy

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

func TestProxyHeader(t *testing.T) {
	tcp := func(s string) net.Addr { a, _ := net.ResolveTCPAddr("tcp", s); return a }
	for _, c := range []struct{ from, to string }{{"192.0.2.1:5", "192.0.2.2:65535"}, {"[2001:db8::1]:1", "[2001:db8::2]:80"}} {
		for version := 1; version <= 2; version++ {
			text := append(appendProxy(nil, version, tcp(c.from), tcp(c.to)), "behind"...)
			in := bytes.NewReader(text)
			from, to, err := readProxyHeader(in)
			rest, _ := io.ReadAll(in)
			if err != nil || from.String() != c.from || to.String() != c.to || string(rest) != "behind" {
				t.Errorf("version %d: %q is from %v to %v, %v, before %q", version, text, from, to, err, rest)
			}
		}
	}
	for version := 1; version <= 2; version++ { // whoever speaks for itself
		from, _, err := readProxyHeader(bytes.NewReader(appendProxy(nil, version, &net.UnixAddr{}, tcp("192.0.2.1:5"))))
		if from != nil || err != nil {
			t.Errorf("version %d: %v, %v", version, from, err)
		}
	}
	for _, text := range []string{
		"GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY TCP4 " + strings.Repeat("1", 100) + "\r\n",
		"proxy UNKNOWN\r\n", proxyV2 + "\x31\x11\x00\x0c", proxyV2 + "\x21\x11\x00\x04abcd", proxyV2 + "\x21\x11\xff\xff",
		proxyV2 + "\x22\x11\x00\x0c", proxyV2 + "\x21\x41\x00\x00",
	} {
		if from, to, err := readProxyHeader(strings.NewReader(text + strings.Repeat(" ", 200))); err == nil {
			t.Errorf("%.60q is from %v to %v", text, from, to)
		}
	}
}

// FuzzProxyHeader holds that what is read of a header is what writing it says, and that no byte behind it is taken.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nx"))
	f.Add([]byte("PROXY UNKNOWN a b\r\n"))
	f.Add([]byte(proxyV2 + "\x21\x11\x00\x0cabcdefghijklmnop"))
	f.Add([]byte(proxyV2 + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		from, to, err := readProxyHeader(bytes.NewReader(text))
		if err != nil || from == nil {
			return
		}
		for version := 1; version <= 2; version++ {
			again := appendProxy(nil, version, from, to)
			f2, t2, err := readProxyHeader(bytes.NewReader(again))
			if err != nil {
				t.Fatalf("%q: %v", again, err)
			}
			if f2 != nil && (f2.String() != unmap(from.(*net.TCPAddr).AddrPort()).String() || t2.String() != unmap(to.(*net.TCPAddr).AddrPort()).String()) {
				t.Fatalf("%v is %v in version %d", from, f2, version)
			}
		}
	})
}
