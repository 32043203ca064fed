package http2_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/curia-mesh/curia/rpc/http2"
)

// peer is a client that writes frames as it likes.
type peer struct {
	net.Conn
	enc *hpack.Encoder
	buf bytes.Buffer
}

// rude connects and says what a client says first.
func rude(t testing.TB, addr string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	p := &peer{Conn: c}
	p.enc = hpack.NewEncoder(&p.buf)
	io.WriteString(c, http2.Preface)
	p.send(4, 0, 0, nil)
	return p
}

// send writes a frame. It reports whether the connection took it.
func (p *peer) send(kind, flags byte, stream uint32, payload []byte) bool {
	h := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(h[5:], stream)
	_, err := p.Write(append(h, payload...))
	return err == nil
}

func (p *peer) block(fields ...string) []byte {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(p.buf.Bytes())
}

var plain = []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"}

// request begins a stream.
func (p *peer) request(stream uint32, ends bool, more ...string) bool {
	flags := byte(4)
	if ends {
		flags |= 1
	}
	return p.send(1, flags, stream, p.block(append(append([]string{}, plain...), more...)...))
}

// frame is one that came.
type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func (p *peer) read() (frame, error) {
	var h [9]byte
	if _, err := io.ReadFull(p, h[:]); err != nil {
		return frame{}, err
	}
	b := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
	_, err := io.ReadFull(p, b)
	return frame{h[3], h[4], binary.BigEndian.Uint32(h[5:]), b}, err
}

// until reads frames until one is of a kind, and returns it.
func (p *peer) until(t testing.TB, kind byte) frame {
	t.Helper()
	for {
		f, err := p.read()
		if err != nil {
			t.Fatalf("no frame of kind %d came: %v", kind, err)
		}
		if f.kind == kind {
			return f
		}
	}
}

// goAway reads until the connection is given up, and returns why, -1 without a reason.
func (p *peer) goAway() int {
	code := -1
	for {
		f, err := p.read()
		if err != nil {
			return code
		}
		if f.kind == 7 {
			code = int(binary.BigEndian.Uint32(f.payload[4:]))
		}
	}
}

