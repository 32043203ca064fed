package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// exchange is a request and its response on their way through. It is used for one after the other and takes no memory
// of its own then.
type exchange struct {
	client  *client
	request // as it is passed on
	asked   connect.Request
	header  http.Header
	values  []string
	bare    []byte
	target  []byte // of an absolute form, rewritten and canonical paths
	body    []byte // of the request, that came with its head
	whole   bool   // all of it did
	waits   bool   // its body is passed on beside the response
	upload  upload

	begun    time.Time
	route    *route
	leg      *leg
	to       *Target
	place    int
	up       *upstream
	status   int    // that the caller got
	flag     string // why it was not an endpoint's, or broke
	passed   bool   // something was passed on to the caller
	first    time.Duration
	sentBody int64
}

// clear forgets what belongs to others.
func (x *exchange) clear() {
	clear(x.values)
	clear(x.header)
	*x = exchange{
		header: x.header, values: x.values[:0], bare: x.bare[:0], target: x.target[:0], body: x.body[:0],
		request: request{path: x.path[:0], named: x.named[:0], lines: x.lines[:0]},
	}
}

// The flags of records.
const (
	flagMalformed = "malformed"
	flagDenied    = "denied"
	flagNoTarget  = "no_endpoint"
	flagConnect   = "connect_failed"
	flagReset     = "endpoint_reset"
	flagResponse  = "bad_response"
	flagLate      = "timeout"
	flagGone      = "caller_gone"
	flagCut       = "cut"
)

// run carries out the exchange for the request in d.
func (x *exchange) run(d *downstream, conf *Listener) {
	x.client, x.begun, x.place = d.client, time.Now(), -1
	x.head, x.text = &d.head, d.text
	d.close = d.head.Close || x.client.listening.stopping.Load()
	d.begin(d.head.Length, or(conf.Part, defaultPart), or(conf.PartTime, defaultPartTime))
	x.carry(d, conf)
	now := time.Now()
	if x.up != nil {
		x.release(d, now)
	}
	if !d.reader.ended && !d.close {
		d.close = !d.drain()
	}
	x.account(d, conf, now.Sub(x.begun))
}

// carry does what comes between reading the head and accounting for what became of it.
func (x *exchange) carry(d *downstream, conf *Listener) {
	if err := x.prepare(conf); err != nil {
		d.close = true
		var e *wire.Error
		if errors.As(err, &e) {
			x.reject(d, e.Status, flagMalformed, e.Reason, "")
		} else {
			x.reject(d, http.StatusBadRequest, flagMalformed, err.Error(), "")
		}
		return
	}
	if conf.Policy != nil {
		if v := x.authorize(conf); v.Verdict != connect.Allow {
			x.deny(d, conf, v)
			return
		}
	}
	q := query{view(x.head.Method.Of(x.text)), view(x.path), "", x.head, x.text}
	if len(x.query) > 0 {
		q.raw = view(x.query[1:])
	}
	x.route = conf.Routes.find(&q)
	x.leg = x.route.pick()
	x.edits = &x.leg.request
	var hash uint64
	if len(x.route.hash) > 0 {
		hash = x.route.hash64(&q, x.client)
	}
	if err := x.rewrite(conf); err != nil {
		x.reject(d, http.StatusBadRequest, flagMalformed, err.Error(), "")
		return
	}
	if err := x.gather(d); err != nil {
		x.broken(d, err)
		return
	}
	x.attempt(d, hash)
}

// reject answers in place of an endpoint.
func (x *exchange) reject(d *downstream, status int, flag, reason, fields string) {
	if d.reader.ended || d.head.Length == 0 {
		// The connection can go on.
	} else if d.head.Continue || d.head.Length == wire.Chunked || d.head.Length > maxDrain {
		d.close = true
	}
	x.status, x.flag = status, flag
	if !d.answer(status, reason, fields, x.headOnly(), !d.close) {
		x.status, d.close = 0, true
	}
}

// maxDrain is how much of a body that nobody wants is read so that the connection can go on.
const maxDrain = 64 << 10

// drain reads what is left of a body. It reports whether the connection can go on.
func (d *downstream) drain() bool {
	for d.reader.total <= 2*maxDrain {
		if _, err := d.reader.next(); err != nil {
			return err == io.EOF
		}
	}
	return false
}

func (x *exchange) deny(d *downstream, conf *Listener, v connect.Decision) {
	x.client.listening.proxy.Log.Info("request denied", "listener", conf.Name, "from", x.client.caller.Service, "by", v.String())
	fields := ""
	if conf.Explain {
		fields = string(appendField(nil, "X-Curia-Denied-By", v.String()))
	}
	x.reject(d, http.StatusForbidden, flagDenied, "an intention denies this request", fields)
}

func (x *exchange) headOnly() bool { return view(x.head.Method.Of(x.text)) == http.MethodHead }

// gather takes what there is of the body, and waits for the rest of a short one, so that it leaves with the head.
func (x *exchange) gather(d *downstream) error {
	x.length = x.head.Length
	x.body = x.body[:0]
	short := x.head.Length >= 0 && x.head.Length <= maxGathered && !x.head.Continue
	for !d.reader.ended && (short || d.reader.buffered()) && len(x.body) < maxGathered {
		part, err := d.reader.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		x.body = append(x.body, part...)
		if x.length == wire.Chunked && !d.reader.buffered() {
			break
		}
	}
	x.whole = d.reader.ended
	if x.whole {
		x.trailers = trailersOf(d.reader.rear())
	}
	x.waits = !x.whole
	return nil
}

// maxGathered is how long a body may be to leave with its head.
const maxGathered = 16 << 10

