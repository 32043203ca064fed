package httpapi

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// reply is the writer of the answer to a parked request, which is sent when it is whole.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
	kept   []byte // the body, when it was written at once and is long
}

// answer is the bytes of an answer. It does not change, and is shared by all who get it.
type answer struct {
	head []byte // and a short body
	body []byte // a long one
	last bool   // the connection is of no further use
}

// Header implements http.ResponseWriter.
func (w *reply) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *reply) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter. Who declares the length of a long body and writes it at once leaves it as it
// is: the body is not copied.
func (w *reply) Write(b []byte) (int, error) {
	switch {
	case w.kept == nil && w.body.Len() == 0 && len(b) > oneWrite && w.header["Content-Length"] != nil:
		w.kept = b
	case w.kept != nil:
		w.body.Write(w.kept)
		w.kept = nil
		fallthrough
	default:
		w.body.Write(b)
	}
	return len(b), nil
}

// oneWrite is the size up to which a body is worth copying, so that it leaves together with the head.
const oneWrite = 32 << 10

// answer is what was written. The reply is of no further use.
func (w *reply) answer() *answer {
	w.WriteHeader(http.StatusOK)
	a := &answer{body: w.kept, last: w.header.Get("Connection") == "close"}
	if a.body == nil {
		a.body = w.body.Bytes()
	}
	if w.header["Content-Length"] == nil {
		w.header["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	}
	w.header["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	var b bytes.Buffer
	b.Grow(buffer + min(len(a.body), oneWrite))
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	w.header.Write(&b)
	b.WriteString("\r\n")
	if len(a.body) <= oneWrite {
		b.Write(a.body)
		a.body = nil
	}
	a.head = b.Bytes()
	return a
}

// buffer is room for a head, in bytes.
const buffer = 1 << 10

// send writes to the client, which has to take each part in its time.
func (p *parked) send(all ...[]byte) error {
	for _, b := range all {
		for part := range slices.Chunk(b, bodyPart) {
			p.renew()
			if _, err := p.conn.Write(part); err != nil {
				return err
			}
		}
	}
	return nil
}
