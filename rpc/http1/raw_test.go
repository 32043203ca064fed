package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc/http1"
	"github.com/curia-mesh/curia/rpc/memnet"
)

func server(h http.Handler) *http1.Server {
	return &http1.Server{
		Handler: h, Base: context.Background(), MaxHead: 64 << 10, HeadTime: 10 * time.Second, IdleTime: 2 * time.Minute,
		Part: 64 << 10, PartTime: 30 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

// seen is a handler that remembers what it was asked, and answers with it.
type seen struct {
	mu   sync.Mutex
	asks []string
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	ask := fmt.Sprintf("%s %s %q", r.Method, r.URL, body)
	if err != nil {
		ask += " " + err.Error()
	}
	s.mu.Lock()
	s.asks = append(s.asks, ask)
	s.mu.Unlock()
	io.WriteString(w, ask)
}

// open serves a handler on a real socket until the test ends.
func open(t *testing.T, s *http1.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }() // ends with the listener
	t.Cleanup(func() {
		l.Close()
		<-ended
		late, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		s.Shutdown(late)
	})
	return l.Addr().String()
}

// say sends text on a connection of its own and returns all that comes back until the server closes.
func say(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, text)
	conn.(*net.TCPConn).CloseWrite()
	said, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("%.80q: %v", text, err)
	}
	return string(said)
}

// statuses are those of the answers in what a server said.
func statuses(said string) (all []int) {
	in := bufio.NewReader(strings.NewReader(said))
	for {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return all
		}
		io.Copy(io.Discard, r.Body)
		all = append(all, r.StatusCode)
	}
}

// smuggled is a request that hides behind another one; it must never be seen.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

