package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/memnet"
)

// TestIdleStrangers is A08: connections that say nothing. Some are refused, the others end with the handshake's
// time, and neighbours go on.
func TestIdleStrangers(t *testing.T) {
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{MaxHandshakes: 40}, func(t *testing.T, w *world) {
		refused, held := 0, 0
		count := func(host string, conns int) {
			refused, held = 0, 0
			for range conns {
				c, err := w.net.Host(host).Dial(t.Context(), "tcp", "s:8300")
				must(t, err)
				t.Cleanup(func() { c.Close() })
				synctest.Wait()
				c.SetReadDeadline(time.Now().Add(time.Nanosecond))
				if _, err := c.Read(make([]byte, 1)); err == io.EOF {
					refused++
				} else {
					held++
				}
			}
		}
		f := func(host string, conns, want int) {
			t.Helper()
			if count(host, conns); held != want {
				t.Fatalf("%d of %d connections of %s are held, want %d", held, conns, host, want)
			}
		}
		f("one", 2000, 10) // a quarter
		w.well(t)
		f("two", 10, 10)
		f("three", 10, 10)
		w.well(t)
		f("four", 20, 10)
		f("five", 10, 0) // all
		time.Sleep(5 * time.Second)
		w.well(t)
		f("five", 10, 10)
	})
	gate := ""
	most := func(ip string) int {
		if ip == gate { // others come from behind it
			return 3
		}
		return 1
	}
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{MaxPerIP: 1, MaxOf: most}, func(t *testing.T, w *world) {
		gate, _, _ = net.SplitHostPort(w.net.Host("gate").Addr(1))
		for host, n := range map[string]int{"agent": 1, "gate": 3} {
			for range n {
				w.raw(t, host)
			}
			w.ends(t, w.raw(t, host), 0)
		}
		w.well(t)
	})
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{MaxPerIP: 3}, func(t *testing.T, w *world) {
		var conns []net.Conn
		for range 4 {
			conns = append(conns, w.raw(t, "agent"))
		}
		w.ends(t, conns[3], 0)
		w.well(t)
		conns[0].Close()
		synctest.Wait()
		w.raw(t, "agent").Write(frame(kindCall, 1, callPayload("m", nil)))
		// A slow greeting: one that is no protocol, one too late.
		for _, first := range []string{"\x00", "\x04", "G"} {
			c, err := w.net.Host("slow").Dial(t.Context(), "tcp", "s:8300")
			must(t, err)
			time.Sleep(4 * time.Second)
			io.WriteString(c, first)
			w.ends(t, c, 0)
		}
		c, err := w.net.Host("slow").Dial(t.Context(), "tcp", "s:8300")
		must(t, err)
		w.ends(t, c, 5*time.Second)
	})
}

// TestAcceptFails runs out of file descriptors for a while.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{net: memnet.New(1)}
		inner, err := w.net.Host("s").Listen(8300)
		must(t, err)
		_, stop := serveOn(t, &failing{Listener: inner, left: 100}, rpc.ServerOptions{Handler: answerEcho}, rpc.ListenerOptions{})
		p := w.pool(t, "a", rpc.PoolOptions{})
		start := time.Now()
		_, _, err = echo.Call(t.Context(), p.To("s:8300"), rpc.Header{}, &request{})
		must(t, err)
		if d := time.Since(start); d != 5*time.Second {
			t.Fatalf("answered after %v", d)
		}
		p.Close()
		stop()
	})
}

type failing struct {
	net.Listener
	left int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left--; f.left >= 0 {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

// TestSilence cuts a connection off: both sides learn of it by themselves.
func TestSilence(t *testing.T) {
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		call := func() (time.Duration, error) {
			p := w.pool(t, "a", rpc.PoolOptions{})
			defer p.Close()
			start := time.Now()
			_, err := p.To("s:8300").Call(t.Context(), &rpc.Call{Method: "park"})
			return time.Since(start), err
		}
		time.AfterFunc(time.Hour, func() { // pings keep a parked call's connection that long
			if w.open.Load() != 1 {
				t.Error("the call did not last")
			}
			w.net.Partition("a")
		})
		after, err := call()
		hasCode(t, err, "unavailable", "nothing heard")
		if after < time.Hour+30*time.Second || after > time.Hour+time.Minute {
			t.Fatalf("noticed after %v", after)
		}
		time.Sleep(30 * time.Second)
		if w.open.Load() != 0 {
			t.Fatal("the handler is left")
		}
	})
}

