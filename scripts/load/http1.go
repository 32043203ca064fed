//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// http1 is the client's side of HTTP/1.1 (RFC 9112) on one connection: it frames answers, looks at their
// status and drops the rest.
type http1 struct {
	source func() []byte // of the requests
	status int           // of the last whole answer
	failed int           // answers with a status other than 200
	why    []byte        // the status and the start of the body of the first of them
	head   []byte
	state  int
	left   int // of the body or of a chunk
}

// States of http1: what the next byte belongs to.
const (
	inHead = iota
	inBody
	inChunkSize
	inChunk
	inTrailer
)

// maxHead bounds what is kept of an answer: its head, or one line of a chunked body.
const maxHead = 64 << 10

// newHTTP1 builds the connection of a request; the path and the body may hold marks, see newTemplate.
func newHTTP1(method, path, body string, numbers ...func(seq int) int) *http1 {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n", method, path)
	if method != "GET" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return &http1{source: newTemplate(b.String(), numbers...).fill}
}

func (h *http1) next() []byte   { return h.source() }
func (h *http1) failures() int  { return h.failed }
func (h *http1) reason() string { return string(h.why) }

func (h *http1) take(b []byte) (bool, error) {
	for len(b) > 0 {
		var err error
		whole := false
		switch h.state {
		case inBody, inChunk:
			n := min(len(b), h.left)
			if h.status != 200 && h.failed == 0 {
				h.why = append(h.why, b[:min(n, max(0, 200-len(h.why)))]...)
			}
			h.left -= n
			b = b[n:]
			if h.left == 0 {
				whole = h.state == inBody
				h.state = inChunkSize
			}
		case inHead:
			b, whole, err = h.takeHead(b)
		default:
			b, whole, err = h.takeLine(b)
		}
		if err != nil {
			return false, err
		}
		if whole {
			h.state = inHead
			if h.status != 200 {
				h.failed++
			}
			if len(b) > 0 {
				return false, errors.New("http: bytes after the answer")
			}
			return true, nil
		}
	}
	return false, nil
}

// gather adds to head up to and with end, and says whether end is there.
func (h *http1) gather(b []byte, end string) (rest []byte, found bool, err error) {
	// end may straddle two reads, so look again from a little before the new bytes.
	from := max(len(h.head)-len(end)+1, 0)
	had := len(h.head)
	h.head = append(h.head, b[:min(len(b), maxHead)]...)
	if i := bytes.Index(h.head[from:], []byte(end)); i >= 0 {
		h.head = h.head[:from+i+len(end)]
		return b[len(h.head)-had:], true, nil
	}
	if len(h.head) > maxHead {
		return nil, false, fmt.Errorf("http: a head of more than %d bytes", maxHead)
	}
	return nil, false, nil
}

func (h *http1) takeHead(b []byte) (rest []byte, whole bool, err error) {
	rest, found, err := h.gather(b, "\r\n\r\n")
	if err != nil || !found {
		return rest, false, err
	}
	line, fields, _ := bytes.Cut(h.head, []byte("\r\n"))
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return nil, false, fmt.Errorf("http: not a status line: %.40q", line)
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return nil, false, fmt.Errorf("http: not a status line: %.40q", line)
	}
	if h.status != 200 && h.failed == 0 {
		h.why = append(h.why[:0], line[9:]...)
		h.why = append(h.why, ": "...)
	}
	h.left, h.state = -1, inBody
	for len(fields) > 2 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			if h.left, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return nil, false, fmt.Errorf("http: not a length: %.40q", value)
			}
		case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.left, h.state = 0, inChunkSize
		}
	}
	h.head = h.head[:0]
	if h.left < 0 {
		return nil, false, errors.New("http: an answer of no known length")
	}
	return rest, h.state == inBody && h.left == 0, nil
}

// takeLine reads the lines between chunks (RFC 9112, section 7.1).
func (h *http1) takeLine(b []byte) (rest []byte, whole bool, err error) {
	rest, found, err := h.gather(b, "\r\n")
	if err != nil || !found {
		return rest, false, err
	}
	line := bytes.TrimSuffix(h.head, []byte("\r\n"))
	h.head = h.head[:0]
	if h.state == inTrailer {
		return rest, len(line) == 0, nil
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := strconv.ParseUint(string(size), 16, 31)
	if err != nil {
		return nil, false, fmt.Errorf("http: not the size of a chunk: %.40q", line)
	}
	if n == 0 {
		h.state = inTrailer
	} else {
		h.left, h.state = int(n)+2, inChunk // with the line's end after it
	}
	return rest, false, nil
}