// Whatever can be read in two ways is refused, and what comes behind it is not looked at.
func TestRefused(t *testing.T) {
	handler := &seen{}
	addr := open(t, server(handler))
	post := func(fields, body string) string {
		return "POST /p HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n\r\n" + body
	}
	chunks := func(body string) string { return post("Transfer-Encoding: chunked", body) }
	for what, c := range map[string]struct {
		text   string
		status int
	}{
		"length and chunks":         {post("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 400},
		"chunks and length":         {post("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n"), 400},
		"two lengths":               {post("Content-Length: 4\r\nContent-Length: 5", "xxxx"), 400},
		"the same length twice":     {post("Content-Length: 4\r\ncontent-length: 4", "xxxx"), 400},
		"a list of lengths":         {post("Content-Length: 4, 4", "xxxx"), 400},
		"a signed length":           {post("Content-Length: +4", "xxxx"), 400},
		"a negative length":         {post("Content-Length: -4", "xxxx"), 400},
		"a length in hex":           {post("Content-Length: 0x4", "xxxx"), 400},
		"a length beyond 64 bits":   {post("Content-Length: 18446744073709551620", "xxxx"), 400},
		"an empty length":           {post("Content-Length:", ""), 400},
		"a length with a space":     {post("Content-Length: 4 4", "xxxx"), 400},
		"coding xchunked":           {post("Transfer-Encoding: xchunked", "0\r\n\r\n"), 501},
		"coding chunked twice":      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 501},
		"chunked, chunked":          {post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), 501},
		"chunked, identity":         {post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"), 501},
		"identity":                  {post("Transfer-Encoding: identity", ""), 501},
		"gzip, chunked":             {post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), 501},
		"an empty coding":           {post("Transfer-Encoding:", "0\r\n\r\n"), 501},
		"a quoted coding":           {post("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"), 501},
		"coding after VT":           {post("Transfer-Encoding: \vchunked", "0\r\n\r\n"), 400},
		"space before the colon":    {post("Transfer-Encoding : chunked", "0\r\n\r\n"), 400},
		"tab before the colon":      {post("Content-Length\t: 4", "xxxx"), 400},
		"NUL in a name":             {post("Content-Len\x00gth: 4", "xxxx"), 400},
		"NUL in a value":            {post("X: a\x00b", ""), 400},
		"a name with high bytes":    {post("X\xe9: a", ""), 400},
		"a lone CR in a value":      {post("X: a\rContent-Length: 4", "xxxx"), 400},
		"a line without a colon":    {post("X", ""), 400},
		"a nameless line":           {post(": x", ""), 400},
		"a continued line":          {post("X: a\r\n b", ""), 400},
		"a continued coding":        {post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), 501},
		"space before the first":    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		"a lone LF":                 {"GET / HTTP/1.1\nHost: a\n\n", 400},
		"a lone LF after a field":   {post("X: a\nContent-Length: 4", "xxxx"), 400},
		"a lone LF as the end":      {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
		"no host":                   {"GET / HTTP/1.1\r\n\r\n", 400},
		"two hosts":                 {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
		"a host with a slash":       {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		"a host with a space":       {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
		"two spaces":                {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"a tab for a space":         {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"a space in the target":     {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"NUL in the target":         {"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"no target":                 {"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"a relative target":         {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"a bad escape":              {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"a method that is none":     {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"HTTP/0.9":                  {"GET /\r\n\r\n", 400},
		"HTTP/2.0":                  {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		"HTTP/1.2":                  {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		"http/1.1":                  {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
		"HTTP/1.10":                 {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
		"h2c with prior knowledge":  {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		"TLS":                       {"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400},
		"two empty lines before":    {"\r\n\r\n" + smuggled, 400},
		"chunks in HTTP/1.0":        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"an unknown expectation":    {post("Expect: 200-ok", ""), 417},
		"many fields":               {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 300) + "\r\n", 431},
		"a long head":               {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 70<<10) + "\r\n\r\n", 431},
		"a long head without end":   {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 300<<10), 431},
		"a long target without end": {"GET /" + strings.Repeat("y", 100<<10), 431},
	} {
		said := say(t, addr, c.text+smuggled)
		if got := statuses(said); len(got) != 1 || got[0] != c.status || !strings.Contains(said, "\r\nConnection: close\r\n") {
			t.Errorf("%s: status %v, want %d: %.300s", what, got, c.status, said)
		}
	}
	if len(handler.asks) > 0 {
		t.Errorf("a handler was asked %q", handler.asks)
	}
	for what, body := range map[string]string{
		"no size":               "\r\n\r\n",
		"a sign":                "+1\r\nx\r\n0\r\n\r\n",
		"a prefix":              "0x1\r\nx\r\n0\r\n\r\n",
		"a size beyond 64 bits": "10000000000000001\r\nx\r\n0\r\n\r\n",
		"a lone LF":             "1\nx\r\n0\r\n\r\n",
		"a lone LF after data":  "1\r\nx\n0\r\n\r\n",
		"more than the size":    "1\r\nxy\r\n0\r\n\r\n",
		"space after the size":  "1 \r\nx\r\n0\r\n\r\n",
		"junk after the size":   "1 1\r\nx\r\n0\r\n\r\n",
		"CR in an extension":    "1;a\rb\r\nx\r\n0\r\n\r\n",
		"LF in an extension":    "1;a\nb\r\nx\r\n0\r\n\r\n",
		"long extensions":       strings.Repeat("1;"+strings.Repeat("e", 1000)+"\r\nx\r\n", 20) + "0\r\n\r\n",
		"a continued trailer":   "0\r\nX: a\r\n b\r\n\r\n",
		"a trailer, no colon":   "0\r\nX\r\n\r\n",
		"a trailer, no name":    "0\r\n: x\r\n\r\n",
		"NUL in a trailer":      "0\r\nX: \x00\r\n\r\n",
		"long trailers":         "0\r\nX: " + strings.Repeat("y", 20<<10) + "\r\n\r\n",
	} {
		handler.asks = nil
		got := statuses(say(t, addr, chunks(body)+smuggled))
		if len(got) != 1 || len(handler.asks) != 1 || !strings.HasSuffix(handler.asks[0], "malformed chunk") {
			t.Errorf("chunks with %s: status %v: %q", what, got, handler.asks)
		}
	}
}

// What is odd and clear is served.
func TestServed(t *testing.T) {
	addr := open(t, server(&seen{}))
	for what, c := range map[string]struct{ text, want string }{
		"an empty line before":      {"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", `GET /a ""`},
		"HTTP/1.0":                  {"GET /a HTTP/1.0\r\n\r\n", `GET /a ""`},
		"an absolute target":        {"GET http://b/a?c HTTP/1.1\r\nHost: a\r\n\r\n", `GET http://b/a?c ""`},
		"an escaped target":         {"GET /a%2Fb//c/../d HTTP/1.1\r\nHost: a\r\n\r\n", `GET /a%2Fb//c/../d ""`},
		"two slashes":               {"GET //a/b HTTP/1.1\r\nHost: a\r\n\r\n", `GET //a/b ""`},
		"a star":                    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", `OPTIONS * ""`},
		"CONNECT":                   {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", `CONNECT //a:80 ""`},
		"high bytes":                {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n", `GET /%C3%A9 ""`},
		"space around a value":      {"POST / HTTP/1.1\r\nHost: \t a \t\r\nContent-Length:  2\t\r\n\r\nab", `POST / "ab"`},
		"a length with zeroes":      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nab", `POST / "ab"`},
		"an empty host":             {"GET / HTTP/1.1\r\nHost:\r\n\r\n", `GET / ""`},
		"chunks":                    {"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n2;x=\"y\"\r\nab\r\n00a\r\n0123456789\r\n0\r\nX: y\r\n\r\n", `POST / "ab0123456789"`},
		"an upgrade to what is not": {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", `GET / ""`},
		"a body cut short":          {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", `POST / "ab" unexpected EOF`},
		"chunks cut short":          {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", `POST / "ab" unexpected EOF`},
	} {
		said := say(t, addr, c.text)
		if _, body, _ := strings.Cut(said, "\r\n\r\n"); body != c.want || !strings.Contains(said, " 200 OK\r\n") {
			t.Errorf("%s: %q, want %q", what, said, c.want)
		}
	}
}

// inBubble serves a handler in a bubble, which fails when a goroutine is left, and gives the test a way to dial.
func inBubble(t *testing.T, handler http.Handler, do func(t *testing.T, s *http1.Server, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(1)
		l, err := network.Host("s").Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		s := server(handler)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		do(t, s, func() net.Conn {
			conn, err := network.Host("c").Dial(t.Context(), "tcp", "s:80")
			if err != nil {
				t.Fatal(err)
			}
			return conn
		})
		l.Close()
		<-ended
		late, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		s.Shutdown(late)
	})
}

// Requests that come together are answered in their order, however they are cut.
func TestPipelines(t *testing.T) {
	const text = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHEAD /4 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /6 HTTP/1.1\r\nHost: a\r\n\r\n"
	want := []string{`GET /1 ""`, `POST /2 "abc"`, `POST /3 "abc"`, "", `GET /5 ""`}
	inBubble(t, &seen{}, func(t *testing.T, _ *http1.Server, dial func() net.Conn) {
		for size := 1; size < len(text); size += 7 {
			conn := dial()
			go func() { // ends with the text
				for at := 0; at < len(text); at += size {
					io.WriteString(conn, text[at:min(at+size, len(text))])
				}
			}()
			in := bufio.NewReader(conn)
			for i, body := range want {
				r, err := http.ReadResponse(in, &http.Request{Method: map[bool]string{true: "HEAD", false: "GET"}[i == 3]})
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(r.Body); string(got) != body || err != nil || r.Close != (i == 4) {
					t.Errorf("in parts of %d, answer %d: %q, %v", size, i, got, err)
				}
			}
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("something comes after the last answer: %v", err)
			}
			conn.Close()
		}
	})
}

// A client that waits for a word before its body gets it when the handler wants the body, and an answer without it.
func TestContinue(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusRequestEntityTooLarge)
			return
		}
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v", body, err)
	})
	inBubble(t, handler, func(t *testing.T, _ *http1.Server, dial func() net.Conn) {
		ask := func(path, version string) (net.Conn, *bufio.Reader) {
			conn := dial()
			fmt.Fprintf(conn, "PUT %s HTTP/%s\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", path, version)
			return conn, bufio.NewReader(conn)
		}
		conn, in := ask("/yes", "1.1")
		for range 2 {
			if line, err := in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%q %v", line, err)
			}
			in.ReadString('\n')
			io.WriteString(conn, "ab")
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(r.Body); string(body) != "ab <nil>" || r.Close {
				t.Errorf("%s %v", body, r.Close)
			}
			io.WriteString(conn, "PUT /yes HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n")
		}
		conn.Close()
		conn, in = ask("/no", "1.1")
		if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 413 || !r.Close {
			t.Errorf("refused: %v %v", r, err)
		}
		conn.Close()
		conn, in = ask("/yes", "1.0") // knows no such word
		io.WriteString(conn, "ab")
		if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 200 {
			t.Errorf("HTTP/1.0: %v %v", r, err)
		}
		conn.Close()
	})
}

// The context of a request ends soon when its client goes away, however it is asked for, and with the request.
func TestClientGoesAway(t *testing.T) {
	asks := map[string]func(ctx context.Context) error{
		"Done": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"Err": func(ctx context.Context) error {
			for ctx.Err() == nil {
				time.Sleep(time.Second)
			}
			return ctx.Err()
		},
		"AfterFunc": func(ctx context.Context) error {
			over := make(chan error)
			context.AfterFunc(ctx, func() { over <- ctx.Err() })
			return <-over
		},
		"a child": func(ctx context.Context) error {
			ctx, stop := context.WithTimeout(ctx, time.Hour)
			defer stop()
			<-ctx.Done()
			return ctx.Err()
		},
	}
	var kept chan context.Context
	var over chan error
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if ask := asks[r.Header.Get("Ask")]; ask != nil {
			over <- ask(r.Context())
			return
		}
		select { // others take their time
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		kept <- r.Context()
		fmt.Fprint(w, r.Context().Err())
	})
	inBubble(t, handler, func(t *testing.T, _ *http1.Server, dial func() net.Conn) {
		kept, over = make(chan context.Context, 1), make(chan error, 1) // of the bubble
		for ask := range asks {
			for _, body := range []string{"Content-Length: 0\r\n\r\n", "Content-Length: 2\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"} {
				conn := dial()
				fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: a\r\nAsk: %s\r\n%s", ask, body)
				time.Sleep(time.Minute)
				synctest.Wait()
				select {
				case err := <-over:
					t.Errorf("%s: ended before the client went: %v", ask, err)
				default:
				}
				gone := time.Now()
				conn.Close()
				if err := <-over; !errors.Is(err, context.Canceled) || time.Since(gone) > 2*time.Second {
					t.Errorf("%s: %v after %v", ask, err, time.Since(gone))
				}
			}
		}
		// Who stays is not taken for gone, also where the next request is there already, which is not lost.
		conn := dial()
		in := bufio.NewReader(conn)
		const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		io.WriteString(conn, request)
		time.Sleep(time.Second)
		io.WriteString(conn, request+request)
		for range 3 {
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(r.Body); string(body) != "<nil>" || err != nil {
				t.Errorf("%s, %v", body, err)
			}
			synctest.Wait()
			if ctx := <-kept; ctx.Err() == nil {
				t.Error("the context outlives its request")
			}
		}
		conn.Close()
	})
}

// Answers say how long they are, or come in chunks, as the handler writes them and the client can take it.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	for what, c := range map[string]struct {
		handle func(w http.ResponseWriter)
		want   string // the head without the date, and the body if it is short
		length int    // of the body
		old    string // the same for HTTP/1.0, where it differs
	}{
		"nothing": {func(http.ResponseWriter) {}, "200 Content-Length: 0|", 0, ""},
		"short":   {func(w http.ResponseWriter) { io.WriteString(w, "<html>") }, "200 Content-Length: 6|Content-Type: text/html; charset=utf-8|", 6, ""},
		"a kind": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "a/b")
			w.WriteHeader(201)
			io.WriteString(w, "x")
			io.WriteString(w, "y")
		}, "201 Content-Length: 2|Content-Type: a/b|", 2, ""},
		"no kind":  {func(w http.ResponseWriter) { w.Header()["Content-Type"] = nil; io.WriteString(w, "x") }, "200 Content-Length: 1|", 1, ""},
		"declared": {func(w http.ResponseWriter) { w.Header().Set("Content-Length", "200000"); io.WriteString(w, long) }, "200 Content-Length: 200000|Content-Type: text/plain; charset=utf-8|", 200000, ""},
		"long": {func(w http.ResponseWriter) { io.WriteString(w, long) }, "200 Content-Type: text/plain; charset=utf-8|Transfer-Encoding: chunked|", 200000,
			"200 Connection: close|Content-Type: text/plain; charset=utf-8|"},
		"in pieces": {func(w http.ResponseWriter) {
			for i := range 2000 {
				io.WriteString(w, long[i*100:i*100+100])
			}
		}, "200 Content-Type: text/plain; charset=utf-8|Transfer-Encoding: chunked|", 200000, "200 Connection: close|Content-Type: text/plain; charset=utf-8|"},
		"flushed": {func(w http.ResponseWriter) { io.WriteString(w, "x"); w.(http.Flusher).Flush(); io.WriteString(w, "y") },
			"200 Content-Type: text/plain; charset=utf-8|Transfer-Encoding: chunked|", 2, "200 Connection: close|Content-Type: text/plain; charset=utf-8|"},
		"204":     {func(w http.ResponseWriter) { w.WriteHeader(204); io.WriteString(w, "x") }, "204 ", 0, ""},
		"304":     {func(w http.ResponseWriter) { w.Header().Set("Etag", "e"); w.WriteHeader(304) }, "304 Etag: e|", 0, ""},
		"a split": {func(w http.ResponseWriter) { w.Header().Set("X", "a\r\nY: b"); w.Header().Set("Z\r\n", "c") }, "200 Content-Length: 0|X: a  Y: b|", 0, ""},
		"closing": {func(w http.ResponseWriter) { w.Header().Set("Connection", "close") }, "200 Connection: close|Content-Length: 0|", 0, ""},
		"too long": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1")
			if _, err := io.WriteString(w, "xy"); err != http.ErrContentLength {
				panic(err)
			}
			io.WriteString(w, "x")
		}, "200 Content-Length: 1|Content-Type: text/plain; charset=utf-8|", 1, ""},
	} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.handle(w) }), func(t *testing.T, _ *http1.Server, dial func() net.Conn) {
				for _, how := range []string{"GET 1.1", "GET 1.0", "HEAD 1.1"} {
					method, version, _ := strings.Cut(how, " ")
					conn := dial()
					in := bufio.NewReader(conn)
					for range 2 {
						fmt.Fprintf(conn, "%s / HTTP/%s\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", method, version)
						r, err := http.ReadResponse(in, &http.Request{Method: method})
						if err != nil {
							t.Fatal(how, err)
						}
						body, err := io.ReadAll(r.Body)
						want, length := c.want, c.length
						if version == "1.0" && c.old != "" {
							want = c.old
						}
						if method == "HEAD" {
							length = 0
							if what == "nothing" || what == "a split" || what == "closing" {
								want = strings.Replace(want, "Content-Length: 0|", "", 1)
							}
						}
						if got := heading(r); got != want || err != nil || len(body) != length || r.Proto != "HTTP/"+version {
							t.Errorf("%s: %s, want %s; %d bytes of body, want %d: %v", how, got, want, len(body), length, err)
						}
						if r.Close {
							if _, err := in.ReadByte(); err != io.EOF {
								t.Error("the connection stays:", err)
							}
							break
						}
					}
					conn.Close()
				}
			})
		})
	}
}

