package httpapi

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// reply is the answer to a parked request. What has its length in the header is sent with the first write
// and not copied, the rest when the handler is done.
type reply struct {
	place  *parked
	header http.Header
	status int
	body   bytes.Buffer // of unknown length
	sent   bool
	err    error
}

var replies = sync.Pool{New: func() any { return &reply{header: make(http.Header, 12)} }}

func newReply(place *parked) *reply {
	w := replies.Get().(*reply)
	w.place = place
	return w
}

// Header implements http.ResponseWriter.
func (w *reply) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *reply) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *reply) Write(b []byte) (int, error) {
	switch {
	case w.sent:
		w.say(b)
	case w.header["Content-Length"] != nil:
		w.send(b)
	default:
		w.body.Write(b)
	}
	return len(b), w.err
}

// finish sends what is not sent yet, and reports whether the connection is of further use. The reply is not.
func (w *reply) finish() bool {
	if !w.sent {
		w.header["Content-Length"] = []string{strconv.Itoa(w.body.Len())}
		w.send(w.body.Bytes())
	}
	lives := w.err == nil && w.header.Get("Connection") != "close"
	clear(w.header)
	w.body.Reset()
	w.place, w.status, w.sent, w.err = nil, 0, false, nil
	replies.Put(w)
	return lives
}

// oneWrite is the size up to which a body is worth copying, so that it leaves together with the head.
const oneWrite = 32 << 10

func (w *reply) send(body []byte) {
	w.sent = true
	w.WriteHeader(http.StatusOK)
	w.header["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	fmt.Fprintf(b, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	w.header.Write(b)
	b.WriteString("\r\n")
	if len(body) <= oneWrite {
		b.Write(body)
		body = nil
	}
	w.say(b.Bytes())
	w.say(body)
}

// say writes to the connection, until that fails.
func (w *reply) say(b []byte) {
	for part := range slices.Chunk(b, bodyPart) {
		if w.err == nil {
			w.place.renew()
			_, w.err = w.place.conn.Write(part)
		}
	}
}
