//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// grpc is the client's side of unary gRPC over HTTP/2 without TLS (RFC 9113) on one connection, as little
// of it as a closed loop needs: one stream at a time, requests whose header never changes, answers that are
// counted and dropped. A call that fails has an answer without a message: that is how it is told.
type grpc struct {
	request *template
	failed  int
	header  []byte // the request's header block
	out     []byte // what next returned
	stream  uint32 // the last one opened
	message bool   // its answer has a message
	in      []byte // a frame that has not arrived whole
	started bool
}

// Frames of HTTP/2 and their flags (RFC 9113, section 6).
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoAway, frameWindow = 0, 1, 3, 4, 6, 7, 8

	endStream, ack = 0x1, 0x1
	endHeaders     = 0x4
	frameHeader    = 9
	maxFrame       = 16 << 10 // as a client that says nothing else allows
)

// newGRPC builds the connection of a call such as /etcdserverpb.KV/Put; the message may hold marks.
func newGRPC(method, message string, numbers ...func(seq int) int) *grpc {
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))) // not compressed, length
	return &grpc{request: newTemplate(string(body)+message, numbers...), header: headerBlock(method)}
}

// headerBlock encodes a request's header with the static table only, so it holds on any connection
// (RFC 7541, appendix A).
func headerBlock(method string) []byte {
	b := []byte{0x83, 0x86} // :method POST, :scheme http
	b = field(append(b, 0x04), method)
	b = field(append(b, 0x01), "127.0.0.1")
	b = field(append(b, 0x0f, 0x10), "application/grpc")
	return field(field(append(b, 0x00), "te"), "trailers")
}

// field appends a short string literal of HPACK.
func field(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func frame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func (g *grpc) failures() int { return g.failed }

func (g *grpc) reason() string { return "an answer without a message" }

func (g *grpc) next() []byte {
	if !g.started {
		g.started = true
		g.out = append(g.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
		g.out = frame(g.out, frameSettings, 0, 0, nil)
		// All the window there can be: no run lasts long enough to need more.
		g.out = frame(g.out, frameWindow, 0, 0, binary.BigEndian.AppendUint32(nil, 1<<31-1-65535))
		g.stream = ^uint32(0)
	}
	g.stream += 2
	g.message = false
	g.out = frame(g.out, frameHeaders, endHeaders, g.stream, g.header)
	g.out = frame(g.out, frameData, endStream, g.stream, g.request.fill())
	out := g.out
	g.out = g.out[:0]
	return out
}

func (g *grpc) take(b []byte) (whole bool, err error) {
	if len(g.in) > 0 {
		g.in = append(g.in, b...)
		b = g.in
	}
	for len(b) >= frameHeader {
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if n > maxFrame {
			return false, fmt.Errorf("grpc: a frame of %d bytes", n)
		}
		if len(b) < frameHeader+n {
			break
		}
		ended, err := g.frame(b[3], b[4], binary.BigEndian.Uint32(b[5:]), b[frameHeader:frameHeader+n])
		if err != nil {
			return false, err
		}
		whole = whole || ended
		b = b[frameHeader+n:]
	}
	g.in = append(g.in[:0], b...)
	return whole, nil
}

// frame looks at one frame of the server. What is to be answered goes out before the next request.
func (g *grpc) frame(kind, flags byte, stream uint32, payload []byte) (ended bool, err error) {
	switch kind {
	case frameSettings:
		if flags&ack == 0 {
			g.out = frame(g.out, frameSettings, ack, 0, nil)
		}
	case framePing:
		if flags&ack == 0 {
			g.out = frame(g.out, framePing, ack, 0, payload)
		}
	case frameGoAway:
		return false, fmt.Errorf("grpc: the server ends the connection: %.80q", payload)
	case frameReset:
		return false, errors.New("grpc: the server resets the stream")
	case frameData:
		g.message = g.message || len(payload) > 5
	}
	if stream != g.stream || kind != frameData && kind != frameHeaders || flags&endStream == 0 {
		return false, nil
	}
	if !g.message {
		g.failed++
	}
	return true, nil
}
