package httpapi

import (
	"context"
	"net/http"
)

// Auditor records requests.
type Auditor interface {
	// Begin records that a request that carries a secret is about to be handled, and returns what is called with its
	// status, 0 when it was broken off. It does not block.
	Begin(r *http.Request, secret string) (done func(status int))
}

// audited serves a request that is recorded. Such requests are not parked while they wait: each has an end of its own.
func (a *API) audited(w http.ResponseWriter, r *http.Request) {
	asked := &call{api: a, r: r, query: r.URL.Query()}
	done := a.Audit.Begin(r, asked.token())
	seen := &witness{ResponseWriter: w}
	whole := false
	defer func() {
		if !whole {
			seen.status = 0
		}
		done(seen.status)
	}()
	a.route(seen, r.WithContext(context.WithValue(r.Context(), lotKey{}, (*lot)(nil))))
	whole = true
}

// witness sees with which status an answer began.
type witness struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *witness) WriteHeader(status int) {
	if w.status < http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *witness) Write(b []byte) (int, error) {
	if w.status < http.StatusOK {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (w *witness) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }
