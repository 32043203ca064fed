package rpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/memnet"
)

// The wire, spelt out again: a change of it has to be meant.
const (
	kindCall = iota + 1
	kindOpen
	kindAnswer
	kindChunk
	kindData
	kindCancel
	kindCredit
	kindPing
	kindBye
)

const window = 256 << 10

func frame(kind byte, id uint64, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(9+len(payload)))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, id)
	return append(b, payload...)
}

func callPayload(method string, body []byte) []byte {
	name, _ := rpc.Encode(method)
	header, _ := rpc.Encode(&rpc.Header{Datacenter: "dc1"})
	return append(append(name, header...), body...)
}

// readFrame reads a frame that is no ping.
func readFrame(t testing.TB, r io.Reader) (kind byte, id uint64, payload []byte) {
	t.Helper()
	for kind == 0 || kind == kindPing {
		header := make([]byte, 13)
		_, err := io.ReadFull(r, header)
		must(t, err)
		kind, id = header[4], binary.BigEndian.Uint64(header[5:])
		payload = make([]byte, binary.BigEndian.Uint32(header)-9)
		_, err = io.ReadFull(r, payload)
		must(t, err)
	}
	return kind, id, payload
}

// world is a server at s:8300 in a bubble.
type world struct {
	net  *memnet.Network
	port *rpc.Listener
	open atomic.Int32 // handlers that have not returned
	stop func()
}

func inWorld(t *testing.T, so rpc.ServerOptions, lo rpc.ListenerOptions, do func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{net: memnet.New(1)}
		if so.Handler == nil {
			so.Handler = func(ctx context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
				w.open.Add(1)
				defer w.open.Add(-1)
				if call.Method == "park" {
					<-ctx.Done()
				}
				return rpc.Answer{Body: rpc.NewBody(rpc.Raw(bytes.Repeat([]byte("x"), int(call.Header.MinIndex))), nil)}, nil
			}
		}
		inner, err := w.net.Host("s").Listen(8300)
		must(t, err)
		w.port, w.stop = serveOn(t, inner, so, lo)
		do(t, w)
		w.stop()
	})
}

// raw connects a host without any of our code on its side.
func (w *world) raw(t *testing.T, host string) net.Conn {
	t.Helper()
	c, err := w.net.Host(host).Dial(t.Context(), "tcp", "s:8300")
	must(t, err)
	c.Write([]byte{1})
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) pool(t *testing.T, host string, o rpc.PoolOptions) *rpc.Pool {
	o.Dialer.Connect = w.net.Host(host).Dial
	o.Decode = decodeError
	p := rpc.NewPool(o)
	t.Cleanup(func() { p.Close() })
	return p
}

func (w *world) well(t *testing.T) {
	t.Helper()
	p := w.pool(t, "well-behaved", rpc.PoolOptions{})
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := p.To("s:8300").Call(ctx, &rpc.Call{Method: "m"})
	must(t, err)
}

// ends expects that the peer closes c after so long and leaves no handler.
func (w *world) ends(t *testing.T, c net.Conn, after time.Duration) {
	t.Helper()
	start := time.Now()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, net.ErrClosed) || time.Since(start) != after {
		t.Fatalf("closed after %v, want %v: %v", time.Since(start), after, err)
	}
	synctest.Wait()
	if n := w.open.Load(); n != 0 {
		t.Fatalf("%d handlers are left", n)
	}
}

// taped is a connection of which somebody on the way keeps what the client sends, and may send it twice.
type taped struct {
	net.Conn
	mu    sync.Mutex
	tape  []byte
	twice bool
}

func (c *taped) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tape = append(c.tape, b...)
	n, err := c.Conn.Write(b)
	if c.twice && err == nil {
		c.Conn.Write(b)
	}
	return n, err
}

