package http1_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"reflect"
	"testing"
	"time"
)

// replay is a connection whose client has said everything.
type replay struct {
	in    *bytes.Reader
	ended chan struct{}
	net.Conn
}

func (r *replay) Read(b []byte) (int, error)       { return r.in.Read(b[:min(len(b), 700)]) }
func (r *replay) Write(b []byte) (int, error)      { return len(b), nil }
func (r *replay) Close() error                     { close(r.ended); return nil }
func (r *replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }

// one is a listener with one connection.
type one struct {
	conn net.Conn
	net.Listener
}

func (o *one) Accept() (conn net.Conn, err error) {
	if conn, o.conn = o.conn, nil; conn == nil {
		return nil, net.ErrClosed
	}
	return conn, nil
}

// ask is what there is to say about a request.
type ask struct {
	Method, Target, URL, Host string
	Length                    int64
	Coding                    []string
	Close                     bool
	Header                    http.Header
	Body                      string
	Failed                    bool
}

func askOf(r *http.Request) ask {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	return ask{r.Method, r.RequestURI, r.URL.String(), r.Host, r.ContentLength, r.TransferEncoding, r.Close, r.Header.Clone(), string(body), err != nil}
}

// FuzzRequests holds that whatever is taken for a request here is the same one for package http, which many others
// read as: method, target, header, where the body ends and with it where the next request begins. Refusing more is
// no difference.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		smuggled + smuggled,
		"POST /a?b=%20c HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\nX-Y: z\r\nx-y: w\r\n\r\nabc" + smuggled,
		"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n" + smuggled,
		"GET http://b/%2F HTTP/1.0\r\nConnection: keep-alive, x\r\nPragma: no-cache\r\n\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nhost:\t[::1]:80 \r\nCookie: a\r\nCookie: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got []ask
		s := server(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, askOf(r)) }))
		conn := &replay{in: bytes.NewReader(text), ended: make(chan struct{})}
		s.Serve(&one{conn: conn})
		<-conn.ended
		in := bufio.NewReader(bytes.NewReader(text))
		for i, g := range got {
			if empty, _ := in.Peek(2); string(empty) == "\r\n" {
				in.Discard(2)
			}
			if len(g.Header["Trailer"]) > 0 {
				return // package http knows what it says
			}
			r, err := http.ReadRequest(in)
			if err != nil {
				t.Fatalf("request %d is %+v, and none for package http: %v", i, g, err)
			}
			if g.Failed {
				return // a body that is refused ends the connection
			}
			if want := askOf(r); !reflect.DeepEqual(g, want) {
				t.Fatalf("request %d is\n%+v, for package http\n%+v", i, g, want)
			}
		}
	})
}
