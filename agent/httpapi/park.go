package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"runtime"
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
// of the smallest kind. When the answer is there the request is handled anew, once for all who asked the same.
// The goroutine does not hear of it: it reads on until the client sends its next request, with which the
// connection goes back to its server.
type lot struct {
	handler http.Handler
	log     *slog.Logger

	open    context.Context // the lot ends with it
	late    time.Time       // until when answers may still be sent then; set before it ends
	entered sync.WaitGroup

	mu      sync.Mutex
	queue   []*parked // woken and not answered
	sorting bool      // somebody sees to the queue
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

// parked is a connection in the lot and the request that waits there. Its goroutine reads; who owns it answers,
// which is that goroutine or one of the lot.
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
	woken  bool        // of what is owned: it does not wait any longer
	leave  func()      // ends the waiting, but not the parking
	unlist func() bool // from those that are told when the lot ends

	answering sync.Mutex // held by who owns it for the lot, until the state says how it went
	idle      time.Time  // until when the answered client may be silent
}

type parkedKey struct{}

// States of a parked connection.
const (
	entering = iota
	early    // woken before it waited
	waiting
	queued // woken
	owned
	replied
	broken // the client did not take its answer
)

var past = time.Unix(1, 0)

// Wake implements rpc.Waker.
func (p *parked) Wake() {
	if !p.state.CompareAndSwap(entering, early) && p.state.CompareAndSwap(waiting, queued) {
		p.lot.wake(p)
	}
}

// own makes the caller the one who answers. It fails when somebody else is.
func (p *parked) own() bool {
	for _, from := range []uint32{waiting, queued, early, entering} {
		if p.state.CompareAndSwap(from, owned) {
			p.woken = from == queued || from == early
			return true
		}
	}
	return false
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
	if !p.own() {
		p.next(err)
		return
	}
	p.leave()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		p.timer.Since(p.start)
		p.end()
		return
	}
	grow()
	a := p.lot.answer(p)
	p.request = nil
	if a == nil || p.send(a.head, a.body) != nil || a.last {
		p.end()
		return
	}
	p.conn.SetReadDeadline(time.Now().Add(idleTimeout))
	p.state.Store(replied)
	go p.idles() // on a small stack again
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
	if p.woken {
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

// idles waits for the next request of a client that was answered by its own goroutine.
func (p *parked) idles() {
	var err error
	if len(p.ahead) == 0 {
		err = p.read()
	}
	p.next(err)
}

// next goes on with a client that is answered or just being answered, and of which was read what there was, or err.
func (p *parked) next(err error) {
	for {
		p.answering.Lock() // until the answer is out
		state, idle := p.state.Load(), p.idle
		p.answering.Unlock()
		switch {
		case state == broken:
			p.end()
			return
		case err == nil:
			p.unlist()
			p.lot.entered.Done()
			p.conn.Serve(p.ahead)
			return
		case !errors.Is(err, os.ErrDeadlineExceeded) || p.lot.open.Err() != nil || !time.Now().Before(idle):
			p.end()
			return
		}
		p.conn.SetReadDeadline(idle) // it was the end of the wait, which was answered just before
		err = p.read()
	}
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
