package rpc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// PoolOptions configure a Pool. A zero field means its default.
type PoolOptions struct {
	Dialer Dialer
	// Protocol of calls; default ProtocolRPC. Bulk is that of streams; default ProtocolBulk.
	Protocol, Bulk Protocol
	Decode         DecodeError
	Limits         Limits
	// Conns bounds the connections for calls to one address; default 2. The second is made when the first
	// has 256 calls under way.
	Conns int
	// IdleTimeout is how long a connection stays without a call; default 2 min.
	IdleTimeout time.Duration
}

var errPoolClosed = errors.New("the pool is closed")

// busyConn is how many calls a connection has under way when another one is worth its handshake.
const busyConn = 256

// Pool holds connections to servers: for each address a few for calls and one for streams, made when needed.
type Pool struct {
	o      PoolOptions
	ctx    context.Context // of dials; ends with Close
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	lines  map[lineKey][]*line

	secured Conns
}

type lineKey struct {
	addr     string
	protocol Protocol
}

// line is one connection of a pool, from before it is made until it is dead.
type line struct {
	ready chan struct{} // closed once conn or err is set
	conn  *clientConn
	err   error
}

// NewPool makes an empty pool. It must be closed, by Close or at the end of Run.
func NewPool(o PoolOptions) *Pool {
	o.Limits = o.Limits.withDefaults()
	def(&o.Conns, 2)
	def(&o.Protocol, ProtocolRPC)
	def(&o.Bulk, ProtocolBulk)
	def(&o.IdleTimeout, 2*time.Minute)
	p := &Pool{o: o, lines: make(map[lineKey][]*line)}
	p.ctx, p.cancel = context.WithCancelCause(context.Background()) // a connection outlives the call it is made for
	return p
}

// Run closes the pool when ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	<-ctx.Done()
	return p.Close()
}

// Close ends all connections and returns when their goroutines have. Calls under way fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	all := p.lines
	p.lines = make(map[lineKey][]*line)
	p.mu.Unlock()
	p.cancel(errPoolClosed)
	for _, lines := range all {
		hangUp(lines)
	}
	p.work.Wait()
	return nil
}

// Drop ends the connections to addr: its server is known to be gone. Calls under way fail.
func (p *Pool) Drop(addr string) {
	p.mu.Lock()
	var lines []*line
	for _, protocol := range []Protocol{p.o.Protocol, p.o.Bulk} {
		key := lineKey{addr, protocol}
		lines = append(lines, p.lines[key]...)
		delete(p.lines, key)
	}
	p.mu.Unlock()
	hangUp(lines)
}

// Watch begins to look at the connections to addr. The function that it returns ends those on which nothing has come since,
// with the calls under way on them: for who knows by another way that the server answers. TCP sends again what was lost, but
// ever more rarely, so a connection that a bad network hit several times may be of no use for long after it is a good one.
func (p *Pool) Watch(addr string) (shed func()) {
	heard := map[*clientConn]uint32{}
	p.mu.Lock()
	for _, l := range slices.Concat(p.lines[lineKey{addr, p.o.Protocol}], p.lines[lineKey{addr, p.o.Bulk}]) {
		if conn := l.made(); conn != nil {
			heard[conn] = conn.frames.Load()
		}
	}
	p.mu.Unlock()
	return func() {
		for conn, n := range heard {
			if conn.frames.Load() == n {
				conn.kill(errStuck)
			}
		}
	}
}

// Recheck ends the connections to servers whose certificates are not believed any more, and returns how many.
func (p *Pool) Recheck(believed func(shown []*x509.Certificate) error) int {
	return p.secured.Recheck(believed)
}

func hangUp(lines []*line) {
	for _, l := range lines {
		if conn := l.made(); conn != nil { // whoever dials still sees that the line is out of the table
			conn.kill(errClosed)
		}
	}
}

// made is a line's connection; nil while it is being made, and when it could not be.
func (l *line) made() *clientConn {
	select {
	case <-l.ready:
		return l.conn
	default:
		return nil
	}
}

// To returns the server at addr. It costs nothing and connects when called.
func (p *Pool) To(addr string) *Target { return &Target{p, addr} }

// Target is one server, by address. It is a Caller.
type Target struct {
	pool *Pool
	addr string
}

// Call makes a call. Besides the handler's errors, as DecodeError makes them, it returns a *LinkError, or
// ctx's error: the far side's context then ends too.
func (t *Target) Call(ctx context.Context, call *Call) (Answer, error) {
	p := t.pool
	head, body, err := p.request(call)
	if err != nil {
		return Answer{}, err
	}
	payload, err := use(ctx, p, lineKey{t.addr, p.o.Protocol}, func(c *clientConn) ([]byte, error) {
		return c.call(ctx, head, body)
	})
	if err != nil {
		return Answer{}, err
	}
	meta, data, err := decodeAnswer(payload, p.o.Decode.make)
	if err != nil {
		return Answer{}, err
	}
	if call.NewReply == nil {
		return Answer{Meta: meta, Body: NewBody(Raw(data), nil)}, nil
	}
	reply := call.NewReply()
	if err := Decode(data, reply); err != nil {
		return Answer{}, fmt.Errorf("rpc: answer to %s: %w", call.Method, err)
	}
	return Answer{Meta: meta, Body: NewBody(reply, nil)}, nil
}

// Open makes a call that a stream answers, on a connection apart from calls. The stream ends with ctx; the
// caller closes it.
func (t *Target) Open(ctx context.Context, call *Call) (*Stream, error) {
	head, body, err := t.pool.request(call)
	if err != nil {
		return nil, err
	}
	return use(ctx, t.pool, lineKey{t.addr, t.pool.o.Bulk}, func(c *clientConn) (*Stream, error) {
		return c.open(ctx, head, body)
	})
}

func (p *Pool) request(call *Call) (head, body []byte, err error) {
	head, body, err = encodeCall(call)
	if err == nil && len(head)+len(body) > p.o.Limits.MaxMessage {
		err = p.o.Decode.make(codeTooLarge, fmt.Sprintf("rpc: the request of %s exceeds %d bytes", call.Method, p.o.Limits.MaxMessage))
	}
	return head, body, err
}

// use runs do on a connection, on another one when the first turns out to take no more calls.
func use[T any](ctx context.Context, p *Pool, key lineKey, do func(*clientConn) (T, error)) (v T, err error) {
	for range 3 {
		var l *line
		if l, err = p.line(key); err != nil {
			break
		}
		select {
		case <-l.ready:
		case <-ctx.Done():
			return v, ctx.Err()
		}
		if err = l.err; err != nil {
			break
		}
		if v, err = do(l.conn); err != errRetired {
			return v, err
		}
		p.remove(key, l)
		if why := l.conn.why(); why != nil {
			err = clockHint(why)
		}
	}
	return v, newLinkError(p.o.Decode, key.addr, false, err)
}

// line picks the connection with the fewest calls under way, or begins to make one.
func (p *Pool) line(key lineKey) (*line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPoolClosed
	}
	lines := p.lines[key]
	most := p.o.Conns
	if key.protocol == p.o.Bulk {
		most = 1
	}
	best, load := pick(lines)
	if len(lines) == 0 || len(lines) < most && load >= busyConn {
		l := &line{ready: make(chan struct{})}
		p.lines[key] = append(lines, l)
		p.work.Go(func() { p.connect(key, l) }) // ends with the connection, which ends with Close
		if best == nil {
			best = l
		}
	}
	return best, nil
}

// pick returns the least loaded line that is ready; one that is not, when there is no other.
func pick(lines []*line) (best *line, load int) {
	for _, l := range lines {
		n := 0
		select {
		case <-l.ready:
			if l.conn != nil {
				n = l.conn.load()
			}
		default:
			n = busyConn - 1 // nobody dials a third while the second is on its way
		}
		if best == nil || n < load {
			best, load = l, n
		}
	}
	return best, load
}

// connect makes a line's connection and carries its calls until it dies.
func (p *Pool) connect(key lineKey, l *line) {
	defer p.remove(key, l)
	conn, err := p.o.Dialer.Dial(p.ctx, key.addr, key.protocol)
	if err != nil {
		l.err = err
		p.remove(key, l) // before anyone sees the error: whoever tries again dials again
		close(l.ready)
		return
	}
	l.conn = newClientConn(conn, key.addr, p.o.Limits, p.o.IdleTimeout, p.o.Decode)
	defer p.secured.Add(conn, func() {
		p.remove(key, l)
		l.conn.retire()
	})()
	p.mu.Lock()
	close(l.ready)
	dropped := !slices.Contains(p.lines[key], l)
	p.mu.Unlock()
	if dropped {
		l.conn.kill(errClosed)
	}
	l.conn.run()
}

// remove takes a dead line out of the table.
func (p *Pool) remove(key lineKey, dead *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines[key] = slices.DeleteFunc(p.lines[key], func(l *line) bool { return l == dead })
	if len(p.lines[key]) == 0 {
		delete(p.lines, key)
	}
}
