package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// exchange is a request and its response on their way through. It is used for one after the other and takes no memory
// of its own then.
type exchange struct {
	client  *client
	near    near
	conf    *Listener // that it was allowed by
	request           // as it is passed on
	asked   connect.Request
	tokens  tokens
	header  http.Header
	values  []string
	bare    []byte
	target  []byte // of an absolute form, rewritten and canonical paths
	body    []byte // of the request, that came with its head
	given   []byte // fields that the response gets beside what its leg says
	whole   bool   // all of it did
	waits   bool   // its body is passed on beside the response
	upload  upload

	begun time.Time
	route *route
	leg   *leg
	try
	up        far
	close     bool   // the caller's connection does not go on
	status    int    // that the caller got
	flag      string // why it was not an endpoint's, or broke
	passed    bool   // something was passed on to the caller
	first     time.Duration
	sentBody  int64
	tunnelled int64 // bytes from the caller, of another protocol
}

// clear forgets what belongs to others.
func (x *exchange) clear() {
	clear(x.values)
	clear(x.header)
	clear(x.tokens.looked)
	header, values, looked := x.header, x.values[:0], x.tokens.looked[:0]
	bare, target, body, given := x.bare[:0], x.target[:0], x.body[:0], x.given[:0]
	path, named, lines := x.path[:0], x.named[:0], x.lines[:0]
	*x = exchange{} // one with what is kept would be made elsewhere, and copied
	x.header, x.values, x.tokens.looked = header, values, looked
	x.bare, x.target, x.body, x.given = bare, target, body, given
	x.path, x.named, x.lines = path, named, lines
}

// The flags of records.
const (
	flagMalformed = "malformed"
	flagDenied    = "denied"
	flagToken     = "unauthenticated"
	flagRate      = "rate_limited"
	flagFault     = "fault_injected"
	flagNoTarget  = "no_endpoint"
	flagConnect   = "connect_failed"
	flagOverflow  = "overflow"
	flagReset     = "endpoint_reset"
	flagSilent    = "endpoint_silent"
	flagResponse  = "bad_response"
	flagLate      = "timeout"
	flagGone      = "caller_gone"
	flagCut       = "cut"
)

// now is what time it is. To ask for the wall clock too would cost twice as much.
func (x *exchange) now() time.Time { return x.begun.Add(time.Since(x.begun)) }

// run carries out the exchange for a request of d, and returns when that was done.
func (x *exchange) run(d near, c *client, conf *Listener, head *wire.Head, text []byte) time.Time {
	x.client, x.near, x.conf, x.begun = c, d, conf, time.Now()
	x.head, x.text = head, text
	x.close = head.Close || c.listening.stopping.Load()
	carried := false
	defer func() {
		if !carried {
			x.abort(d)
		}
	}()
	x.carry(d, conf)
	now := x.now()
	if x.up != nil {
		x.release(d, now)
	}
	x.leave()
	ended := now
	if !d.over() && !x.close {
		x.close = !d.drain()
		ended = time.Now()
	}
	x.account(d, conf, now.Sub(x.begun))
	carried = true
	return ended
}

// abort gives back what the exchange has when carrying it out has panicked: others share it.
func (x *exchange) abort(d near) {
	if up := x.up; up != nil {
		x.up = nil
		d.passOn(nil)
		up.Close()
		if x.uploading() {
			x.upload.stop(d, up)
		}
		up.release(false, time.Now())
	}
	x.done(balance.Canceled)
	x.leave()
}

