package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Error is an answer of the agent that is no success.
type Error struct {
	Method string
	Path   string // without its parameters
	Status int    // the HTTP status
	Body   string // what the agent says, shortened to 4 KiB
	Meta   Meta
}

func (e *Error) Error() string {
	text := strings.Join(strings.Fields(e.Body), " ")
	if text == "" {
		text = http.StatusText(e.Status)
	}
	return fmt.Sprintf("%s %s: unexpected response code: %d (%s)", e.Method, e.Path, e.Status, text)
}

// Code is the error's code in the product's own words.
func (e *Error) Code() catalog.Code {
	switch e.Status {
	case http.StatusNotFound:
		return catalog.NotFound
	case http.StatusForbidden, http.StatusUnauthorized:
		return catalog.Denied
	case http.StatusConflict:
		return catalog.Conflict
	case http.StatusRequestEntityTooLarge:
		return catalog.TooLarge
	case http.StatusTooManyRequests:
		return catalog.Limited
	case http.StatusServiceUnavailable:
		return catalog.Unavailable
	}
	if e.Status >= 400 && e.Status < 500 {
		return catalog.Invalid
	}
	return catalog.Internal
}

// IsStatus reports whether err is an answer with one of the HTTP statuses.
func IsStatus(err error, statuses ...int) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, s := range statuses {
		if e.Status == s {
			return true
		}
	}
	return false
}
