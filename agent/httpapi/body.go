package httpapi

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// Each part of a body must arrive in time, and each part of an answer be taken, so that who trickles holds neither a
// connection for ever nor much memory.
const (
	bodyPart = 64 << 10 // bytes
	partTime = 30 * time.Second
)

// timed bounds the time in which bodies are sent over HTTP/2, and in which answers are taken. For HTTP/1.1 package
// http1 does.
func timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &paced{ResponseWriter: w, conn: http.NewResponseController(w)}
		p.lift() // the server's own bound would end what takes long to begin
		w = p
		defer p.end()
		if r.ContentLength != 0 {
			b := &timedBody{ReadCloser: r.Body, conn: p.conn}
			b.renew()
			r = r.WithContext(r.Context()) // net/http looks at the body that it gave when it ends the request
			r.Body = b
		}
		next.ServeHTTP(w, r)
	})
}

type timedBody struct {
	io.ReadCloser
	conn *http.ResponseController
	left int // bytes of this part
}

func (b *timedBody) renew() {
	b.left = bodyPart
	b.conn.SetReadDeadline(time.Now().Add(partTime)) // a writer of tests may know no deadlines
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.renew()
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	if err == io.EOF {
		b.conn.SetReadDeadline(time.Time{}) // from now on the connection is watched for the client's leaving
	}
	return n, err
}

// body reads the whole body if it has at most limit bytes. What is longer is refused before it is read
// where its length is known, else as soon as the limit is passed. Memory is taken as the body arrives,
// not as it is announced.
func (c *call) body(limit int64) ([]byte, error) {
	size := c.r.ContentLength
	switch {
	case size > limit:
		return nil, tooLarge(size, limit)
	case size > 0:
		return c.announced(size)
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit+1, limit)
	case err != nil:
		return nil, badRequest("reading the request's body: %w", err)
	}
	return body, nil
}

func (c *call) announced(size int64) ([]byte, error) {
	body := make([]byte, min(size, bodyPart))
	n, err := io.ReadFull(c.r.Body, body)
	if err == nil && size > bodyPart {
		whole := make([]byte, size)
		copy(whole, body)
		body = whole
		_, err = io.ReadFull(c.r.Body, body[n:])
	}
	if err != nil {
		return nil, badRequest("reading the request's body: %w", err)
	}
	return body, nil
}