// TestStalledPeer does not read: its connection ends with the write timeout, and so do its calls.
func TestStalledPeer(t *testing.T) {
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		c := w.raw(t, "a")
		c.Write(frame(kindCall, 1, callPayload("park", nil)))
		big, _ := rpc.Encode("m")
		header, _ := rpc.Encode(&rpc.Header{MinIndex: 10 << 20})
		c.Write(frame(kindCall, 2, append(big, header...)))
		synctest.Wait()
		w.well(t)
		if w.open.Load() != 1 {
			t.Fatal("the parked call is gone")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if w.open.Load() != 0 {
			t.Fatal("the stalled connection lives")
		}
	})
}

// TestUnread asks for more than it reads: the server keeps no more than it may.
func TestUnread(t *testing.T) {
	inWorld(t, rpc.ServerOptions{MaxUnsent: 3 << 20}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		c := w.raw(t, "a")
		name, _ := rpc.Encode("m")
		header, _ := rpc.Encode(&rpc.Header{MinIndex: 1 << 20})
		for range 2 { // what has been read makes room again
			for id := range uint64(5) {
				c.Write(frame(kindCall, id, append(name, header...)))
			}
			synctest.Wait()
			limited := 0
			for n := 0; n < 5; {
				kind, _, payload := readFrame(t, c)
				if kind == kindAnswer {
					n++
				}
				if bytes.Contains(payload, []byte("unread answers exceed")) {
					limited++
				}
			}
			if limited != 3 { // two fit, with their headers
				t.Fatalf("%d answers refused, want 3", limited)
			}
		}
	})
}

// TestFairness asks for small things while a large answer is on its way: they pass it.
func TestFairness(t *testing.T) {
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		c := w.raw(t, "a")
		name, _ := rpc.Encode("m")
		header, _ := rpc.Encode(&rpc.Header{MinIndex: 4 << 20})
		large := append(name, header...)
		for id := range uint64(20) {
			c.Write(frame(kindCall, 100+id, large))
		}
		synctest.Wait() // the connection is full of them
		c.Write(frame(kindCall, 1, callPayload("m", nil)))
		synctest.Wait()
		got, done, under := make(map[uint64]int), 0, make(map[uint64]bool)
		before, after := 0, 0
		for small := false; done < 20; {
			kind, id, payload := readFrame(t, c)
			if id == 1 {
				small = true
				continue
			}
			if !small {
				before += len(payload)
			}
			if got[id] += len(payload); kind == kindAnswer {
				done++
				delete(under, id)
			} else {
				under[id] = true
			}
			after = max(after, len(under))
		}
		if before > window+2*64<<10 {
			t.Fatalf("%d bytes were before the small answer", before)
		}
		if after != 8 {
			t.Fatalf("%d large answers were under way at once, want 8", after)
		}
		for id, n := range got {
			if n < 4<<20 || n > 4<<20+100 {
				t.Fatalf("answer %d has %d bytes", id, n)
			}
		}
	})
}

