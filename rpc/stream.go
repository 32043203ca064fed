package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Stream carries bytes in both directions between a caller and a handler. At most 256 KiB of a direction
// are under way or unread: a slow reader slows its writer and nobody else. One goroutine may read while
// another one writes.
type Stream struct {
	ctx  context.Context // the call's
	link *link
	id   uint64
	quit func() // on the caller's side: tell the far one that the caller has gone

	readable, writable chan struct{} // hold one

	mu     sync.Mutex
	unread bytes.Buffer
	room   int   // bytes the peer may still send
	eaten  int   // bytes read, for which the peer has no new credit yet
	inErr  error // why nothing follows what is unread
	credit int   // bytes that may still be sent
	outErr error // why no more may be sent
}

func newStream(ctx context.Context, l *link, id uint64) *Stream {
	return &Stream{
		ctx: ctx, link: l, id: id, room: window, credit: window,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
}

// Read returns bytes of the far side, io.EOF after its last one, or the error it ended with.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		s.mu.Lock()
		n, _ := s.unread.Read(p)
		err := s.inErr
		grant := 0
		if s.eaten += n; s.eaten >= window/2 && err == nil {
			grant = s.eaten
			s.room += grant
			s.eaten = 0
		}
		s.mu.Unlock()
		if grant > 0 {
			s.link.out.put(message{kind: kindCredit, id: s.id, head: binary.BigEndian.AppendUint32(nil, uint32(grant))})
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-s.readable:
		case <-s.ctx.Done():
		}
	}
}

// Write sends p and blocks while the far side has too much unread.
func (s *Stream) Write(p []byte) (written int, err error) {
	for written < len(p) {
		if err := s.ctx.Err(); err != nil {
			return written, err
		}
		s.mu.Lock()
		n := min(len(p)-written, s.credit, chunkSize)
		s.credit -= n
		err := s.outErr
		s.mu.Unlock()
		if err != nil {
			return written, err
		}
		if n == 0 {
			select {
			case <-s.writable:
			case <-s.ctx.Done():
			}
			continue
		}
		data := bytes.Clone(p[written : written+n]) // p is the caller's again after Write
		s.link.out.put(message{kind: kindData, id: s.id, head: data, paced: true})
		written += n
	}
	return written, nil
}

// CloseWrite tells the far side that no more follows; it reads io.EOF. Handlers end with their return.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	first := s.outErr == nil
	if first {
		s.outErr = io.ErrClosedPipe
	}
	s.mu.Unlock()
	if first {
		s.link.out.put(message{kind: kindAnswer, id: s.id, paced: true})
	}
	return nil
}

// Close ends the stream at once. The caller must call it; after the end it changes nothing.
func (s *Stream) Close() error {
	s.finish(io.ErrClosedPipe)
	s.mu.Lock()
	s.unread.Reset()
	s.mu.Unlock()
	if s.quit != nil {
		s.quit()
	}
	return nil
}

// push takes bytes that arrived.
func (s *Stream) push(data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(data) > s.room {
		return errOverrun
	}
	if s.inErr != nil {
		return nil // late: nobody reads them
	}
	s.room -= len(data)
	s.unread.Write(data)
	notify(s.readable)
	return nil
}

// grant takes a credit frame.
func (s *Stream) grant(payload []byte) error {
	if len(payload) != 4 {
		return fmt.Errorf("credit frame of %d bytes, want 4", len(payload))
	}
	n := int(min(binary.BigEndian.Uint32(payload), window+1))
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > window-s.credit {
		return fmt.Errorf("credit of %d bytes beyond the window of %d", n, window)
	}
	s.credit += n
	notify(s.writable)
	return nil
}

// endIn says that nothing arrives any more, io.EOF or an error.
func (s *Stream) endIn(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inErr == nil {
		s.inErr = err
	}
	notify(s.readable)
}

// finish ends both directions.
func (s *Stream) finish(err error) {
	s.endIn(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outErr == nil {
		s.outErr = io.ErrClosedPipe
		if err != io.EOF {
			s.outErr = err
		}
	}
	notify(s.writable)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
