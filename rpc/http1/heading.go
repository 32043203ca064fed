package http1

import (
	"bytes"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// heading writes status and header of an answer, but for what frame decides.
func (p *response) heading() {
	p.out = appendStatus(p.out, p.minor, p.status)
	dated := false
	p.untyped = true
	for name, values := range p.header {
		switch name {
		case "Content-Length":
			if n, err := strconv.ParseUint(p.header.Get(name), 10, 62); err == nil {
				p.length = int64(n)
			}
		case "Connection":
			p.close = p.close || closes(values)
		case "Transfer-Encoding", "Trailer":
		default:
			p.insert(field{name, values})
			dated = dated || name == "Date"
			p.untyped = p.untyped && name != "Content-Type" && name != "Content-Encoding"
		}
	}
	for _, f := range p.fields {
		for _, value := range f.values {
			p.out = appendField(p.out, f.name, value)
		}
	}
	if !dated {
		p.out = append(p.out, date()...)
	}
}

func closes(values []string) bool {
	for _, v := range values {
		for part := range bytes.SplitSeq([]byte(v), []byte{','}) {
			if wire.Same(bytes.TrimSpace(part), "close") {
				return true
			}
		}
	}
	return false
}

// insert adds a field in the order of names, so that the same answer is the same bytes. There are few.
func (p *response) insert(f field) {
	p.fields = append(p.fields, f)
	for i := len(p.fields) - 1; i > 0 && p.fields[i].name < p.fields[i-1].name; i-- {
		p.fields[i], p.fields[i-1] = p.fields[i-1], p.fields[i]
	}
}

// frame ends the head, before the first bytes of the body: it says where the body ends and how the connection goes on.
func (p *response) frame(first []byte) {
	if p.framed {
		return
	}
	p.framed = true
	if len(p.held) > 0 {
		first = p.held
	}
	if p.untyped && len(first) > 0 {
		p.out = appendField(p.out, "Content-Type", http.DetectContentType(first))
	}
	if body := p.work.body; body != nil && !p.close && !body.drain() {
		p.close = true
	}
	p.close = p.close || p.conn.server.ending.Load()
	switch {
	case p.status == http.StatusNoContent:
	case p.length != unknown:
		p.out = append(p.out, "Content-Length: "...)
		p.out = strconv.AppendInt(p.out, p.length, 10)
		p.out = append(p.out, '\r', '\n')
	case !p.bodied() || p.head && p.written == 0:
	case p.minor == 0:
		p.close = true // its end is that of the body
	default:
		p.chunked = !p.head
		p.out = append(p.out, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case p.close:
		p.out = append(p.out, "Connection: close\r\n"...)
	case p.minor == 0:
		p.out = append(p.out, "Connection: keep-alive\r\n"...)
	}
	p.out = append(p.out, '\r', '\n')
}

// refuse answers a request that no handler gets to see.
func (p *response) refuse(c *Conn, e *wire.Error) {
	p.clear()
	p.borrow()
	p.conn = c
	text := strconv.Itoa(e.Status) + " " + http.StatusText(e.Status) + ": " + e.Reason
	p.out = appendStatus(p.out, 1, e.Status)
	p.out = append(p.out, date()...)
	p.out = append(p.out, "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: "...)
	p.out = strconv.AppendInt(p.out, int64(len(text)), 10)
	p.out = append(append(p.out, "\r\n\r\n"...), text...)
	p.send()
}

func appendStatus(b []byte, minor, status int) []byte {
	b = append(b, "HTTP/1.0 "...)
	b[len(b)-2] += byte(minor)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	return append(b, '\r', '\n')
}

// appendField adds a field. A name that is none is left out, and what would end the line becomes a space.
func appendField(b []byte, name, value string) []byte {
	for i := range len(name) {
		if !wire.Token[name[i]] {
			return b
		}
	}
	b = append(append(b, name...), ':', ' ')
	n := len(b)
	b = append(b, value...)
	for i, c := range b[n:] {
		if !wire.Text[c] {
			b[n+i] = ' '
		}
	}
	return append(b, '\r', '\n')
}

// dated is the Date field of one second.
type dated struct {
	second int64
	field  string
}

var lastDate atomic.Pointer[dated]

func date() string {
	now := time.Now()
	d := lastDate.Load()
	if d == nil || d.second != now.Unix() {
		d = &dated{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		lastDate.Store(d)
	}
	return d.field
}
