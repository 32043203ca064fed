package peer

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

const (
	// heartbeat is how often each side of a stream says that it is there, and silence how long the other may say nothing.
	heartbeat = 15 * time.Second
	silence   = 4 * heartbeat
	// settled is how long a stream stands before the peering counts as active: one that breaks at once changes nothing.
	settled = 500 * time.Millisecond
	// backlog is how many messages of the other side wait here before it is slowed down.
	backlog = 8
)

// session is one stream of a peering, whoever opened it.
type session struct {
	line   *line
	row    *catalog.Peering
	stream io.ReadWriter
	finish func() // says that nothing follows
	out    *outbox
	stood  atomic.Bool
	// farewell is set when the other side was told of the end.
	farewell atomic.Bool
	wrote    atomic.Int64 // when the write that is under way began, in nanoseconds since 1970; 0 is none
}

func newSession(l *line, row *catalog.Peering, stream io.ReadWriter, finish func()) *session {
	return &session{line: l, row: row, stream: stream, finish: finish, out: newOutbox()}
}

// run carries the stream until it breaks, the other side says that the peering is gone, or ctx ends; errDeleted as the
// cause of that is passed on. A read or write that is under way ends with the stream, which ends soon after.
func (s *session) run(ctx context.Context) error {
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	came := make(chan *message, backlog)
	go func() { cancel(s.read(inner, came)) }() // ends with the stream
	go func() { cancel(s.write(inner)) }()      // ends with the stream
	var own sync.WaitGroup
	defer own.Wait()
	defer cancel(nil)
	own.Go(func() { s.follow(inner) })
	own.Go(func() { cancel(s.take(inner, came)) })
	stands := time.NewTimer(settled)
	defer stands.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	s.line.status.begin()
	ended := ctx.Done()
	for {
		select {
		case <-stands.C:
			s.stood.Store(true)
			s.line.status.well()
			s.line.mark(inner, catalog.PeeringActive, func(row *catalog.Peering) bool { return !row.Ended() })
		case <-beat.C:
			s.out.beat()
			if why := s.stuck(time.Now()); why != nil {
				return why
			}
		case <-ended:
			if !errors.Is(context.Cause(ctx), errDeleted) {
				return context.Cause(ctx)
			}
			ended = nil
			s.out.goodbye()
			defer time.AfterFunc(farewell, func() { cancel(errDeleted) }).Stop()
		case <-inner.Done():
			return context.Cause(inner)
		}
	}
}

// stuck says why the stream is of no use any more, nil if it is.
func (s *session) stuck(now time.Time) error {
	if heard := s.line.status.heard(); now.Sub(heard) > silence {
		return catalog.Errorf(catalog.Unavailable, "nothing was heard of the other cluster for %v", silence)
	}
	if begun := s.wrote.Load(); begun != 0 && now.Sub(time.Unix(0, begun)) > silence {
		return catalog.Errorf(catalog.Unavailable, "the other cluster has taken nothing for %v", silence)
	}
	return nil
}

// read passes on what comes. It returns why nothing more does.
func (s *session) read(ctx context.Context, came chan<- *message) error {
	for {
		m, err := readMessage(s.stream)
		if errors.Is(err, io.EOF) {
			if s.out.ended() {
				return errDeleted
			}
			return catalog.Errorf(catalog.Unavailable, "the other cluster has closed the stream")
		}
		if err != nil {
			return err
		}
		s.line.status.received(m.Heartbeat)
		if m.Gone {
			return errGone
		}
		if m.Heartbeat {
			continue
		}
		select {
		case came <- m:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// write sends what is to be sent. It returns only with the end.
func (s *session) write(ctx context.Context) error {
	for {
		frames, last, err := s.out.next(ctx)
		if err != nil {
			return err
		}
		for _, f := range frames {
			s.wrote.Store(time.Now().UnixNano())
			_, err := s.stream.Write(f)
			s.wrote.Store(0)
			if err != nil {
				return err
			}
			s.line.status.sent()
		}
		if last {
			s.farewell.Store(true)
			s.finish()
			<-ctx.Done() // the other side closes the stream, or the time for that is over
			return context.Cause(ctx)
		}
	}
}

// status is what is known of the stream of a peering.
type status struct {
	mu                     sync.Mutex
	begun, beaten, in, out time.Time
	failure                string
}

func (s *status) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = time.Now()
}

func (s *status) well() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = ""
}

// fail notes an error, and reports whether it is news.
func (s *status) fail(err error) bool {
	text := "the stream has ended"
	if err != nil {
		text = err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.failure != text
	s.failure = text
	return news
}

func (s *status) received(beat bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = time.Now()
	if beat {
		s.beaten = s.in
	}
}

func (s *status) sent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = time.Now()
}

// heard is when something came last over the present stream; its beginning counts.
func (s *status) heard() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.After(s.begun) {
		return s.in
	}
	return s.begun
}

func (s *status) stream() catalog.PeeringStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	return catalog.PeeringStream{LastHeartbeat: at(s.beaten), LastReceive: at(s.in), LastSend: at(s.out), Error: s.failure}
}