// attempt sends the request, to another endpoint when no connection can be made to one, and passes the response on.
func (x *exchange) attempt(d *downstream, hash uint64) {
	fresh := false
	for {
		if x.up == nil {
			if err := x.open(d, hash, fresh); err != nil {
				return
			}
		}
		if !x.client.passOn(x.up.raw) {
			x.flag, d.close = flagCut, true
			return
		}
		err := x.up.send(&x.request, x.body, x.whole)
		if err == nil && x.waits {
			x.upload.start(d, x.up)
		}
		if err == nil || !x.up.used {
			if err = x.respond(d); err == nil {
				return
			}
		}
		if x.again(err) {
			x.up.release(false, time.Time{})
			x.up, fresh = nil, true
			x.to.stats.of(x.client.shard).retries.Add(1)
			continue
		}
		x.broken(d, err)
		return
	}
}

// again reports whether a request may be sent once more, over a new connection: when the old one was kept, nothing of a
// response has come, and doing it twice is doing it once. The endpoint may have closed it just then.
func (x *exchange) again(err error) bool {
	return x.up.used && !x.up.begun && !x.waits && gone(err) && idempotent(view(x.head.Method.Of(x.text)))
}

// Source: RFC 9110, 9.2.2
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// open gets a connection to an endpoint. When it cannot the caller has its answer.
func (x *exchange) open(d *downstream, hash uint64, fresh bool) error {
	if fresh { // to the same endpoint
		up, err := x.to.hosts[x.place].connect(x.to, x.client)
		if err != nil {
			x.done(Refused)
			x.reject(d, http.StatusServiceUnavailable, flagConnect, "no connection to an endpoint of "+x.to.Name+" could be made", "")
		}
		x.up = up
		return err
	}
	var last error
	for _, t := range x.leg.targets {
		not := -1
		for range maxAttempts {
			place := t.Balancer.Pick(hash, not)
			if place < 0 || place >= len(t.hosts) {
				break
			}
			x.to, x.place = t, place
			if t.SendProxy == 0 {
				if x.up = t.hosts[place].take(x.begun); x.up != nil {
					return nil
				}
			}
			if x.up, last = t.hosts[place].connect(t, x.client); last == nil {
				return nil
			}
			t.stats.of(x.client.shard).refused.Add(1)
			x.done(Refused)
			not = place
		}
	}
	if last == nil {
		last = errNoEndpoint
		x.reject(d, http.StatusServiceUnavailable, flagNoTarget, x.leg.targets[0].Name+" has no endpoint that can be used", "")
		return last
	}
	x.client.listening.proxy.Log.Warn("no connection to an endpoint", "target", x.to.Name, "err", last)
	x.reject(d, http.StatusServiceUnavailable, flagConnect, "no connection to an endpoint of "+x.to.Name+" could be made", "")
	return last
}

// done tells the balancer how it went, once.
func (x *exchange) done(r Result) {
	if x.place >= 0 {
		x.to.done(x.place, r, or(x.first, time.Since(x.begun)))
		x.place = -1
	}
}

// broken ends an exchange whose connections do not go on.
func (x *exchange) broken(d *downstream, err error) {
	d.close = true
	if x.up == nil {
		x.faulty(d, err)
		return
	}
	if x.uploading() && !x.upload.stop(d, x.up) && x.upload.client && !errors.Is(err, errLate) {
		x.done(Abandoned)
		x.faulty(d, x.upload.err)
		return
	}
	var malformed *wire.Error
	status, result, reason := http.StatusBadGateway, Broken, "the connection broke before there was a response"
	switch {
	case errors.Is(err, errLate):
		status, result, reason, x.flag = http.StatusGatewayTimeout, TimedOut, "no response in time", flagLate
	case errors.Is(err, errAbandoned):
		x.flag = flagGone
		x.done(Abandoned)
		return
	case errors.As(err, &malformed):
		reason, x.flag = "the response is malformed: "+malformed.Reason, flagResponse
	default:
		x.flag = flagReset
	}
	x.done(result)
	x.reject(d, status, x.flag, "endpoint of "+x.to.Name+": "+reason, "")
}

// faulty ends an exchange whose client broke off, or sends what is no body.
func (x *exchange) faulty(d *downstream, err error) {
	x.flag = flagGone
	var malformed *wire.Error
	if errors.As(err, &malformed) {
		x.reject(d, malformed.Status, flagMalformed, malformed.Reason, "")
	}
}

func (x *exchange) uploading() bool { return x.waits && x.upload.done != nil }

// release ends what the exchange has of the endpoint.
func (x *exchange) release(d *downstream, now time.Time) {
	x.client.passOn(nil)
	fit := x.flag == "" && !x.up.head.Close
	if x.uploading() && !x.upload.stop(d, x.up) {
		fit, d.close = false, true
	}
	x.up.release(fit, now)
	x.up = nil
	if x.client.cutBy.Load() {
		d.close = true
	}
	x.done(Answered)
}

// account counts the exchange and tells the access log of it.
func (x *exchange) account(d *downstream, conf *Listener, took time.Duration) {
	if x.to != nil {
		x.to.stats.of(x.client.shard).exchanged(x.status, took, d.reader.total, x.sentBody)
	} else {
		x.client.listening.own.of(x.client.shard).exchanged(x.status, took, d.reader.total, x.sentBody)
	}
	if log := x.client.listening.proxy.Access; log != nil {
		log.add(func(r *Record) {
			*r = Record{
				Begun: x.begun, Took: took, Listener: conf.Name, Caller: x.client.caller.Service, Status: x.status, Flag: x.flag,
				There: d.reader.total, Back: x.sentBody, Method: append(r.Method[:0], x.head.Method.Of(x.text)...), Path: append(r.Path[:0], x.path...),
			}
			if x.to != nil {
				r.Target = x.to.Name
			}
		})
	}
}

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
