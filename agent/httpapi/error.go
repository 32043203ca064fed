package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/curia-mesh/curia/catalog"
)

// statusError is an error that knows its HTTP status: one of the API's own rather than of a server.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func withStatus(status int, format string, args ...any) error {
	return &statusError{status, fmt.Errorf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return withStatus(http.StatusBadRequest, format, args...)
}

func notFound(format string, args ...any) error {
	return withStatus(http.StatusNotFound, format, args...)
}

func tooLarge(size, limit int64) error {
	return withStatus(http.StatusRequestEntityTooLarge, "request body has %d bytes or more: at most %d are allowed", size, limit)
}

// statusOf is the mapper of errors to HTTP. Like Consul it answers 500 when a server refuses a request as
// invalid, and 400 when the API itself cannot read it.
func statusOf(err error) int {
	var own *statusError
	if errors.As(err, &own) {
		return own.status
	}
	if errors.Is(err, context.Canceled) {
		return 499 // the client went away; nobody reads this but the metrics
	}
	switch catalog.CodeOf(err) {
	case catalog.NotFound:
		return http.StatusNotFound
	case catalog.Denied:
		return http.StatusForbidden
	case catalog.TooLarge:
		return http.StatusRequestEntityTooLarge
	case catalog.Limited:
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// fail writes an error as the answer.
func (c *call) fail(err error) {
	h := c.w.Header()
	if c.ending(err) {
		err = withStatus(http.StatusServiceUnavailable, "this agent is ending and does not wait any more: ask again in a moment, or another agent")
		h["Retry-After"] = valueRetry
	}
	status := statusOf(err)
	for _, key := range []string{headerIndex, headerLeader, headerContact, headerBackend, headerEffective, headerFiltered} {
		h.Del(key)
	}
	if asked := status != http.StatusBadRequest && status != http.StatusUnauthorized; asked && c.route.Blank && c.r.Method == http.MethodGet {
		h[headerIndex], h[headerLeader], h[headerContact], h[headerBackend] = valueFirst, valueFalse, valueZero, valueBlocking
	}
	h.Set("Content-Type", typeText)
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // else the rest of the body is read before the answer is sent
	}
	if status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable {
		c.log().Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "from", c.r.RemoteAddr, "err", err)
	} else {
		c.log().Debug("request refused", "method", c.r.Method, "path", c.r.URL.Path, "from", c.r.RemoteAddr, "status", status, "err", err)
	}
	if status == http.StatusNotFound && err.Error() == "" {
		c.w.WriteHeader(status)
		return
	}
	c.write(status, []byte(err.Error()))
}
