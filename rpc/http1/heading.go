package http1

import (
	"bytes"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// fields writes status and header of an answer, but for what frame decides.
func (p *response) fields() {
	p.out = appendStatus(p.out, p.minor, p.status)
	_, typed := p.header["Content-Type"]
	p.untyped = !typed && p.header["Content-Encoding"] == nil
	for name := range p.header {
		switch name {
		case "Content-Length":
			if n, err := strconv.ParseUint(p.header.Get(name), 10, 62); err == nil {
				p.length = int64(n)
			}
		case "Connection":
			p.close = p.close || closes(p.header[name])
		case "Transfer-Encoding", "Trailer":
		default:
			p.insert(name)
		}
	}
	for _, name := range p.names {
		for _, value := range p.header[name] {
			p.out = appendField(p.out, name, value)
		}
	}
	if p.header["Date"] == nil {
		p.out = append(p.out, date()...)
	}
}

func closes(values []string) bool {
	for _, v := range values {
		for part := range bytes.SplitSeq([]byte(v), []byte{','}) {
			if same(bytes.TrimSpace(part), "close") {
				return true
			}
		}
	}
	return false
}

// insert adds a name in its order, so that the same answer is the same bytes. There are few.
func (p *response) insert(name string) {
	p.names = append(p.names, name)
	for i := len(p.names) - 1; i > 0 && p.names[i] < p.names[i-1]; i-- {
		p.names[i], p.names[i-1] = p.names[i-1], p.names[i]
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
func (p *response) refuse(c *Conn, e *Error) {
	p.clear()
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
		if !token[name[i]] {
			return b
		}
	}
	b = append(append(b, name...), ':', ' ')
	n := len(b)
	b = append(b, value...)
	for i, c := range b[n:] {
		if !text[c] {
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