// carry does what comes between reading the head and accounting for what became of it.
func (x *exchange) carry(d near, conf *Listener) {
	if err := x.prepare(conf); err != nil {
		x.close = true
		var e *wire.Error
		if errors.As(err, &e) {
			x.reject(d, e.Status, flagMalformed, e.Reason, "")
		} else {
			x.reject(d, http.StatusBadRequest, flagMalformed, err.Error(), "")
		}
		return
	}
	if conf.Policy != nil {
		if conf.Tokens != nil {
			x.carriesTokens(conf)
		}
		switch v := x.authorize(conf); {
		case v.Verdict == connect.Allow:
			if v.Audited {
				x.client.listening.audit("request", conf, x.client, v)
			}
			x.passTokens()
		case v.Unproven && v.Token != nil:
			x.unproven(d, conf, v)
			return
		default:
			x.deny(d, conf, v)
			return
		}
	}
	if x.limited(d) {
		return
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
		hash = x.hash64(&q)
	}
	if x.route.fault != nil && x.fails(d, x.route.fault) {
		return
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
func (x *exchange) reject(d near, status int, flag, reason, fields string) {
	if n := x.head.Length; !d.over() && (x.head.Continue || n == wire.Chunked || n > maxDrain) {
		x.close = true
	}
	x.status, x.flag = status, flag
	if !d.answer(status, reason, fields, x.headOnly(), !x.close) {
		x.status, x.close = 0, true
	}
}

// maxDrain is how much of a body that nobody wants is read so that the connection can go on.
const maxDrain = 64 << 10

func (x *exchange) deny(d near, conf *Listener, v connect.Decision) {
	x.client.listening.deny("request denied", conf, x.client, v)
	fields := ""
	if conf.Explain {
		fields = string(appendField(nil, "X-Curia-Denied-By", v.String()))
	}
	x.reject(d, http.StatusForbidden, flagDenied, "an intention denies this request", fields)
}

func (x *exchange) headOnly() bool { return view(x.head.Method.Of(x.text)) == http.MethodHead }

// gather takes what there is of the body, and waits for the rest of a short one, so that it leaves with the head.
func (x *exchange) gather(d near) error {
	x.length = x.head.Length
	x.body = x.body[:0]
	most := maxGathered
	if x.route.retries != nil {
		most = maxReplayed
	}
	short := x.head.Length >= 0 && x.head.Length <= int64(most) && !x.head.Continue
	for !d.over() && (short || d.buffered()) && len(x.body) < most {
		part, err := d.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		x.body = append(x.body, part...)
		if x.length == wire.Chunked && !d.buffered() {
			break
		}
	}
	x.whole = d.over()
	if x.whole {
		x.trailers = trailersOf(d.rear())
	}
	x.waits = !x.whole
	return nil
}

// maxGathered is how long a body may be to leave with its head.
const maxGathered = 16 << 10

// broken ends an exchange whose connections do not go on.
func (x *exchange) broken(d near, err error) {
	x.close = true
	if x.up == nil {
		x.faulty(d, err)
		return
	}
	if x.uploading() && !x.upload.stop(d, x.up) && x.upload.client && !errors.Is(err, errLate) {
		x.done(balance.Canceled)
		x.faulty(d, x.upload.err)
		return
	}
	var malformed *wire.Error
	out := balance.LocalError
	status, reason := http.StatusBadGateway, "the connection broke before there was a response"
	switch {
	case errors.Is(err, errLate):
		status, reason, x.flag = http.StatusGatewayTimeout, "no response in time", flagLate
		if x.impatient() {
			x.done(balance.Canceled)
		}
	case errors.Is(err, errAbandoned):
		x.flag = flagGone
		x.done(balance.Canceled)
		return
	case errors.Is(err, errSilent):
		status, reason, x.flag = http.StatusGatewayTimeout, err.Error(), flagSilent
	case errors.As(err, &malformed):
		reason, x.flag = "the response is malformed: "+malformed.Reason, flagResponse
	default:
		x.flag = flagReset
		out = x.broke(err)
	}
	x.done(out)
	x.reject(d, status, x.flag, "endpoint of "+x.to.Name+": "+reason, "")
}

// faulty ends an exchange whose client broke off, or sends what is no body.
func (x *exchange) faulty(d near, err error) {
	x.flag = flagGone
	var malformed *wire.Error
	if errors.As(err, &malformed) {
		x.reject(d, malformed.Status, flagMalformed, malformed.Reason, "")
	}
}

func (x *exchange) uploading() bool { return x.waits && x.upload.done != nil }

// release ends what the exchange has of the endpoint.
func (x *exchange) release(d near, now time.Time) {
	d.passOn(nil)
	fit := x.flag == ""
	if x.uploading() && !x.upload.stop(d, x.up) {
		fit, x.close = false, true
	}
	x.up.release(fit, now)
	x.up = nil
	if x.client.cutBy.Load() {
		x.close = true
	}
	x.doneAt(x.answer, now)
}

// account counts the exchange, and tells the access log and the trace of it.
func (x *exchange) account(d near, conf *Listener, took time.Duration) {
	there, p := d.taken()+x.tunnelled, x.client.listening.proxy
	if x.to != nil {
		x.to.stats.of(x.client.shard).exchanged(x.status, took, there, x.sentBody)
	} else {
		x.client.listening.own.of(x.client.shard).exchanged(x.status, took, there, x.sentBody)
	}
	if x.route != nil && x.route.stats != nil {
		x.route.stats.of(x.client.shard).exchanged(x.status, took, there, x.sentBody)
	}
	if log := p.Access; log != nil && !log.Off.Load() {
		log.add(func(r *Record) { x.record(r, conf, took) })
	}
	if p.Tracer != nil {
		x.finish(p.Tracer, conf, took)
	}
}