// TestReplay: what a client has sent is sent again by somebody who could listen: all of it on another connection, and each
// record twice on the same one. Nothing is acted on a second time.
func TestReplay(t *testing.T) {
	ca := newAuthority(t)
	var mu sync.Mutex
	acted := map[string]int{}
	times := func(method string) int {
		mu.Lock()
		defer mu.Unlock()
		return acted[method]
	}
	l, _ := serve(t, rpc.ServerOptions{Handler: func(_ context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
		mu.Lock()
		acted[call.Method]++
		mu.Unlock()
		return rpc.Answer{Body: rpc.NewBody(rpc.Raw("x"), nil)}, nil
	}}, ca.serving("server"))
	addr := l.Addr().String()
	var way atomic.Pointer[taped]
	d := ca.dialing("client")
	d.Connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		way.Store(&taped{Conn: conn})
		return way.Load(), nil
	}
	p := pool(t, rpc.PoolOptions{Dialer: d, Decode: decodeError})
	call := func(method string) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := p.To(addr).Call(ctx, &rpc.Call{Method: method})
		return err
	}
	must(t, call("first"))
	first := way.Load()
	first.mu.Lock()
	tape := bytes.Clone(first.tape)
	first.mu.Unlock()
	again, err := net.Dial("tcp", addr)
	must(t, err)
	defer again.Close()
	again.SetDeadline(time.Now().Add(within))
	again.Write(tape)
	if _, err := io.Copy(io.Discard, again); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection that repeats another one is left open")
	}
	if n := times("first"); n != 1 {
		t.Fatalf("acted %d times on one call", n)
	}
	first.mu.Lock()
	first.twice = true
	first.mu.Unlock()
	for i := 0; way.Load() == first; i++ { // a record is genuine once, and the connection ends with the second
		method := fmt.Sprint("twice", i)
		if err := call(method); times(method) > 1 || err == nil && times(method) != 1 {
			t.Fatalf("acted %d times on one call: %v", times(method), err)
		}
	}
	must(t, call("last"))
	if n := times("last"); n != 1 {
		t.Errorf("acted %d times on one call", n)
	}
}

// TestBadFrames sends what no caller of ours sends. The connection ends at once, with what was parked on it.
func TestBadFrames(t *testing.T) {
	park := frame(kindCall, 1, callPayload("park", nil))
	huge := binary.BigEndian.AppendUint32(nil, 1<<32-1)
	over := make([]byte, window+1)
	chunks := func(kind byte, data []byte) (b []byte) {
		for ; len(data) > 0; data = data[min(len(data), 60000):] {
			b = append(b, frame(kind, 2, data[:min(len(data), 60000)])...)
		}
		return b
	}
	var parts []byte
	for id := range uint64(9) {
		parts = append(parts, frame(kindChunk, 10+id, []byte("x"))...)
	}
	stream := frame(kindOpen, 2, callPayload("m", nil))
	f := func(name string, bad ...[]byte) {
		t.Run(name, func(t *testing.T) {
			so := rpc.ServerOptions{Streams: func(ctx context.Context, _ rpc.Peer, _ *rpc.Call, _ io.ReadWriter) error {
				<-ctx.Done()
				return nil
			}}
			inWorld(t, so, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
				c := w.raw(t, "h")
				for _, b := range append([][]byte{park}, bad...) {
					c.Write(b)
				}
				w.ends(t, c, 0)
				w.well(t)
			})
		})
	}
	f("a length of 4 GiB", huge, make([]byte, 9))
	f("a length over the cap", binary.BigEndian.AppendUint32(nil, 64<<10+1), make([]byte, 9))
	f("a length too short for a header", binary.BigEndian.AppendUint32(nil, 8), make([]byte, 9))
	f("an unknown kind", frame(0, 2, nil))
	f("another unknown kind", frame(kindBye+1, 2, nil))
	f("a bye of a caller", frame(kindBye, 0, nil))
	f("the writer's own kind", frame(kindBye+2, 2, nil))
	f("HTTP", []byte("GET / HTTP/1.1\r\nHost: s\r\n\r\n"))
	f("a call id twice", park)
	f("data for a call", frame(kindData, 1, []byte("x")))
	f("credit for a call", frame(kindCredit, 1, make([]byte, 4)))
	f("more data than credit", stream, chunks(kindData, over))
	f("credit beyond the window", stream, frame(kindCredit, 2, []byte{0, 0, 0, 1}))
	f("credit of a wrong size", stream, frame(kindCredit, 2, []byte{0, 0}))
	f("too many long requests at once", parts)
}

// TestOddFrames sends what is late, useless or wrong in its content only: the connection stays.
func TestOddFrames(t *testing.T) {
	f := func(name string, wantCode string, odd ...[]byte) {
		t.Run(name, func(t *testing.T) {
			so := rpc.ServerOptions{MaxCalls: 2, Limits: rpc.Limits{MaxMessage: 100}}
			inWorld(t, so, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
				c := w.raw(t, "h")
				for _, b := range odd {
					c.Write(b)
				}
				synctest.Wait()
				c.Write(frame(kindCall, 99, callPayload("m", nil)))
				var code []byte // of the odd call, whose id is 1
				for {
					_, id, payload := readFrame(t, c)
					if id == 1 {
						code = payload[2:]
					}
					if id == 99 {
						if payload[0] != 0 || !bytes.HasPrefix(code, []byte(wantCode)) {
							t.Fatalf("%q, and then %q", code, payload)
						}
						break
					}
				}
			})
		})
	}
	f("pings", "", bytes.Repeat(frame(kindPing, 0, nil), 1000))
	f("late frames", "", frame(kindCancel, 7, nil), frame(kindData, 7, []byte("x")), frame(kindCredit, 7, nil), frame(kindAnswer, 7, nil))
	f("a canceled long request", "", frame(kindChunk, 7, []byte("x")), frame(kindCancel, 7, nil))
	f("no header", "invalid", frame(kindCall, 1, nil))
	f("half a header", "invalid", frame(kindCall, 1, callPayload("m", nil)[:4]))
	f("no msgpack", "invalid", frame(kindCall, 1, bytes.Repeat([]byte{0xc1}, 50)))
	f("a stream where none are served", "invalid", frame(kindOpen, 1, callPayload("m", nil)))
	f("too many calls", "limited", frame(kindCall, 7, callPayload("park", nil)), frame(kindCall, 8, callPayload("park", nil)),
		frame(kindCall, 1, callPayload("m", nil)), frame(kindCancel, 7, nil), frame(kindCancel, 8, nil))
	f("a request in one frame over the limit", "too_large", frame(kindCall, 1, make([]byte, 101)))
	f("a request in pieces over the limit", "too_large", frame(kindChunk, 1, make([]byte, 60)), frame(kindChunk, 1, make([]byte, 60)), frame(kindCall, 1, nil))
}

