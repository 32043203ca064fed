package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/agent/telemetry"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/rpc/http1"
)

// lot is where the connections of clients are that wait for a change. What it takes to serve a client,
// buffers, stacks and contexts, is most of what a waiting one costs. So a blocking query over plain
// HTTP/1.1 that has to wait is parked: its connection is taken from its server and watched by one goroutine
// of the smallest kind. When the answer is there the request is handled anew. The connection stays until
// the client sends its next request, with which it goes back to the server.
type lot struct {
	handler http.Handler
	log     *slog.Logger

	open    context.Context // the lot ends with it
	late    time.Time       // until when answers may still be sent then; set before it ends
	entered sync.WaitGroup
}

type lotKey struct{}

// lotOf is the lot of the server that a request came to, nil for requests of tests.
func lotOf(ctx context.Context) *lot {
	if p, ok := ctx.Value(parkedKey{}).(*parked); ok {
		return p.lot
	}
	l, _ := ctx.Value(lotKey{}).(*lot)
	return l
}

// parked is a connection in the lot and the request that waits there.
type parked struct {
	lot     *lot
	request *http.Request
	start   time.Time
	timer   *telemetry.Timer

	conn   *http1.Conn
	first  [1]byte // of the next request
	ahead  []byte  // what is read of it
	until  time.Time
	state  atomic.Uint32
	leave  func()      // ends the waiting, but not the parking
	unlist func() bool // from those that are told when the lot ends
}

type parkedKey struct{}

// States of a parked connection.
const (
	entering = iota
	waiting
	woken
)

var past = time.Unix(1, 0)

// Wake implements rpc.Waker.
func (p *parked) Wake() {
	if p.state.Swap(woken) == waiting {
		p.conn.SetReadDeadline(past)
	}
}

// place is where a call can be parked, nil when it cannot.
func place(c *call) *parked {
	r := c.r
	l := lotOf(c.ctx())
	if l == nil || r.Method != http.MethodGet || r.ContentLength != 0 || r.TLS != nil || r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Close {
		return nil
	}
	p := &parked{lot: l, start: c.start, timer: c.timer}
	p.request = r.WithContext(context.WithValue(l.open, parkedKey{}, p)) // its own context is that of the connection
	return p
}

// park takes a call's connection into the lot. Nothing may have been written.
func (c *call) park(wait *rpc.Parked) error {
	p := c.place
	p.lot.entered.Add(1)
	conn, ahead, err := http1.Take(c.w)
	if err != nil {
		wait.Leave()
		p.lot.entered.Done()
		return err
	}
	c.parked = true
	p.conn, p.ahead = conn, ahead
	p.until, p.leave = time.Now().Add(wait.Wait), wait.Leave
	p.unlist = context.AfterFunc(p.lot.open, func() {
		p.conn.SetReadDeadline(past)
		p.conn.SetWriteDeadline(p.lot.late)
	})
	go p.wait() // and what it starts end with the lot at the latest
	return nil
}

// wait waits for the answer, the end of the wait, or the client: who has sent more waits in the handler.
func (p *parked) wait() {
	var err error
	p.conn.SetReadDeadline(p.until)
	if len(p.ahead) == 0 && p.state.CompareAndSwap(entering, waiting) {
		err = p.read()
	}
	p.leave()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		p.timer.Since(p.start)
		p.end()
		return
	}
	grow()
	p.answer()
}

// grow makes the stack as large as a handler needs it while there is little on it: growing it step by step
// below a handler costs as much as the handler.
//
//go:noinline
func grow() {
	var room [6 << 10]byte
	runtime.KeepAlive(&room)
}

// left is how long the request may wait when it is handled anew.
func (p *parked) left() time.Duration {
	if p.state.Load() == woken {
		return time.Nanosecond // it does not wait; none would mean the default
	}
	return max(time.Until(p.until), time.Nanosecond)
}

// renew gives the client time to take the next part of the answer.
func (p *parked) renew() {
	p.conn.SetWriteDeadline(time.Now().Add(partTime))
	if p.lot.open.Err() != nil { // the lot's end may have come first
		p.conn.SetWriteDeadline(p.lot.late)
	}
}

// answer handles the request anew.
func (p *parked) answer() {
	defer func() { // as the server does
		if v := recover(); v != nil {
			p.lot.log.Error("answering a parked request panicked", "panic", v, "stack", string(debug.Stack()))
			p.end()
		}
	}()
	w := newReply(p)
	if p.lot.open.Err() != nil {
		w.header.Set("Connection", "close")
	}
	p.lot.handler.ServeHTTP(w, p.request)
	p.request = nil
	if !w.finish() {
		p.end()
		return
	}
	go p.next() // on a small stack again
}

// next waits for the client's next request and gives it to the server.
func (p *parked) next() {
	p.conn.SetReadDeadline(time.Now().Add(idleTimeout))
	if len(p.ahead) == 0 && p.read() != nil {
		p.end()
		return
	}
	p.unlist()
	p.lot.entered.Done()
	p.conn.Serve(p.ahead)
}

// read waits until the client sends something, the connection's deadline, or the end of the lot.
func (p *parked) read() error {
	if p.lot.open.Err() != nil { // the deadline that says so may have been set anew since
		return os.ErrDeadlineExceeded
	}
	n, err := p.conn.Read(p.first[:])
	if n > 0 {
		p.ahead = p.first[:]
		return nil
	}
	return err
}

func (p *parked) end() {
	p.unlist()
	p.conn.Close()
	p.lot.entered.Done()
}
