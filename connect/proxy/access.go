package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Record is what an access log says about an exchange. Its bytes are used again when the sink returns.
type Record struct {
	Begun            time.Time
	Took             time.Duration
	Listener, Target string
	Caller           string // the service, where it is known
	Method, Path     []byte
	Status           int    // 0 when the caller got no response
	Flag             string // why the proxy itself answered, or the exchange broke
	There, Back      int64  // bytes of bodies
}

// AccessLog passes records to a sink in a goroutine of its own. An exchange never waits for it: records for which there
// is no room are dropped and counted.
type AccessLog struct {
	sink    func(*Record)
	queue   chan *Record
	free    sync.Pool
	Dropped atomic.Uint64
}

// NewAccessLog makes a log with room for a number of records.
func NewAccessLog(room int, sink func(*Record)) *AccessLog {
	return &AccessLog{sink: sink, queue: make(chan *Record, room), free: sync.Pool{New: func() any { return new(Record) }}}
}

// Run passes records on until ctx ends.
func (l *AccessLog) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-l.queue:
			l.sink(r)
			l.free.Put(r)
		}
	}
}

// add takes a record that is filled by do.
func (l *AccessLog) add(do func(*Record)) {
	r := l.free.Get().(*Record)
	do(r)
	select {
	case l.queue <- r:
	default:
		l.Dropped.Add(1)
		l.free.Put(r)
	}
}
