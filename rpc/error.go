package rpc

import "fmt"

// The codes of the errors that the transport itself answers with. They are catalog's.
const (
	codeInternal    = "internal"
	codeInvalid     = "invalid"
	codeLimited     = "limited"
	codeTooLarge    = "too_large"
	codeUnavailable = "unavailable"
)

// EncodeError turns the error of a handler into what crosses the network.
type EncodeError func(error) (code, msg string)

// DecodeError turns what crossed the network, and failures of the transport itself, into an error.
type DecodeError func(code, msg string) error

// RemoteError is an error as it crossed the network; it is what a nil DecodeError makes.
type RemoteError struct{ Code, Msg string }

func (e *RemoteError) Error() string { return e.Msg }

func (decode DecodeError) make(code, msg string) error {
	if decode == nil {
		return &RemoteError{code, msg}
	}
	return decode(code, msg)
}

func (encode EncodeError) split(err error) (code, msg string) {
	if encode == nil {
		return codeInternal, err.Error()
	}
	return encode(err)
}

// LinkError is a call without an answer because its connection could not be made, or died. Besides the cause it
// holds what DecodeError makes of code "unavailable".
type LinkError struct {
	// Addr is who was called.
	Addr string
	// Sent is whether the far side may have got the call, and acted on it.
	Sent bool

	cause, coded error
}

func newLinkError(decode DecodeError, addr string, sent bool, cause error) *LinkError {
	e := &LinkError{Addr: addr, Sent: sent, cause: cause}
	e.coded = decode.make(codeUnavailable, e.Error())
	return e
}

func (e *LinkError) Error() string {
	if e.Sent {
		return fmt.Sprintf("rpc: connection to %s lost: %v", e.Addr, e.cause)
	}
	return fmt.Sprintf("rpc: no connection to %s: %v", e.Addr, e.cause)
}

// Unwrap returns the coded error and the cause.
func (e *LinkError) Unwrap() []error { return []error{e.coded, e.cause} }
