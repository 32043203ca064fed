package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

// farStream is a stream of HTTP/2 to an endpoint.
type farStream struct {
	*http2.Stream
	hop   *hop
	head  wire.Head
	used  bool   // the connection was there before
	begun bool   // something of the response has come
	unto  []byte // the protocol that is asked for
	key   []byte
	idle  time.Duration
	limit time.Time
	err   error // of sending the head
}

// settleTime is how long a new connection may take to say whether it takes upgrades.
const settleTime = time.Second

var farStreams = sync.Pool{New: func() any { return new(farStream) }}

// send implements far.
func (u *farStream) send(q *request, part []byte, whole bool) error {
	if view(q.head.Method.Of(q.text)) == http.MethodHead {
		u.HeadOnly()
	}
	if u.unto = q.upgrade; u.unto != nil {
		if !u.hop.Connects(settleTime) {
			return errNoTunnels
		}
		u.key = valueOf(q.head, q.text, keyField)
	}
	q.secure = u.hop.Secure()
	if q.upgrade != nil {
		whole = false
	}
	trailers := whole && len(q.trailers) > 0
	u.SendBy(q.leaveBy) // who waits for the response waits no longer for the request to leave
	defer u.SendBy(time.Time{})
	u.err = u.Send(q, part, whole && !trailers, !trailers)
	if u.err == nil && trailers {
		u.err = u.End(q.trailers)
	}
	if u.err != nil && !u.Begun() { // the endpoint takes no more exchanges over this connection
		return untouched(u.err)
	}
	return u.err
}

// more implements far.
func (u *farStream) more(part []byte) error { return u.Body(part, false, true) }

// finish implements far.
func (u *farStream) finish(trailers []byte) error { return u.End(trailers) }

// interrupt implements far.
func (u *farStream) interrupt(on bool) { u.Interrupt(false, on) }

// receive implements far.
func (u *farStream) receive(x *exchange, headOnly bool, by time.Time) (*wire.Head, []byte, error) {
	if !u.Begun() {
		if u.unto != nil && u.err == nil {
			return nil, nil, errNoTunnels
		}
		return nil, nil, untouched(u.err)
	}
	now := x.soonAfter()
	for look := firstLook; ; look = min(2*look, lastLook) {
		until := now.Add(look)
		if by.Before(until) {
			until = by
		}
		text, err := u.Head(until)
		switch {
		case err == nil:
			u.begun = true
			return u.parse(text, headOnly)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, nil, refusal(err)
		}
		if now = time.Now(); !now.Before(by) {
			return nil, nil, errLate
		}
		if !x.waited() {
			return nil, nil, errAbandoned
		}
	}
}

// parse reads the head of a response.
func (u *farStream) parse(text []byte, headOnly bool) (*wire.Head, []byte, error) {
	h := &u.head
	if err := h.ParseResponse(text, headOnly); err != nil {
		return nil, nil, err
	}
	if h.Length < 0 && u.Whole() {
		h.Length = 0
	}
	if u.unto != nil && h.Status == http.StatusOK {
		if more := accepted(h, text, u.key); len(more) > len(text) {
			if err := h.ParseResponse(more, headOnly); err != nil {
				return nil, nil, err
			}
			text = more
		}
		h.Status = http.StatusSwitchingProtocols
	}
	return h, text, nil
}

// untouched says that the endpoint has not looked at the request.
func untouched(err error) error { return fmt.Errorf("%w: %w", errUntouched, err) }

// refusal tells apart what an endpoint did not look at.
func refusal(err error) error {
	var reset *http2.ResetError
	if errors.As(err, &reset) && reset.Peer && reset.Code == http2.RefusedStream {
		return untouched(err)
	}
	return err
}

// begin implements far.
func (u *farStream) begin(_ int64, idle time.Duration, limit time.Time) {
	u.idle, u.limit = idle, limit
}

// next implements far.
func (u *farStream) next() ([]byte, error) { return u.Within(u.idle, u.limit) }

// buffered implements far.
func (u *farStream) buffered() bool { return u.Buffered() }

// last implements far.
func (u *farStream) last() bool { return u.Whole() }

// trailers implements far.
func (u *farStream) trailers() []byte { return u.Trailers() }

// rears implements far.
func (u *farStream) rears() bool { return true }

// taken implements far.
func (u *farStream) taken() int64 { return u.Total() }

// tunnel implements far.
func (u *farStream) tunnel() (net.Conn, []byte) {
	u.Patient()
	return &tunnelled{Stream: u.Stream}, nil
}

// stale implements far.
func (u *farStream) stale() bool { return u.used && !u.begun }

// lost implements far.
func (u *farStream) lost() error { return u.hop.lost() }

// release implements far.
func (u *farStream) release(bool, time.Time) {
	u.Release()
	*u = farStream{head: u.head}
	farStreams.Put(u)
}

var _ far = (*farStream)(nil)