// Trap 14, A26 and A27: who makes work that leads to nothing is told to calm down, and takes no memory.
func TestAttacks(t *testing.T) {
	const most = 100000
	release := make(chan struct{})
	addr := serving(t, http2.Options{Serve: func(s *http2.Stream) {
		s.Head(time.Time{})
		<-release
	}})
	t.Cleanup(func() { close(release) })
	for name, send := range map[string]func(p *peer, i int) bool{
		"rapid reset": func(p *peer, i int) bool {
			id := uint32(2*i + 1)
			return p.request(id, true) && p.send(3, 0, id, []byte{0, 0, 0, 8})
		},
		"made you reset": func(p *peer, i int) bool {
			id := uint32(2*i + 1)
			return p.request(id, true) && p.send(8, 0, id, []byte{0, 0, 0, 0})
		},
		"refused streams": func(p *peer, i int) bool { return p.request(uint32(2*i+1), true) },
		"malformed":       func(p *peer, i int) bool { return p.request(uint32(2*i+1), true, "Upper", "x") },
		"pings":           func(p *peer, _ int) bool { return p.send(6, 0, 0, make([]byte, 8)) },
		"settings":        func(p *peer, _ int) bool { return p.send(4, 0, 0, []byte{0, 4, 0, 1, 0, 0}) },
		"priorities":      func(p *peer, _ int) bool { return p.send(2, 0, 1, make([]byte, 5)) },
		"unknown frames":  func(p *peer, _ int) bool { return p.send(99, 0, 0, nil) },
		"windows":         func(p *peer, _ int) bool { return p.send(8, 0, 1, []byte{0, 0, 0, 1}) },
		"empty data": func(p *peer, i int) bool {
			return (i > 0 || p.request(1, false)) && p.send(0, 0, 1, nil)
		},
		"continuations": func(p *peer, i int) bool {
			if i == 0 {
				return p.send(1, 0, 1, p.block(plain...))
			}
			return p.send(9, 0, 1, nil)
		},
		"endless head": func(p *peer, i int) bool {
			if i == 0 {
				return p.send(1, 0, 1, p.block(plain...))
			}
			return p.send(9, 0, 1, p.block("x", strings.Repeat("y", 4000)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := rude(t, addr)
			if name == "windows" || name == "priorities" {
				p.request(1, false)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var sent atomic.Int64
			ended := make(chan struct{})
			go func() { // ends with the connection
				defer close(ended)
				for i := 0; i < most && send(p, i); i++ {
					sent.Add(1)
				}
			}()
			code := p.goAway()
			p.Close()
			<-ended
			runtime.ReadMemStats(&after)
			if code != int(http2.EnhanceYourCalm) {
				t.Errorf("code %d after %d", code, sent.Load())
			}
			if more := int64(after.HeapInuse) - int64(before.HeapInuse); more > 32<<20 {
				t.Errorf("%d MB more in use", more>>20)
			}
		})
	}
}

// Trap 14: a small block that says much is not kept, and the table is right after it.
func TestBomb(t *testing.T) {
	addr := serving(t, http2.Options{MaxHead: 8 << 10, Serve: func(s *http2.Stream) {
		s.Head(time.Time{})
		status := "200"
		if s.TooLarge() {
			status = "431"
		}
		s.Send(&message{[][2]string{{":status", status}}, ""}, nil, true, true)
	}})
	p := rude(t, addr)
	dec := hpack.NewDecoder(4096, nil)
	status := func() string {
		all, err := dec.DecodeFull(p.until(t, 1).payload)
		if err != nil {
			t.Fatal(err)
		}
		return all[0].Value
	}
	p.request(1, true, "big", strings.Repeat("x", 3000))
	if got := status(); got != "200" {
		t.Errorf("one field: %s", got)
	}
	var many []string
	for range 200 {
		many = append(many, "big", strings.Repeat("x", 3000))
	}
	p.request(3, true, many...)
	if got := status(); got != "431" {
		t.Errorf("two hundred fields: %s", got)
	}
	p.request(5, true, "big", strings.Repeat("x", 3000))
	if got := status(); got != "200" {
		t.Errorf("after it: %s", got)
	}
}

// Trap 15: what is no message of HTTP/1.1 resets its stream, and nobody sees it.
func TestMalformed(t *testing.T) {
	var seen atomic.Int64
	addr := serving(t, http2.Options{Serve: func(s *http2.Stream) {
		if _, err := s.Head(time.Time{}); err == nil {
			seen.Add(1)
		}
	}})
	with := func(more ...string) []string { return append(append([]string{}, plain...), more...) }
	for name, fields := range map[string][]string{
		"CR in a value":            with("x", "a\rb"),
		"LF in a value":            with("x", "a\nb"),
		"NUL in a value":           with("x", "a\x00b"),
		"space before a value":     with("x", " a"),
		"space behind a value":     with("x", "a "),
		"upper case":               with("X-A", "b"),
		"space in a name":          with("x a", "b"),
		"colon in a name":          with("x:a", "b"),
		"empty name":               with("", "b"),
		"Connection":               with("connection", "close"),
		"Keep-Alive":               with("keep-alive", "x"),
		"Proxy-Connection":         with("proxy-connection", "x"),
		"Transfer-Encoding":        with("transfer-encoding", "chunked"),
		"Upgrade":                  with("upgrade", "websocket"),
		"TE: gzip":                 with("te", "trailers, gzip"),
		"another Host":             with("host", "b"),
		"two Hosts":                with("host", "a", "host", "a"),
		"two lengths":              with("content-length", "0", "content-length", "0"),
		"length +5":                with("content-length", "+5"),
		"length without body":      with("content-length", "5"),
		"pseudo behind":            with(":path", "/x"),
		"two paths":                {":method", "GET", ":scheme", "http", ":path", "/", ":path", "/", ":authority", "a"},
		"no path":                  {":method", "GET", ":scheme", "http", ":authority", "a"},
		"empty path":               {":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"},
		"relative path":            {":method", "GET", ":scheme", "http", ":path", "x", ":authority", "a"},
		"star and GET":             {":method", "GET", ":scheme", "http", ":path", "*", ":authority", "a"},
		"no method":                {":scheme", "http", ":path", "/", ":authority", "a"},
		"status":                   {":status", "200", ":method", "GET", ":scheme", "http", ":path", "/"},
		"unknown pseudo":           {":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a", ":x", "y"},
		"CONNECT with a path":      {":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "a:1"},
		"protocol without CONNECT": {":method", "GET", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "a"},
	} {
		p := rude(t, addr)
		p.send(1, 5, 1, p.block(fields...))
		if f := p.until(t, 3); binary.BigEndian.Uint32(f.payload) != uint32(http2.ProtocolError) {
			t.Errorf("%s: code %d", name, binary.BigEndian.Uint32(f.payload))
		}
		p.Close()
	}
	if n := seen.Load(); n > 0 {
		t.Errorf("%d were seen", n)
	}
	for name, path := range map[string]string{"a space": "/a b", "a line": "/a\r\nb: c", "a tab": "/a\tb"} {
		p := rude(t, addr)
		p.send(1, 5, 1, p.block(":method", "GET", ":scheme", "http", ":path", path, ":authority", "a"))
		if f := p.until(t, 3); f.stream != 1 {
			t.Errorf("a path with %s: %v", name, f)
		}
		p.Close()
	}
}

// What comes of a stream behind its end is answered, though who serves it has not returned yet.
func TestBehindEnd(t *testing.T) {
	hold := make(chan struct{})
	addr := serving(t, http2.Options{Serve: func(s *http2.Stream) {
		if _, err := s.Head(time.Time{}); err != nil {
			return
		}
		s.Send(&message{[][2]string{{":status", "204"}}, ""}, nil, true, true)
		<-hold
	}})
	t.Cleanup(func() { close(hold) })
	begin := func() *peer {
		p := rude(t, addr)
		p.request(1, true)
		if f := p.until(t, 1); f.flags&1 == 0 {
			t.Fatal("the answer has not ended")
		}
		return p
	}
	p := begin()
	p.send(0, 1, 1, []byte("test"))
	if f := p.until(t, 3); f.stream != 1 || binary.BigEndian.Uint32(f.payload) != uint32(http2.StreamClosed) {
		t.Errorf("DATA: %v", f)
	}
	p = begin()
	p.request(1, true)
	if code := p.goAway(); code != int(http2.StreamClosed) {
		t.Errorf("HEADERS: code %d", code)
	}
}

// Trap 15: a body is as long as its head says.
func TestLengths(t *testing.T) {
	addr := serving(t, http2.Options{Serve: echo})
	for name, send := range map[string]func(p *peer){
		"longer":        func(p *peer) { p.send(0, 1, 1, []byte("123456")) },
		"shorter":       func(p *peer) { p.send(0, 1, 1, []byte("1234")) },
		"with trailers": func(p *peer) { p.send(0, 0, 1, []byte("12")); p.send(1, 5, 1, p.block("x", "y")) },
	} {
		p := rude(t, addr)
		p.request(1, false, "content-length", "5")
		send(p)
		if f := p.until(t, 3); binary.BigEndian.Uint32(f.payload) != uint32(http2.ProtocolError) {
			t.Errorf("%s: code %d", name, binary.BigEndian.Uint32(f.payload))
		}
		p.Close()
	}
}

// Trap 16: crumbs of cookies are one again; other fields that repeat, and empty ones, stay as they are.
func TestFields(t *testing.T) {
	got := make(chan string, 1)
	addr := serving(t, http2.Options{Serve: func(s *http2.Stream) {
		text, err := s.Head(time.Time{})
		if err == nil {
			got <- string(text)
		}
	}})
	p := rude(t, addr)
	p.request(1, true, "cookie", "a=b", "x", "1", "cookie", "c=d", "y", "", "x", "2")
	want := "GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\ny: \r\nx: 2\r\ncookie: a=b; c=d\r\n"
	if head := <-got; !strings.HasPrefix(head, want) {
		t.Errorf("%q", head)
	}
}

// A stream that nobody reads holds up its sender after one window, and no other stream.
func TestBackPressure(t *testing.T) {
	var sent atomic.Int64
	failed := make(chan error, 1)
	addr := serving(t, http2.Options{Patience: time.Second, Serve: func(s *http2.Stream) {
		text, err := s.Head(time.Time{})
		if err != nil {
			return
		}
		s.Send(&message{[][2]string{{":status", "200"}}, ""}, nil, false, true)
		part := make([]byte, 10000)
		if strings.HasPrefix(string(text), "GET /stall") {
			for {
				if err := s.Body(part, false, true); err != nil {
					failed <- err
					return
				}
				sent.Add(int64(len(part)))
			}
		}
		for range 300 {
			if s.Body(part, false, true) != nil {
				return
			}
		}
		s.End(nil)
	}})
	c := client(t, addr)
	stalled, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Release()
	stalled.Send(get("/stall"), nil, true, true)
	if _, err := stalled.Head(time.Time{}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, body, _, err := exchange(c, get("/go"), nil); err != nil || len(body) != 3000000 {
			t.Errorf("beside it: %d bytes, %v", len(body), err)
		}
	}
	if err := <-failed; err == nil {
		t.Error("nobody read, and nothing came of it")
	}
	if n := sent.Load(); n > 256<<10 {
		t.Errorf("%d bytes were taken", n)
	}
}

// Trap 22: who drains tells of it twice; what came before the second time is served, and later ones know that they were not.
func TestDrain(t *testing.T) {
	conns := make(chan *http2.Conn, 1)
	begun, release := make(chan struct{}, 10), make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{})
	go func() { // ends with the connection
		defer close(ended)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		c := http2.New(raw, nil, http2.Options{Serve: func(s *http2.Stream) {
			s.Head(time.Time{})
			begun <- struct{}{}
			<-release
			s.Send(&message{[][2]string{{":status", "200"}}, ""}, []byte("good"), true, true)
		}})
		conns <- c
		c.Run()
	}()
	p := rude(t, l.Addr().String())
	p.request(1, true)
	<-begun
	(<-conns).Drain()
	if f := p.until(t, 7); binary.BigEndian.Uint32(f.payload) != 1<<31-1 {
		t.Errorf("first: last stream %d", binary.BigEndian.Uint32(f.payload))
	}
	ping := p.until(t, 6)
	p.request(3, true) // on its way when the first was read
	<-begun
	p.send(6, 1, 0, ping.payload)
	if f := p.until(t, 7); binary.BigEndian.Uint32(f.payload) != 3 {
		t.Errorf("second: last stream %d", binary.BigEndian.Uint32(f.payload))
	}
	p.request(5, true)
	close(release)
	answers := map[uint32]string{}
	for {
		f, err := p.read()
		if err != nil {
			break
		}
		if f.kind == 0 {
			answers[f.stream] += string(f.payload)
		}
	}
	if len(answers) != 2 || answers[1] != "good" || answers[3] != "good" {
		t.Errorf("answers %v", answers)
	}
	<-ended
}

// A client knows which exchanges a server that goes away has not looked at.
func TestGoAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the connection
		raw, err := l.Accept()
		if err != nil {
			return
		}
		p := &peer{Conn: raw}
		io.ReadFull(raw, make([]byte, len(http2.Preface)))
		p.send(4, 0, 0, nil)
		for n := 0; n < 2; {
			f, err := p.read()
			if err != nil {
				return
			}
			if f.kind == 1 {
				n++
			}
		}
		p.send(7, 0, 0, []byte{0, 0, 0, 1, 0, 0, 0, 0})
		for {
			if _, err := p.read(); err != nil {
				return
			}
		}
	}()
	c := client(t, l.Addr().String())
	var all []*http2.Stream
	for range 2 {
		s, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Release()
		s.Send(get("/"), nil, true, true)
		all = append(all, s)
	}
	var reset *http2.ResetError
	if _, err := all[1].Head(time.Time{}); !errors.As(err, &reset) || reset.Code != http2.RefusedStream {
		t.Errorf("the second: %v", err)
	}
	if _, room := c.Load(); room {
		t.Error("another could be begun")
	}
	if err := all[0].Err(); err != nil {
		t.Errorf("the first: %v", err)
	}
}
