package proxy

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// respond reads the response and passes it on, interim ones first. An error means that there is none.
func (x *exchange) respond(d near) error {
	for {
		head, text, err := x.up.receive(x, x.headOnly(), x.tryBy)
		if err != nil {
			return err
		}
		switch {
		case head.Status == http.StatusSwitchingProtocols:
			if x.upgrade == nil {
				return &wire.Error{Status: http.StatusBadGateway, Reason: "a switch of protocols that nobody asked for"}
			}
			return x.switchOver(d, head, text)
		case head.Status < 200:
			if err := x.interim(d, head, text); err != nil {
				return errAbandoned
			}
			continue
		}
		x.first = time.Since(x.begun)
		x.answer = judge(head.Status, x.grpcHead(head, text))
		if x.unwanted(head, text) {
			x.discard(head, x.begun.Add(x.first))
			return errUnwanted
		}
		x.pass(d, head, text)
		return nil
	}
}

// waited reports whether the caller still waits.
func (x *exchange) waited() bool {
	return x.waits && !x.upload.over.Load() || !x.near.gone() // reading its body will tell
}

// interim passes on a response before the final one, which HTTP/1.0 does not have.
func (x *exchange) interim(d near, h *wire.Head, text []byte) error {
	if x.head.Minor == 0 || h.Status == http.StatusContinue && !x.head.Continue {
		return nil
	}
	x.passed = true
	return d.interim(h, text)
}

// pass passes a final response on.
func (x *exchange) pass(d near, h *wire.Head, text []byte) {
	if x.waits && !x.upload.finished() {
		x.close = true
	}
	x.close = x.close || x.client.listening.stopping.Load()
	if err := d.respond(h, text); err != nil {
		x.broken(d, err)
		return
	}
	x.status, x.passed = h.Status, true
	x.passBody(d, h.Length)
}

// passBody passes a body on.
func (x *exchange) passBody(d near, came int64) {
	x.up.begin(came, or(x.route.idle, defaultResponseIdle), x.limit)
	joined := came >= 0 && came <= maxGathered // it will be complete soon
	for {
		if !joined && !x.up.buffered() {
			if d.flush() != nil {
				x.lost(d)
				return
			}
		}
		part, err := x.up.next()
		if err == io.EOF {
			break
		}
		if err != nil { // the caller has to notice that this is not the end
			if !x.waited() {
				x.lost(d)
				d.abort()
				return
			}
			x.flag, x.close = flagReset, true
			x.done(balance.LocalError)
			d.abort()
			return
		}
		if d.body(part, x.up.last()) != nil {
			x.lost(d)
			return
		}
	}
	lines := x.up.trailers()
	if x.grpc && x.answer == balance.Success {
		x.answer = judge(x.status, grpcStatus(lines))
	}
	if d.finish(trailersOf(lines)) != nil {
		x.lost(d)
	}
	x.sentBody = x.up.taken()
}

// defaultResponseIdle is how long a response may be silent once it has begun.
const defaultResponseIdle = 5 * time.Minute

// lost is the end of an exchange whose caller does not take the response.
func (x *exchange) lost(d near) {
	x.flag, x.close = flagGone, true
	x.done(balance.Canceled)
}

// switchOver passes on that the protocol changes, and then bytes, both ways, until both ends have ended.
func (x *exchange) switchOver(d near, h *wire.Head, text []byte) error {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Kind == wire.Upgrade && !bytes.EqualFold(f.Value.Of(text), x.upgrade) {
			return &wire.Error{Status: http.StatusBadGateway, Reason: "a switch to another protocol than asked for"}
		}
	}
	to, rest := x.up.tunnel()
	if err := d.switchOver(h, text, rest); err != nil {
		if _, malformed := err.(*wire.Error); malformed {
			return err
		}
		x.lost(d)
		return nil
	}
	x.close, x.passed, x.status = true, true, h.Status
	x.first = time.Since(x.begun)
	from, early := d.tunnel()
	var r relay
	if len(early) > 0 {
		if _, err := to.Write(early); err != nil {
			return nil
		}
	}
	r.run(from, to)
	x.tunnelled, x.sentBody = int64(len(early))+r.there.Load(), r.back.Load()
	x.done(balance.Success)
	return nil
}
