package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// respond reads the response and passes it on, interim ones first. An error means that there is none.
func (x *exchange) respond(d *downstream) error {
	by := x.begun.Add(or(or(or(x.route.timeout, x.leg.timeout), x.to.RequestTimeout), defaultRequestTimeout))
	for {
		head, text, err := x.up.receive(x.headOnly(), by, func() bool { return x.waited(d) })
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
		x.pass(d, head, text)
		return nil
	}
}

// waited reports whether the client still waits.
func (x *exchange) waited(d *downstream) bool {
	if x.waits && !x.upload.over.Load() || d.reader.r < d.reader.w {
		return true // reading its body will tell; or it has sent more
	}
	_, ended := d.probe.state()
	return !ended
}

// interim passes on a response before the final one, which HTTP/1.0 does not have.
func (x *exchange) interim(d *downstream, h *wire.Head, text []byte) error {
	if x.head.Minor == 0 || h.Status == http.StatusContinue && !x.head.Continue {
		return nil
	}
	var err error
	if d.out, err = x.appendResponse(d.out, h, text, framing); err != nil {
		return nil // it can be done without
	}
	d.out = append(d.out, "\r\n"...)
	x.passed = true
	return d.flush()
}

// appendResponse renders status line and fields of a response.
func (x *exchange) appendResponse(b []byte, h *wire.Head, text []byte, drop uint32) ([]byte, error) {
	var err error
	if x.named, err = nominated(x.named[:0], h, text); err != nil {
		return b, err
	}
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(h.Status), 10)
	b = append(append(append(b, ' '), h.Reason.Of(text)...), "\r\n"...)
	b = appendFields(b, h, text, drop, x.named, &x.leg.response)
	return append(b, x.leg.response.lines...), nil
}

// pass passes a final response on.
func (x *exchange) pass(d *downstream, h *wire.Head, text []byte) {
	length := h.Length
	drop := hopByHop | 1<<wire.Trailer
	if length < 0 {
		length = wire.Chunked
		if x.head.Minor == 0 {
			length, d.close = wire.UntilClose, true
		} else if h.Length == wire.Chunked {
			drop &^= 1 << wire.Trailer
		}
	}
	if x.waits && !x.upload.finished() {
		d.close = true
	}
	d.close = d.close || x.client.listening.stopping.Load()
	out, err := x.appendResponse(d.out[:0], h, text, drop)
	if err != nil {
		x.broken(d, err)
		return
	}
	x.status, x.passed = h.Status, true
	if h.Status >= 500 {
		x.done(Failed)
	}
	switch bodied := h.Status != http.StatusNoContent; {
	case length == wire.Chunked && !x.headOnly(), x.headOnly() && h.HasCoding() && x.head.Minor > 0:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case bodied && h.Declared >= 0:
		out = appendLength(out, h.Declared)
	}
	switch {
	case d.close:
		out = append(out, "Connection: close\r\n"...)
	case x.head.Minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	d.out = append(out, "\r\n"...)
	x.passBody(d, h.Length, length)
}

// passBody passes a body on that comes in one framing and goes in another.
func (x *exchange) passBody(d *downstream, came, goes int64) {
	idle := or(x.route.idle, defaultResponseIdle)
	x.up.limit = time.Time{}
	if t := or(or(x.route.timeout, x.leg.timeout), x.to.RequestTimeout); t > 0 {
		x.up.limit = x.begun.Add(t)
	}
	x.up.begin(came, 1, idle)
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
			x.flag, d.close = flagReset, true
			x.done(Broken)
			d.flush()
			abort(x.client.raw)
			return
		}
		if d.writer.body(goes, part) != nil {
			x.lost(d)
			return
		}
	}
	d.end(goes, trailersOf(x.up.trailers()))
	if d.flush() != nil {
		x.lost(d)
	}
	x.sentBody = x.up.reader.total
}

// defaultResponseIdle is how long a response may be silent once it has begun.
const defaultResponseIdle = 5 * time.Minute

// lost is the end of an exchange whose caller does not take the response.
func (x *exchange) lost(d *downstream) {
	x.flag, d.close = flagGone, true
	x.done(Abandoned)
}

// switchOver passes on that the protocol changes, and then bytes, both ways, until both ends have ended.
func (x *exchange) switchOver(d *downstream, h *wire.Head, text []byte) error {
	out, err := x.appendResponse(d.out[:0], h, text, framing)
	if err != nil {
		return err
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Kind == wire.Upgrade {
			if !bytes.EqualFold(f.Value.Of(text), x.upgrade) {
				return &wire.Error{Status: http.StatusBadGateway, Reason: "a switch to another protocol than asked for"}
			}
		}
	}
	out = append(append(append(out, "Connection: Upgrade\r\nUpgrade: "...), x.upgrade...), "\r\n\r\n"...)
	d.out = append(out, x.up.rest()...)
	d.close, x.passed, x.status = true, true, h.Status
	x.first = time.Since(x.begun)
	x.up.head.Close = true
	if d.flush() != nil {
		x.lost(d)
		return nil
	}
	early := d.in[d.reader.r:d.reader.w]
	d.reader.r = d.reader.w
	d.client.raw.SetDeadline(time.Time{})
	x.up.raw.SetDeadline(time.Time{})
	if x.up.pass(early) != nil {
		return nil
	}
	d.client.raw.SetDeadline(time.Time{})
	x.up.raw.SetDeadline(time.Time{})
	var r relay
	r.run(x.client.conn, x.up.reader.conn)
	d.reader.total, x.sentBody = r.there.Load(), r.back.Load()
	x.done(Answered)
	return nil
}