// TestCallsWithoutEnd opens far more calls than the cap and reads no answer: the connection ends.
func TestCallsWithoutEnd(t *testing.T) {
	inWorld(t, rpc.ServerOptions{MaxCalls: 100}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		c := w.raw(t, "h")
		for id := range uint64(10000) {
			if _, err := c.Write(frame(kindCall, id, callPayload("park", nil))); err != nil {
				break
			}
		}
		w.ends(t, c, 0)
	})
}

// TestHeldRequests bounds the bytes of requests over all connections, and gives them back.
func TestHeldRequests(t *testing.T) {
	inWorld(t, rpc.ServerOptions{MaxHeld: 150 << 10}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		c := w.raw(t, "j")
		for id := range uint64(10) { // what is refused is not given back twice
			c.Write(frame(kindCall, id, bytes.Repeat([]byte{0xc1}, 50<<10)))
		}
		synctest.Wait() // until it is refused it counts
		for range 3 {
			p := w.pool(t, "h", rpc.PoolOptions{})
			park, cancel := context.WithCancel(t.Context())
			go p.To("s:8300").Call(park, &rpc.Call{Method: "park", Body: rpc.Raw(make([]byte, 60<<10))})
			synctest.Wait()
			f := func(size int, code string) {
				t.Helper()
				q := w.pool(t, "i", rpc.PoolOptions{})
				defer q.Close()
				_, err := q.To("s:8300").Call(t.Context(), &rpc.Call{Method: "m", Body: rpc.Raw(make([]byte, size))})
				if code == "" {
					must(t, err)
				} else {
					hasCode(t, err, code, "unanswered requests")
				}
			}
			f(60<<10, "limited")
			f(10<<10, "")
			cancel()
			synctest.Wait()
			f(60<<10, "")
			synctest.Wait() // until its connection has ended it counts
			go p.To("s:8300").Call(t.Context(), &rpc.Call{Method: "park", Body: rpc.Raw(make([]byte, 60<<10))})
			synctest.Wait()
			f(60<<10, "limited")
			p.Close() // given back by a connection's death too
			synctest.Wait()
		}
	})
}

