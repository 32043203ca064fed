package http1

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// body is a request's. It ends with the request: a handler's goroutine that reads on must not read the next one.
type body struct {
	conn   *Conn
	work   *work
	length int64 // wire.Chunked, or what is left

	mu       sync.Mutex
	chunks   wire.Chunks
	left     int  // bytes until the client gets more time
	expects  bool // the client waits for a word
	err      error
	finished atomic.Bool
}

func newBody(c *Conn, w *work, h *wire.Head) *body {
	return &body{conn: c, work: w, length: h.Length, expects: h.Continue}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if err != nil {
		b.err = err
	}
	return n, err
}

// Close implements io.Closer. What is left of the body is read after the request.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	return nil
}

// read reads data, and the framing before it.
func (b *body) read(p []byte) (int, error) {
	if b.length != wire.Chunked {
		n, err := b.data(p[:min(int64(len(p)), b.length)])
		if b.length -= int64(n); b.length == 0 {
			return n, b.finish()
		}
		return n, err
	}
	for !b.chunks.InData() {
		w := b.work
		n, err := b.chunks.Next(w.in[w.r:w.w])
		w.r += n
		switch {
		case err != nil:
			return 0, err
		case b.chunks.Ended():
			return 0, b.finish()
		case w.r == w.w:
			if err := b.more(); err != nil {
				return 0, err
			}
		}
	}
	n, err := b.data(p[:min(int64(len(p)), b.chunks.Left)])
	b.chunks.Data(n)
	return n, err
}

// finish is the end of the body.
func (b *body) finish() error {
	b.finished.Store(true)
	return io.EOF
}

// data reads bytes that are neither framing nor another request.
func (b *body) data(p []byte) (n int, err error) {
	w := b.work
	if w.r == w.w {
		if len(p) >= buffer && b.conn.ahead == nil {
			return b.direct(p)
		}
		if err := b.more(); err != nil {
			return 0, err
		}
	}
	n = copy(p, w.in[w.r:w.w])
	w.r += n
	return n, nil
}

// direct reads past the buffer, which is empty.
func (b *body) direct(p []byte) (int, error) {
	b.wait()
	n, err := b.conn.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	if n > 0 {
		return n, nil
	}
	return 0, cut(err)
}

// more reads into the buffer, which is empty.
func (b *body) more() error {
	b.wait()
	w := b.work
	w.r, w.w = 0, 0
	err := b.conn.fill()
	b.left -= w.w
	return cut(err)
}

// cut makes the end of the connection one that came too early.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// wait says what the client waits for, and gives it its time.
func (b *body) wait() {
	if b.expects {
		b.expects = false
		b.work.response.proceed()
	}
	if b.left <= 0 {
		b.left = b.conn.server.Part
		b.conn.patience(time.Now(), b.conn.server.PartTime)
	}
}

// maxDrain is how much of a body that nobody reads is read so that the connection can go on, in bytes.
const maxDrain = 256 << 10

// drain reads what the handler left of the body. It reports whether the connection can go on.
func (b *body) drain() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished.Load() {
		return true
	}
	if b.expects || b.length > maxDrain || b.err != nil && b.err != http.ErrBodyReadAfterClose {
		return false
	}
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	scrap := make([]byte, buffer)
	for left := maxDrain; left > 0; {
		n, err := b.read(scrap)
		if left -= n; err != nil {
			return err == io.EOF
		}
	}
	return false
}

// end ends the body with its request, and reports whether something is left of it.
func (b *body) end() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = http.ErrBodyReadAfterClose
	return !b.finished.Load()
}