// heading is the head of an answer in one line, without what every one has.
func heading(r *http.Response) string {
	if r.Header.Get("Date") == "" {
		return "no date"
	}
	if len(r.TransferEncoding) > 0 {
		r.Header.Set("Transfer-Encoding", strings.Join(r.TransferEncoding, ","))
	}
	if r.Header.Get("Connection") == "keep-alive" {
		r.Header.Del("Connection")
	}
	if r.Close {
		r.Header.Set("Connection", "close")
	}
	r.Header.Del("Date")
	var b strings.Builder
	r.Header.Write(&b)
	return fmt.Sprint(r.StatusCode, " ", strings.ReplaceAll(b.String(), "\r\n", "|"))
}

// A handler that panics ends its connection, and only that.
func TestPanics(t *testing.T) {
	over := make(chan context.Context, 1)
	addr := open(t, server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			over <- r.Context()
			io.WriteString(w, "half")
			panic("for a test")
		}
		io.WriteString(w, "whole")
	})))
	if said := say(t, addr, "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n"+smuggled); said != "" {
		t.Errorf("answered %q", said)
	}
	if ctx := <-over; ctx.Err() == nil {
		t.Error("the context outlives its request")
	}
	if said := say(t, addr, smuggled); !strings.HasSuffix(said, "whole") {
		t.Errorf("answered %q", said)
	}
}