// TestUnfinishedRequests checks that those who send what they never finish leave room for others.
func TestUnfinishedRequests(t *testing.T) {
	inWorld(t, rpc.ServerOptions{MaxHeld: 1 << 20}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		p := w.pool(t, "h", rpc.PoolOptions{})
		f := func(size int, code string) {
			t.Helper()
			_, err := p.To("s:8300").Call(t.Context(), &rpc.Call{Method: "m", Body: rpc.Raw(make([]byte, size))})
			if code == "" {
				must(t, err)
			} else {
				hasCode(t, err, code, "unanswered requests")
			}
		}
		greedy := func() {
			c := w.raw(t, "greedy")
			for n := range uint64(100) {
				if _, err := c.Write(frame(kindChunk, n%8, make([]byte, 16000))); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		f(500<<10, "")
		greedy()
		f(200<<10, "")
		f(500<<10, "limited")
		for range 7 {
			greedy()
		}
		f(40<<10, "")
		f(200<<10, "limited")
	})
}

// TestHostileServer answers our client with nonsense.
func TestHostileServer(t *testing.T) {
	f := func(name, want string, stream bool, answer ...[]byte) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{net: memnet.New(1)}
				l, err := w.net.Host("s").Listen(8300)
				must(t, err)
				go func() {
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					io.ReadFull(c, make([]byte, 1))
					readFrame(t, c)
					for _, b := range answer {
						c.Write(b)
					}
					io.Copy(io.Discard, c)
				}()
				p := w.pool(t, "h", rpc.PoolOptions{Limits: rpc.Limits{MaxMessage: 1000}})
				defer p.Close()
				if stream {
					var s *rpc.Stream
					if s, err = p.To("s:8300").Open(t.Context(), &rpc.Call{Method: "m"}); err == nil {
						time.Sleep(time.Second)
						_, err = io.Copy(io.Discard, s)
						s.Close()
					}
				} else {
					_, err = p.To("s:8300").Call(t.Context(), &rpc.Call{Method: "m", NewReply: func() any { return new(reply) }})
				}
				if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
					t.Fatalf("%v, want %q", err, want)
				}
			})
		})
	}
	f("no frame", "does not speak", false, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f("half a frame", "nothing heard", false, frame(kindAnswer, 1, make([]byte, 10))[:15])
	f("a call", "out of place", false, frame(kindCall, 1, nil))
	f("an empty answer", "without a status", false, frame(kindAnswer, 1, nil))
	f("an unknown status", "without a status", false, frame(kindAnswer, 1, []byte{7}))
	f("an answer without meta", "answer header", false, frame(kindAnswer, 1, []byte{0}))
	f("an error without text", "answer header", false, frame(kindAnswer, 1, []byte{1}))
	f("a body of another type", "answer to m", false, frame(kindAnswer, 1, []byte{0, 0x80, 0xc3}))
	f("a body with more behind", "bytes too many", false, frame(kindAnswer, 1, []byte{0, 0x80, 0xc0, 0xc0}))
	f("a long answer", "exceeds 1000 bytes", false, frame(kindChunk, 1, make([]byte, 600)), frame(kindChunk, 1, make([]byte, 600)))
	f("data for a call", "out of place", false, frame(kindData, 1, []byte("x")))
	overrun := [][]byte{}
	for range 5 {
		overrun = append(overrun, frame(kindData, 1, make([]byte, 60000)))
	}
	f("more data than credit", "more than its credit", true, overrun...)
	f("credit beyond the window", "beyond the window", true, frame(kindCredit, 1, []byte{0, 0, 1, 0}))
}

// A call without a payload is refused, and is not taken for what is left of the call before it.
func TestEmptyCallAfterAnother(t *testing.T) {
	answered := make(chan string, 10)
	s := rpc.NewServer(rpc.ServerOptions{Handler: func(_ context.Context, _ rpc.Peer, call *rpc.Call) (rpc.Answer, error) {
		answered <- call.Method
		return rpc.Answer{}, nil
	}})
	inner := callPayload("inner", nil) // the body of the first, which is a call itself
	data := append(frame(kindCall, 1, callPayload("outer", inner)), frame(kindCall, 2, nil)...)
	s.Serve(t.Context(), &canned{r: bytes.NewReader(data)}, rpc.Peer{Addr: new(net.TCPAddr)})
	close(answered)
	for method := range answered {
		if method != "outer" {
			t.Errorf("a call of %q", method)
		}
	}
}

// FuzzFrame feeds both ends of a connection. They must survive and come to their end.
func FuzzFrame(f *testing.F) {
	call := callPayload("m", []byte{0xc0})
	f.Add(frame(kindCall, 1, call))
	f.Add(append(frame(kindChunk, 1, call), frame(kindCall, 1, nil)...))
	f.Add(append(frame(kindOpen, 1, call), append(frame(kindData, 1, []byte("hello")), frame(kindCredit, 1, make([]byte, 4))...)...))
	f.Add(append(frame(kindCall, 1, call), frame(kindCancel, 1, nil)...))
	f.Add(append(frame(kindPing, 0, nil), frame(kindAnswer, 1, []byte{0, 0x80, 0xc0})...))
	f.Add(frame(kindAnswer, 1, append([]byte{1}, "\xa8internal\xa2no"...)))
	f.Add(frame(kindAnswer, 1, []byte{0, 0x81, 0xa3, 'i', 'd', 'x', 0xdd, 0xff, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := rpc.NewServer(rpc.ServerOptions{Streams: copyStream, Handler: answerEcho})
		s.Serve(t.Context(), &canned{r: bytes.NewReader(data)}, rpc.Peer{Addr: new(net.TCPAddr)})
		p := rpc.NewPool(rpc.PoolOptions{Dialer: rpc.Dialer{Connect: func(context.Context, string, string) (net.Conn, error) {
			return &canned{r: bytes.NewReader(data)}, nil
		}}})
		echo.Call(t.Context(), p.To("s:1"), rpc.Header{}, &request{})
		if stream, err := p.To("s:1").Open(t.Context(), &rpc.Call{Method: "m"}); err == nil {
			io.Copy(io.Discard, stream)
			stream.Close()
		}
		p.Close()
	})
}

// canned is a connection whose far end says what it always says, and closes.
type canned struct {
	net.Conn
	r io.Reader
}

func (c *canned) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
