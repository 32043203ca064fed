package rpc

import (
	"context"
	"fmt"
	"time"
)

// Consistency says how current a read must be.
// Source: https://developer.hashicorp.com/consul/api-docs/features/consistency
type Consistency uint8

const (
	// Default reads on the leader while its lease holds.
	Default Consistency = iota
	// Consistent makes the leader confirm its leadership with a quorum before it reads.
	Consistent
	// Stale lets any server answer from its own copy.
	Stale
)

// Header travels in front of every request. Hops read it and copy the body unread.
type Header struct {
	// Datacenter that must answer; empty means the caller's own.
	Datacenter string `codec:"dc,omitempty"`
	// Token is the secret of the ACL token the request is made with.
	Token string `codec:"tok,omitempty"`
	// Consistency of a read.
	Consistency Consistency `codec:"con,omitempty"`
	// MaxStale bounds how long ago a stale server may last have heard of its leader; 0 is any time.
	MaxStale time.Duration `codec:"max,omitempty"`
	// MinIndex makes a read block until its result's index is above it; 0 does not block.
	MinIndex uint64 `codec:"min,omitempty"`
	// MaxWait bounds a blocking read.
	MaxWait time.Duration `codec:"wait,omitempty"`
	// Filter is a go-bexpr expression applied to the elements of a list result.
	Filter string `codec:"flt,omitempty"`
	// Forwarded counts the servers the request came through, so that a routing loop ends.
	Forwarded uint8 `codec:"fwd,omitempty"`
}

// Meta travels in front of every reply.
type Meta struct {
	// Index of the result; pass it as the next MinIndex to wait for a change.
	Index uint64 `codec:"idx,omitempty"`
	// LastContact is how long ago the answering server heard of its leader; 0 on the leader.
	LastContact time.Duration `codec:"lc,omitempty"`
	// KnownLeader is whether the answering server knows a leader.
	KnownLeader bool `codec:"kl,omitempty"`
	// Consistency the answer really has.
	Consistency Consistency `codec:"con,omitempty"`
	// Filtered is whether ACLs removed elements from the result.
	Filtered bool `codec:"acl,omitempty"`
}

// Call is one request on its way to the server that answers it.
type Call struct {
	Method string
	Header Header
	// Body is the typed request. It is shared with the answering side in process: nobody changes it.
	Body any
	// NewReply returns a value to decode the reply into, for callers that cross a network.
	NewReply func() any
}

// Answer is the outcome of one call.
type Answer struct {
	Meta Meta
	*Body
}

// Caller is how anything reaches a server: the in-process registry on a server agent, the connection
// pool on a client agent. Call blocks until the answer is there, the call fails or ctx ends; it may be
// used by many goroutines at once. Errors carry a catalog code across the network.
type Caller interface {
	Call(ctx context.Context, call *Call) (Answer, error)
}

// Method names one verb, ties its request to its reply, and says which peers may call it.
type Method[Req, Rep any] struct {
	Name string
	From From
}

// Call makes the request and returns the typed reply, which is shared and must not be changed.
func (m Method[Req, Rep]) Call(ctx context.Context, c Caller, h Header, req *Req) (*Rep, Meta, error) {
	answer, err := m.Ask(ctx, c, h, req)
	if err != nil {
		return nil, Meta{}, err
	}
	return m.Typed(answer)
}

// Typed is the reply in an answer to the method.
func (m Method[Req, Rep]) Typed(answer Answer) (*Rep, Meta, error) {
	rep, ok := answer.Value().(*Rep)
	if !ok {
		return nil, Meta{}, fmt.Errorf("rpc: %s answered with %T, want %T", m.Name, answer.Value(), rep)
	}
	return rep, answer.Meta, nil
}

// Ask makes the request and returns the shared answer, whose encodings are made once for all who ask.
func (m Method[Req, Rep]) Ask(ctx context.Context, c Caller, h Header, req *Req) (Answer, error) {
	return c.Call(ctx, &Call{Method: m.Name, Header: h, Body: req, NewReply: func() any { return new(Rep) }})
}