// An ending server closes idle connections at once, lets answers under way finish, and cuts off those that take longer
// than it may wait; their contexts end.
func TestShutdown(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/soon":
			time.Sleep(500 * time.Millisecond)
		case "/never":
			<-r.Context().Done()
		}
		fmt.Fprint(w, r.URL.Path)
	})
	inBubble(t, handler, func(t *testing.T, s *http1.Server, dial func() net.Conn) {
		ends := map[string]time.Duration{"": 0, "/idle": 0, "/soon": 500 * time.Millisecond, "/never": time.Second}
		var wait sync.WaitGroup
		start := make(chan time.Time, len(ends))
		for path, want := range ends {
			conn := dial()
			in := bufio.NewReader(conn)
			if path != "" {
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
			}
			if path == "/idle" {
				if _, err := http.ReadResponse(in, nil); err != nil {
					t.Fatal(err)
				}
				in.Discard(len(path))
			}
			wait.Go(func() {
				said, _ := io.ReadAll(in)
				if took := time.Since(<-start); took.Round(100*time.Millisecond) != want {
					t.Errorf("%s: ended after %v, want %v", path, took, want)
				}
				if want := path == "/soon"; strings.Contains(string(said), "Connection: close") != want {
					t.Errorf("%s: %q", path, said)
				}
				conn.Close()
			})
		}
		synctest.Wait()
		for range ends {
			start <- time.Now()
		}
		late, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		s.Shutdown(late)
		wait.Wait()
	})
}

