package proxy

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

var past = time.Unix(1, 0)

// over implements near.
func (d *downstream) over() bool { return d.reader.ended }

// taken implements near.
func (d *downstream) taken() int64 { return d.reader.total }

// drain implements near.
func (d *downstream) drain() bool {
	for d.reader.total <= 2*maxDrain {
		if _, err := d.reader.next(); err != nil {
			return err == io.EOF
		}
	}
	return false
}

// interrupt implements near.
func (d *downstream) interrupt(on bool) {
	if on {
		d.client.raw.SetReadDeadline(past)
	} else {
		d.readBy = time.Time{}
	}
}

// gone implements near.
func (d *downstream) gone() bool {
	if d.reader.r < d.reader.w {
		return false // it has sent more
	}
	_, ended := d.probe.state()
	return ended
}

// passOn implements near.
func (d *downstream) passOn(to io.Closer) bool { return d.client.passOn(to, d.work.text) }

// interim implements near.
func (d *downstream) interim(h *wire.Head, text []byte) error {
	out, err := d.appendResponse(d.out, h, text, framing)
	if err != nil {
		return nil // it can be done without
	}
	d.out = append(out, "\r\n"...)
	return d.flush()
}

// appendResponse renders status line and fields of a response.
func (x *exchange) appendResponse(b []byte, h *wire.Head, text []byte, drop uint32) ([]byte, error) {
	var err error
	if x.named, err = nominated(x.named[:0], h, text); err != nil {
		return b, err
	}
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(h.Status), 10)
	b = append(b, ' ')
	if h.Reason.From < h.Reason.To {
		b = append(b, h.Reason.Of(text)...)
	} else { // HTTP/2 has none
		b = append(b, http.StatusText(h.Status)...)
	}
	b = append(b, "\r\n"...)
	b = appendFields(b, h, text, drop, x.named, &x.leg.response)
	b = append(b, x.leg.response.lines...)
	if h.Status >= 200 {
		b = append(b, x.given...)
	}
	return b, nil
}

// respond implements near.
func (d *downstream) respond(h *wire.Head, text []byte) error {
	length := h.Length
	drop := hopByHop | 1<<wire.Trailer
	if length > 0 && d.exchange.head.Minor > 0 && d.up.rears() && announces(h) {
		length = wire.Chunked
		drop &^= 1 << wire.Trailer
	}
	if length < 0 {
		length = wire.Chunked
		if d.exchange.head.Minor == 0 {
			length, d.close = wire.UntilClose, true
		} else if h.Length == wire.Chunked {
			drop &^= 1 << wire.Trailer
		}
	}
	if drop>>wire.Trailer&1 == 0 && !promises(h, text) {
		drop |= 1 << wire.Trailer
	}
	d.close = d.close || d.client.spent(d.exchange.begun.Add(d.first))
	out, err := d.appendResponse(d.out[:0], h, text, drop)
	if err != nil {
		return err
	}
	switch bodied := h.Status != http.StatusNoContent; {
	case length == wire.Chunked && !d.headOnly(), d.headOnly() && h.HasCoding() && d.exchange.head.Minor > 0:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case bodied && h.Declared >= 0:
		out = appendLength(out, h.Declared)
	}
	switch {
	case d.close:
		out = append(out, "Connection: close\r\n"...)
	case d.exchange.head.Minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	d.out, d.goes = append(out, "\r\n"...), length
	return nil
}

// announces reports whether a head tells of trailers.
func announces(h *wire.Head) bool {
	return slices.ContainsFunc(h.Fields, func(f wire.Field) bool { return f.Kind == wire.Trailer })
}

// body implements near.
func (d *downstream) body(part []byte, _ bool) error { return d.writer.body(d.goes, part) }

// finish implements near.
func (d *downstream) finish(trailers []byte) error {
	d.writer.end(d.goes, trailers)
	return d.flush()
}

// flush implements near.
func (d *downstream) flush() error { return d.writer.flush() }

// abort implements near.
func (d *downstream) abort() {
	d.flush()
	abort(d.client.raw)
}

// switchOver implements near.
func (d *downstream) switchOver(h *wire.Head, text, rest []byte) error {
	out, err := d.appendResponse(d.out[:0], h, text, framing)
	if err != nil {
		return err
	}
	out = append(append(append(out, "Connection: Upgrade\r\nUpgrade: "...), d.upgrade...), "\r\n\r\n"...)
	d.out = append(out, rest...)
	return d.flush()
}

// tunnel implements near.
func (d *downstream) tunnel() (net.Conn, []byte) {
	early := d.in[d.reader.r:d.reader.w]
	d.reader.r = d.reader.w
	d.client.raw.SetDeadline(time.Time{})
	return d.client.conn, early
}

// answer implements near.
func (d *downstream) answer(status int, reason, fields string, headOnly, stay bool) bool {
	text := strconv.Itoa(status) + " " + http.StatusText(status) + ": " + reason + "\n"
	d.out = append(d.out[:0], "HTTP/1.1 "...)
	d.out = strconv.AppendInt(d.out, int64(status), 10)
	d.out = append(append(append(d.out, ' '), http.StatusText(status)...), "\r\n"...)
	d.out = append(append(d.out, "Content-Type: text/plain; charset=utf-8\r\n"...), fields...)
	d.out = appendLength(d.out, int64(len(text)))
	if !stay {
		d.out = append(d.out, "Connection: close\r\n"...)
	}
	d.out = append(d.out, "\r\n"...)
	if !headOnly {
		d.out = append(d.out, text...)
	}
	return d.flush() == nil
}

var _ near = (*downstream)(nil)
