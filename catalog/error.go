package catalog

import (
	"errors"
	"fmt"
)

// Code classifies an error for whoever has to answer with it. It survives the network; the three
// mappers (HTTP status, wire, DNS rcode) switch on it.
type Code string

const (
	// NotFound is a thing that does not exist.
	NotFound Code = "not_found"
	// Invalid is a request that can never succeed as it stands.
	Invalid Code = "invalid"
	// TooLarge is a request over a size limit.
	TooLarge Code = "too_large"
	// Denied is a request the token may not make.
	Denied Code = "denied"
	// Conflict is a request that lost against the present state.
	Conflict Code = "conflict"
	// Limited is a request over a rate or count limit.
	Limited Code = "limited"
	// NoLeader means that no server leads at the moment; try again.
	NoLeader Code = "no_leader"
	// NoPath means that a datacenter is unknown or unreachable.
	NoPath Code = "no_path"
	// Unavailable means that the one who should answer cannot at the moment.
	Unavailable Code = "unavailable"
	// Internal is everything else.
	Internal Code = "internal"
)

// Error is an error with a code.
type Error struct {
	Code Code
	Msg  string
	err  error
}

// Errorf makes an error with a code; each %w in format keeps a cause.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Msg: err.Error(), err: err}
}

func (e *Error) Error() string { return e.Msg }

// Unwrap leads to the causes, if there are any.
func (e *Error) Unwrap() error { return e.err }

// CodeOf returns the code of err: of the outermost Error in its chain, Internal when there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
