package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// retries says when a request of a route is sent again, beyond what is done for every request.
type retries struct {
	most    int
	refused bool // when no connection could be made
	reset   bool // when there was no response: the connection broke, or it was too late
	server  bool // when the status is 500 or above
	codes   []int
	grpc    uint32 // by the status of gRPC, as bits
	methods []string
}

// Codes of gRPC.
// Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
const (
	grpcCancelled         = 1
	grpcUnknown           = 2
	grpcDeadlineExceeded  = 4
	grpcResourceExhausted = 8
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcDataLoss          = 15
)

// newRetries are those of a destination, nil where it wants none. Requests of a method that changes things are sent again
// only where the match names the method.
func newRetries(d *catalog.ServiceRouteDestination, m *catalog.ServiceRouteMatch) *retries {
	if d.NumRetries == 0 && !d.RetryOnConnectFailure && len(d.RetryOn) == 0 && len(d.RetryOnStatusCodes) == 0 {
		return nil
	}
	r := &retries{most: int(min(or(d.NumRetries, 1), maxRetries)), refused: d.RetryOnConnectFailure}
	for _, code := range d.RetryOnStatusCodes {
		r.codes = append(r.codes, int(code))
	}
	for _, on := range d.RetryOn {
		switch on {
		case "5xx":
			r.refused, r.reset, r.server = true, true, true
		case "gateway-error":
			r.codes = append(r.codes, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
		case "reset":
			r.reset = true
		case "reset-before-request", "connect-failure", "refused-stream":
			r.refused = true
		case "envoy-ratelimited":
			r.codes = append(r.codes, http.StatusTooManyRequests)
		case "retriable-4xx":
			r.codes = append(r.codes, http.StatusConflict)
		case "cancelled":
			r.grpc |= 1 << grpcCancelled
		case "deadline-exceeded":
			r.grpc |= 1 << grpcDeadlineExceeded
		case "internal":
			r.grpc |= 1 << grpcInternal
		case "resource-exhausted":
			r.grpc |= 1 << grpcResourceExhausted
		case "unavailable":
			r.grpc |= 1 << grpcUnavailable
		}
	}
	if m != nil && m.HTTP != nil {
		r.methods = m.HTTP.Methods
	}
	return r
}

// maxRetries bounds what a route may ask for.
const maxRetries = 10

// maxReplayed is how long a body may be to be kept for another attempt.
const maxReplayed = 64 << 10

// Why a request is sent again.
var (
	errUnwanted  = errors.New("the response is one that is not passed on")
	errUntouched = errors.New("the endpoint has not looked at the request") // it wraps the errors of far that say so
)

// verdict is what follows an attempt that failed.
type verdict uint8

const (
	giveUp  verdict = iota
	afresh          // to the same endpoint, over a new connection
	another         // to another endpoint
)

// again judges an attempt that failed. Nothing is sent again of which the caller has seen a part of the response, or whose
// body is not at hand. What may have been done already is done again only when twice is as good as once, or when the
// route wants it.
func (x *exchange) again(err error) verdict {
	r := x.route.retries
	switch {
	case x.passed || x.waits || errors.Is(err, errAbandoned):
		return giveUp
	case errors.Is(err, errUntouched):
		if x.tries < 2*maxAttempts && x.to.cluster.retry() {
			return another
		}
		return giveUp
	case errors.Is(err, errSilent) && x.tries < 2*maxAttempts && idempotent(view(x.head.Method.Of(x.text))) && time.Now().Before(x.by):
		return another // who is silent bears nothing of it: the budget has nothing to keep
	case x.up.stale() && x.tries <= maxAttempts && gone(err) && idempotent(view(x.head.Method.Of(x.text))):
		return afresh
	case errors.Is(err, errUnwanted):
		return another // it was judged before
	case r == nil || !r.reset || errors.As(err, new(*wire.Error)) || !x.more():
		return giveUp
	}
	return another
}

// more reports whether there is to be another attempt for a request of which something may have been done, and counts it.
func (x *exchange) more() bool {
	r := x.route.retries
	method := view(x.head.Method.Of(x.text))
	return x.tries <= r.most && (idempotent(method) || slices.Contains(r.methods, method)) && time.Now().Before(x.by) && x.to.cluster.retry()
}

// unwanted reports whether a response is not passed on, as another attempt is made.
func (x *exchange) unwanted(h *wire.Head, text []byte) bool {
	r := x.route.retries
	if x.passed || x.waits {
		return false
	}
	if x.unseen(h) {
		x.answer = balance.Refused
		return x.tries < maxAttempts // no application has borne anything of it
	}
	if r == nil {
		return false
	}
	wanted := !(r.server && h.Status >= 500) && !slices.Contains(r.codes, h.Status)
	if wanted && r.grpc != 0 {
		if code := x.grpcHead(h, text); code >= 0 {
			wanted = r.grpc>>code&1 == 0
		}
	}
	if wanted {
		return false
	}
	x.spent = x.tries > r.most
	return x.more()
}

// discard ends an attempt whose response nobody gets. Its connection is kept when that is quickly done.
func (x *exchange) discard(h *wire.Head, now time.Time) {
	x.up.begin(h.Length, discardTime, now.Add(discardTime))
	for x.up.taken() <= maxGathered {
		if _, err := x.up.next(); err != nil {
			x.refit = err == io.EOF
			return
		}
	}
}

const discardTime = 50 * time.Millisecond

// pause waits before an endpoint is asked again that failed just now, a little longer each time.
func (x *exchange) pause() {
	if !slices.Contains(x.failed, x.end) {
		return
	}
	most := min(firstPause<<min(x.tries, 4), max(0, time.Until(x.by)))
	if most > 0 {
		time.Sleep(rand.N(most)/2 + most/2)
	}
}

const firstPause = 10 * time.Millisecond

// judge is how an endpoint is judged by what it answered.
func judge(status, grpc int) balance.Outcome {
	switch grpc {
	case grpcResourceExhausted:
		return balance.Limited
	case grpcInternal, grpcUnavailable, grpcUnknown, grpcDataLoss:
		return balance.ServerError
	}
	switch {
	case status == 0:
		return balance.Canceled
	case status == http.StatusTooManyRequests:
		return balance.Limited
	case status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout:
		return balance.GatewayError
	case status >= http.StatusInternalServerError:
		return balance.ServerError
	}
	return balance.Success
}