// TestLeftAlone gives up on a large answer and on a large request under way: the rest is not sent.
func TestLeftAlone(t *testing.T) {
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		c := w.raw(t, "a")
		name, _ := rpc.Encode("m")
		header, _ := rpc.Encode(&rpc.Header{MinIndex: 40 << 20})
		c.Write(frame(kindCall, 1, append(name, header...)))
		synctest.Wait()
		c.Write(frame(kindCancel, 1, nil))
		c.Write(frame(kindCall, 2, callPayload("m", nil)))
		synctest.Wait()
		for n := 0; ; {
			_, id, payload := readFrame(t, c)
			if id == 2 {
				break
			}
			if n += len(payload); n > 2*window {
				t.Fatal("the answer goes on")
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := &world{net: memnet.New(1)}
		l, err := w.net.Host("s").Listen(8300)
		must(t, err)
		p := w.pool(t, "a", rpc.PoolOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		go p.To("s:8300").Call(ctx, &rpc.Call{Method: "m"})
		c, err := l.Accept()
		must(t, err)
		synctest.Wait()
		body := rpc.Raw(make([]byte, 10<<20))
		for range 9 { // of which up to 8 get under way
			go p.To("s:8300").Call(ctx, &rpc.Call{Method: "m", Body: body})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		go p.To("s:8300").Call(t.Context(), &rpc.Call{Method: "m"})
		io.ReadFull(c, make([]byte, 1))
		under := map[uint64]bool{}
		_, small, _ := readFrame(t, c) // what made the pool connect
		under[small] = true
		for chunks := 0; ; {
			kind, id, _ := readFrame(t, c)
			if kind == kindCall {
				break
			}
			if kind == kindCancel {
				if !under[id] {
					t.Fatal("canceled what is not known")
				}
				delete(under, id)
				continue
			}
			if under[id] = true; len(under) > 9 {
				t.Fatal("more than 8 long requests are under way")
			}
			if chunks++; chunks > 40 {
				t.Fatal("the requests go on")
			}
		}
		if len(under) > 0 {
			t.Fatalf("not canceled: %v", under)
		}
		p.Close()
	})
}

// TestSlowStream reads nothing for a while: the writer stops at the window and nobody else does.
func TestSlowStream(t *testing.T) {
	var written atomic.Int64
	so := rpc.ServerOptions{MaxStreams: 2, Streams: func(_ context.Context, _ rpc.Peer, _ *rpc.Call, rw io.ReadWriter) error {
		for i := range 1000 {
			n, err := rw.Write(bytes.Repeat([]byte{byte(i)}, 1000))
			if written.Add(int64(n)); err != nil {
				return err
			}
		}
		return nil
	}}
	inWorld(t, so, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		p := w.pool(t, "a", rpc.PoolOptions{})
		s, err := p.To("s:8300").Open(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		other, err := p.To("s:8300").Open(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		third, err := p.To("s:8300").Open(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		_, err = third.Read(make([]byte, 1))
		hasCode(t, err, "limited", "more than 2 streams")
		third.Close()
		time.Sleep(time.Hour)
		if n := written.Load(); n > 2*window || n < 2*(window-1000) {
			t.Fatalf("%d bytes written into two windows of %d", n, window)
		}
		_, err = p.To("s:8300").Call(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		got, err := io.ReadAll(other)
		must(t, err)
		for i, b := range got {
			if b != byte(i/1000) {
				t.Fatalf("byte %d is %d", i, b)
			}
		}
		if len(got) != 1000000 {
			t.Fatalf("%d bytes", len(got))
		}
		s.Close()
		other.Close()
		p.Close()
	})
}

// TestPool counts the connections that a pool makes and ends.
func TestPool(t *testing.T) {
	inWorld(t, rpc.ServerOptions{}, rpc.ListenerOptions{}, func(t *testing.T, w *world) {
		w.net.SetAll(memnet.Link{Delay: 100 * time.Millisecond})
		dials := 0
		o := rpc.PoolOptions{Decode: decodeError}
		o.Dialer.Connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials++ // the bubble runs one of them at a time
			if dials == 1 {
				time.Sleep(time.Second)
			}
			return w.net.Host("a").Dial(ctx, network, addr)
		}
		p := rpc.NewPool(o)
		defer p.Close()
		target := p.To("s:8300")
		f := func(want int) {
			t.Helper()
			synctest.Wait()
			if dials != want {
				t.Fatalf("%d connections made, want %d", dials, want)
			}
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := target.Call(hasty, &rpc.Call{Method: "m"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		_, err := target.Call(t.Context(), &rpc.Call{Method: "m"}) // on what the hasty one began
		must(t, err)
		f(1)
		time.Sleep(119 * time.Second)
		_, err = target.Call(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		f(1)
		time.Sleep(150 * time.Second) // two minutes and a tick
		_, err = target.Call(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		f(2)

		park, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 256 {
			go target.Call(park, &rpc.Call{Method: "park"})
		}
		synctest.Wait()
		f(2)
		for range 300 { // a second one, and no third
			go target.Call(park, &rpc.Call{Method: "park"})
			time.Sleep(10 * time.Millisecond)
		}
		f(3)
		stream, err := target.Open(park, &rpc.Call{Method: "m"})
		must(t, err)
		_, err = stream.Read(make([]byte, 1))
		hasCode(t, err, "invalid", "no streams")
		f(4)
		p.Drop("s:8300")
		time.Sleep(time.Second)
		if n := w.open.Load(); n != 0 {
			t.Fatalf("%d calls are left", n)
		}

		w.net.Cut("a", "s")
		start := time.Now()
		_, err = target.Call(t.Context(), &rpc.Call{Method: "m"})
		hasCode(t, err, "unavailable", "no connection to s:8300")
		if d := time.Since(start); d != 5*time.Second {
			t.Fatalf("after %v", d)
		}
		w.net.Heal()
		_, err = target.Call(t.Context(), &rpc.Call{Method: "m"})
		must(t, err)
		w.stop()
		time.Sleep(time.Second)
		_, err = target.Call(t.Context(), &rpc.Call{Method: "m"})
		hasCode(t, err, "unavailable", "refused")
		must(t, p.Close())
		_, err = target.Call(t.Context(), &rpc.Call{Method: "m"})
		hasCode(t, err, "unavailable", "the pool is closed")
	})
}
