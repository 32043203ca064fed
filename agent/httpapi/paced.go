package httpapi

import (
	"net/http"
	"slices"
	"time"
)

// paced is the writer of an answer over HTTP/2 whose parts a client has to take in time, each of bodyPart bytes in
// partTime. Who does not read would else hold the answer, its connection and a goroutine for ever. Between
// the parts it may be as long as it likes: a stream ends only when there was something to say.
type paced struct {
	http.ResponseWriter
	conn *http.ResponseController
}

func (p *paced) renew() { p.conn.SetWriteDeadline(time.Now().Add(partTime)) } // a writer of tests may know no deadlines
func (p *paced) lift()  { p.conn.SetWriteDeadline(time.Time{}) }

// Write implements http.ResponseWriter.
func (p *paced) Write(b []byte) (n int, err error) {
	if len(b) == 0 {
		return p.ResponseWriter.Write(b)
	}
	for part := range slices.Chunk(b, bodyPart) {
		p.renew()
		written, err := p.ResponseWriter.Write(part)
		n += written
		if err != nil {
			return n, err
		}
	}
	p.lift()
	return n, nil
}

// Flush implements http.Flusher.
func (p *paced) Flush() { p.FlushError() }

// FlushError is Flush for http.ResponseController.
func (p *paced) FlushError() error {
	p.renew()
	err := p.conn.Flush()
	p.lift()
	return err
}

// end bounds what net/http still has to send when the handler is done.
func (p *paced) end() { p.renew() }

// Unwrap lets http.ResponseController reach the connection.
func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }
