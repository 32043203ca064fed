package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// Record is what an access log says about an exchange. Its bytes are used again when the sink returns.
type Record struct {
	Begun            time.Time
	Took             time.Duration
	First            time.Duration // until the head of the response
	Listener, Target string
	Route            string // where the listener has several
	Endpoint         string // the last one that was tried
	Caller           string // the service, where it is known
	Remote, Local    net.Addr
	Method, Path     []byte
	Query            []byte // with its question mark
	Host, Agent, ID  []byte // of the request's fields; ID is X-Request-Id
	Forwarded        []byte // X-Forwarded-For, as it came
	Protocol         string
	Status           int    // 0 when the caller got no response
	Flag             string // why the proxy itself answered, or the exchange broke
	Attempts         int
	Spent            bool  // there would have been one more, were there more to be
	There, Back      int64 // bytes of bodies
	Trace            TraceID
}

// reset makes room for another record.
func (r *Record) reset() {
	*r = Record{Method: r.Method[:0], Path: r.Path[:0], Query: r.Query[:0], Host: r.Host[:0], Agent: r.Agent[:0], ID: r.ID[:0], Forwarded: r.Forwarded[:0]}
}

// record fills a record with what became of an exchange.
func (x *exchange) record(r *Record, conf *Listener, took time.Duration) {
	r.reset()
	r.Begun, r.Took, r.First, r.Listener, r.Caller, r.Status, r.Flag = x.begun, took, x.first, conf.Name, x.client.caller.Service, x.status, x.flag
	r.Remote, r.Local, r.Attempts, r.Spent, r.Trace = x.client.remote, x.client.local, x.tries, x.spent, x.span.trace
	r.There, r.Back = x.near.taken()+x.tunnelled, x.sentBody
	r.Method, r.Path, r.Query = append(r.Method, x.head.Method.Of(x.text)...), append(r.Path, x.path...), append(r.Query, x.query...)
	r.Protocol = x.protocol()
	if x.to != nil {
		r.Target = x.to.Name
	}
	if x.route != nil {
		r.Route = x.route.name
	}
	r.Endpoint = x.last
	for i := range x.head.Fields {
		f := &x.head.Fields[i]
		value := f.Value.Of(x.text)
		switch name := f.Name.Of(x.text); {
		case f.Kind == wire.Host:
			r.Host = append(r.Host[:0], value...)
		case f.Kind == wire.ForwardedFor && len(r.Forwarded) == 0:
			r.Forwarded = append(r.Forwarded, value...)
		case f.Kind == wire.Other && wire.Same(name, "user-agent"):
			r.Agent = append(r.Agent[:0], value...)
		case f.Kind == wire.Other && wire.Same(name, "x-request-id"):
			r.ID = append(r.ID[:0], value...)
		}
	}
}

func (x *exchange) protocol() string {
	if _, shared := x.near.(*nearStream); shared {
		return "HTTP/2"
	}
	if x.head.Minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// AccessLog passes records to a sink in a goroutine of its own. An exchange never waits for it: records for which there
// is no room are dropped and counted.
type AccessLog struct {
	sink    func(*Record)
	queue   chan *Record
	free    sync.Pool
	Dropped atomic.Uint64
	// Off has no records made.
	Off atomic.Bool
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
