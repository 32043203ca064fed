package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// Trap 10: what says how a message goes on, or who sent it, is no trailer.
func TestTrailers(t *testing.T) {
	in := "X-Sum: 1\r\nContent-Length: 3\r\nGrpc-Status: 0\r\ntransfer-encoding: chunked\r\nHost: a\r\nAuthorization: b\r\nX-Forwarded-Client-Cert: c\r\nset-cookie: d\r\nGrpc-Message:\r\n"
	if got := string(trailersOf([]byte(in))); got != "X-Sum: 1\r\nGrpc-Status: 0\r\nGrpc-Message:\r\n" {
		t.Errorf("%q", got)
	}
}

// hops are fields that a request has for one hop only, unless the proxy says so itself.
var hops = []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Http2-Settings", "X-Forwarded-Client-Cert"}

// FuzzRequest holds that whatever request is passed on is one for package http, with one framing that is the proxy's own,
// a path in canonical form and nothing in it that was for this hop only.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /a/../b?c HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\nX-A: b\r\nX-B: c\r\n\r\n",
		"POST http://b/%7e HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n",
		"PUT / HTTP/1.0\r\nContent-Length: 0\r\nX-Forwarded-For: 1.2.3.4\r\nKeep-Alive: 1\r\n\r\n",
		"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket\r\nHTTP2-Settings: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x, Content-Length\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nConnection: host, content-length, x-forwarded-for\r\n\r\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	none := &leg{}
	f.Fuzz(func(t *testing.T, text []byte, trust bool) {
		var e wire.End
		n, err := e.Find(text)
		if n == 0 || err != nil {
			return
		}
		var h wire.Head
		if h.Parse(text[:n]) != nil {
			return
		}
		conf := &Listener{TrustForwarded: trust}
		x := exchange{client: &client{remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}}
		x.client.describe()
		x.head, x.text, x.edits, x.route = &h, text[:n], &none.request, &route{}
		if x.prepare(conf) != nil || x.rewrite(conf) != nil {
			return
		}
		x.length = h.Length
		out := x.request.append(nil)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(slices.Clone(out), "0\r\n\r\n"...))))
		if err != nil {
			t.Fatalf("%q is passed on as %q: %v", text, out, err)
		}
		if r.ContentLength != h.Length || strings.Count(string(bytes.ToLower(out)), "\r\ncontent-length:")+strings.Count(string(bytes.ToLower(out)), "\r\ntransfer-encoding:") > 1 {
			t.Fatalf("%q is passed on as %q, with the length %d, want %d", text, out, r.ContentLength, h.Length)
		}
		if r.Method != view(h.Method.Of(text)) || !r.ProtoAtLeast(1, 1) {
			t.Fatalf("%q is passed on as %q", text, out)
		}
		for _, name := range hops {
			if r.Header.Get(name) != "" {
				t.Fatalf("%q is passed on as %q, with %s", text, out, name)
			}
		}
		if !trust && (len(r.Header["X-Forwarded-For"]) != 1 || r.Header.Get("X-Forwarded-For") != "192.0.2.1" || r.Header["Forwarded"] != nil) {
			t.Fatalf("%q is passed on as %q", text, out)
		}
		if up := r.Header.Get("Upgrade"); up != "" && !strings.EqualFold(up, "websocket") {
			t.Fatalf("%q is passed on as %q", text, out)
		}
		if r.RequestURI != "*" {
			again, err := conf.Paths.Path(nil, []byte(strings.SplitN(r.RequestURI, "?", 2)[0]))
			if err != nil || !strings.HasPrefix(r.RequestURI, string(again)) {
				t.Fatalf("%q is passed on as %q", text, out)
			}
		}
	})
}

// pieces is a connection that says a text in pieces.
type pieces struct {
	net.Conn
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// FuzzRecords holds that a connection under TLS hands over all bytes, and none of two records at once.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x17\x03\x03\x00\x05hello\x17\x03\x03\x00\x00\x17\x03\x03\x00\x01x"), uint8(3), uint8(4))
	f.Fuzz(func(t *testing.T, text []byte, piece, room uint8) {
		c := newRecords(&pieces{rest: text, size: int(piece) + 1})
		b := make([]byte, int(room)+1)
		var got []byte
		bounds := map[int]bool{}
		for at := 0; at+recordHeader <= len(text); {
			at += recordHeader + int(text[at+3])<<8 + int(text[at+4])
			bounds[at] = true
		}
		for {
			n, err := c.Read(b)
			for i := len(got) + 1; i < len(got)+n; i++ {
				if bounds[i] {
					t.Fatalf("%d bytes at %d go beyond the record that ends at %d", n, len(got), i)
				}
			}
			got = append(got, b[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, text) || c.buf != nil {
			t.Fatalf("got %q of %q", got, text)
		}
	})
}