// A connection that is taken is its taker's, who gives it back with what was read meanwhile. What it writes at once is
// what the client has room for.
func TestTake(t *testing.T) {
	type given struct {
		conn  *http1.Conn
		ahead []byte
		r     *http.Request
	}
	got := make(chan given, 1)
	addr := open(t, server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/take" {
			fmt.Fprint(w, r.URL.Path)
			return
		}
		if _, _, err := http1.Take(struct{ http.ResponseWriter }{w}); err == nil {
			t.Error("took what is hidden")
		}
		conn, ahead, err := http1.Take(w)
		if err != nil {
			t.Error(err)
		}
		if _, err := w.Write([]byte("x")); err == nil {
			t.Error("wrote what is taken")
		}
		got <- given{conn, ahead, r}
	})))
	for round := range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		in := bufio.NewReader(conn)
		io.WriteString(conn, "GET /before HTTP/1.1\r\nHost: a\r\n\r\nGET /take HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n")
		read := func(want string) {
			t.Helper()
			r, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(r.Body); string(body) != want || err != nil {
				t.Errorf("%.20q, want %q: %v", body, want, err)
			}
		}
		read("/before")
		g := <-got
		if g.r.URL.Path != "/take" || g.r.Header.Get("X") != "y" {
			t.Errorf("the request became %v", g.r)
		}
		answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nparts")
		if round == 1 { // more than fits
			answer = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 64<<20, strings.Repeat("x", 64<<20))
		}
		n, err := g.conn.WriteNow(answer)
		if err != nil || (n == len(answer)) == (round == 1) {
			t.Errorf("round %d: wrote %d of %d: %v", round, n, len(answer), err)
		}
		go func() { // ends with the answer and the connection
			g.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
			g.conn.Write(answer[n:])
			g.conn.Serve(g.ahead)
		}()
		_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
		read(body)
		read("/after")
		conn.Close()
	}
}
