package wire_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// response is what there is to say about a response and its body.
type response struct {
	status, minor int
	body          string
	trailers      int
	failed        bool
}

// readResponse reads the first response in text, and reports whether it is one, and where it ends.
func readResponse(text []byte, headOnly bool) (got response, length int64, ok bool) {
	var e wire.End
	n, err := e.Find(text)
	if err != nil || n == 0 {
		return got, 0, false
	}
	var h wire.Head
	if h.ParseResponse(text[:n], headOnly) != nil {
		return got, 0, false
	}
	got, rest := response{status: h.Status, minor: h.Minor}, text[n:]
	switch h.Length {
	case wire.UntilClose:
		got.body = string(rest)
	case wire.Chunked:
		got.body, got.trailers, got.failed = chunked(rest)
	default:
		got.body = string(rest[:min(h.Length, int64(len(rest)))])
		got.failed = h.Length > int64(len(rest))
	}
	return got, h.Length, true
}

// chunked is a body in chunks, how many bytes of trailers it has, and whether it is damaged.
func chunked(b []byte) (body string, trailers int, failed bool) {
	var c wire.Chunks
	c.Begin(true)
	for !c.Ended() {
		if c.InData() {
			n := int(min(c.Left, int64(len(b))))
			body, b = body+string(b[:n]), b[n:]
			if n == 0 {
				return body, 0, true
			}
			c.Data(n)
			continue
		}
		n, err := c.Next(b)
		if b = b[n:]; err != nil || n == 0 && len(b) == 0 {
			return body, 0, true
		}
	}
	return body, len(c.Trailers), false
}

func TestResponses(t *testing.T) {
	for text, want := range map[string]struct {
		length int64
		close  bool
	}{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n":                           {3, false},
		"HTTP/1.1 200\r\nContent-Length: 3\r\nConnection: close\r\n\r\n":         {3, true},
		"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n":                    {wire.Chunked, false},
		"HTTP/1.1 200 OK\r\n\r\n":                                                {wire.UntilClose, true},
		"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n":                           {3, true},
		"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: Keep-Alive\r\n\r\n": {3, false},
		"HTTP/1.1 204 No Content\r\n\r\n":                                        {0, false},
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n":                   {0, false},
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n":                   {0, true},
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n":                 {0, false},
		"HTTP/1.1 100 Continue\r\n\r\n":                                          {0, false},
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n":        {0, false},
	} {
		var h wire.Head
		if err := h.ParseResponse([]byte(text), false); err != nil || h.Length != want.length || h.Close != want.close {
			t.Errorf("%q: length %d, close %v, %v, want %+v", text, h.Length, h.Close, err, want)
		}
	}
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", // traps 1 and 5
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 200 O\x00K\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\n X: y\r\n\r\n", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r z\r\n\r\n", // trap 4
	} {
		var h wire.Head
		if err := h.ParseResponse([]byte(text), false); err == nil {
			t.Errorf("%q: taken for %+v", text, h)
		}
	}
}

func TestTrailersAreKept(t *testing.T) {
	var c wire.Chunks
	c.Begin(true)
	text := "0\r\nGrpc-Status: 0\r\nX:\r\n\r\n"
	if n, err := c.Next([]byte(text + "more")); n != len(text) || err != nil || !c.Ended() {
		t.Fatal(n, err, c.Ended())
	}
	if got := string(c.Trailers); got != "Grpc-Status: 0\r\nX:\r\n" {
		t.Errorf("trailers %q", got)
	}
}

// FuzzResponses holds that whatever is taken for a response here is one for package http, with the same body.
func FuzzResponses(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\nHTTP/1.1",
		"HTTP/1.0 404 \r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 204\r\n\r\nx", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nuntil close",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, headOnly bool) {
		got, length, ok := readResponse(text, headOnly)
		if !ok {
			return
		}
		method := http.MethodGet
		if headOnly {
			method = http.MethodHead
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q is %+v, and none for package http: %v", text, got, err)
		}
		body, err := io.ReadAll(r.Body)
		if got.status == http.StatusSwitchingProtocols {
			body = nil // package http gives what follows to whoever upgrades
			got.body = ""
		}
		if r.StatusCode != got.status || r.ProtoMinor != got.minor {
			t.Fatalf("%q is %+v, for package http %+v", text, got, r)
		}
		if got.failed {
			return // refusing more is no difference
		}
		if err != nil && len(r.Header["Trailer"]) == 0 && got.trailers == 0 {
			t.Fatalf("%q has the body %q, and none for package http: %v", text, got.body, err)
		}
		if err == nil && string(body) != got.body {
			t.Fatalf("%q has the body %q, for package http %q", text, got.body, body)
		}
		if chunked := slices.Contains(r.TransferEncoding, "chunked"); length == wire.Chunked && !chunked {
			t.Fatalf("%q is in chunks, and not for package http", text)
		}
	})
}

// Eight bytes at a time tell the same as one at a time.
func TestIsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(rapid.StringMatching(`[ -~\t\x80-\xff]{0,40}`).Draw(t, "text"))
		for range rapid.IntRange(0, 2).Draw(t, "others") {
			at := rapid.IntRange(0, len(b)).Draw(t, "at")
			b = slices.Insert(b, at, rapid.Byte().Draw(t, "byte"))
		}
		if got, want := wire.IsText(b), wire.Text.All(b); got != want {
			t.Fatalf("IsText(%q) is %t, not %t", b, got, want)
		}
	})
	for c := range 256 {
		for at := range 8 {
			b := []byte("a\tb\xff~ !_")
			b[at] = byte(c)
			if got, want := wire.IsText(b), wire.Text.All(b); got != want {
				t.Fatalf("IsText(%q) is %t, not %t", b, got, want)
			}
		}
	}
}
