package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

var errReset = error(syscall.ECONNRESET)

// inFlight bounds the bytes of a direction that have been written and not read.
const inFlight = 256 << 10

// conn is one end of a connection.
type conn struct {
	local, remote *net.TCPAddr
	in, out       *pipe
	host          *Host

	once            sync.Once
	closed          chan struct{}
	readBy, writeBy deadline
}

// pipe is one direction of a connection.
type pipe struct {
	net      *Network
	from, to *Host

	mu      sync.Mutex
	queue   []segment
	size    int           // bytes written of which the writer does not know that they were read
	read    int           // those of them that were
	arrival time.Time     // of the latest segment: none overtakes it
	deaf    bool          // the reading end is closed
	changed chan struct{} // closed, and replaced, when the above changes
}

// segment is bytes under way, or the end of them.
type segment struct {
	data []byte
	at   time.Time
	end  error
}

// newConns returns the two ends of a connection.
func newConns(from, to *Host, fromPort, toPort uint16) (dialed, accepted *conn) {
	there := &pipe{net: from.net, from: from, to: to, changed: make(chan struct{})}
	back := &pipe{net: from.net, from: to, to: from, changed: make(chan struct{})}
	a, b := from.tcpAddr(fromPort), to.tcpAddr(toPort)
	end := func(host *Host, local, remote *net.TCPAddr, in, out *pipe) *conn {
		return &conn{
			host: host, local: local, remote: remote, in: in, out: out, closed: make(chan struct{}),
			readBy: newDeadline(), writeBy: newDeadline(),
		}
	}
	return end(from, a, b, back, there), end(to, b, a, there, back)
}

func (p *pipe) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// send queues what it can and returns how much that was.
func (p *pipe) send(data []byte, end error) (n int, wait <-chan struct{}, err error) {
	delay, lost := p.net.travel(p.from, p.to)
	if lost {
		delay += retransmit
	}
	// What the far end has read, and that it is gone, shows only while something can get back from there.
	open, _ := p.net.open(p.to, p.from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf && open && end == nil {
		return 0, nil, syscall.EPIPE
	}
	if open {
		p.size -= p.read
		p.read = 0
	}
	if n = min(len(data), inFlight-p.size); n == 0 && end == nil {
		return 0, p.changed, nil
	}
	if at := time.Now().Add(delay); at.After(p.arrival) {
		p.arrival = at
	}
	p.queue = append(p.queue, segment{append([]byte(nil), data[:n]...), p.arrival, end})
	p.size += n
	p.signal()
	return n, nil, nil
}

// receive reads what has arrived. When there is nothing, it says how long nothing arrives, 0 for unknown.
func (p *pipe) receive(b []byte) (n int, after time.Duration, wait <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return 0, 0, p.changed, nil
	}
	first := &p.queue[0]
	if after = time.Until(first.at); after > 0 {
		return 0, after, p.changed, nil
	}
	if first.end != nil {
		return 0, 0, nil, first.end
	}
	n = copy(b, first.data)
	p.read += n
	if first.data = first.data[n:]; len(first.data) == 0 {
		p.queue = p.queue[1:]
	}
	p.signal()
	return n, 0, nil, nil
}

// Read returns bytes that have arrived.
func (c *conn) Read(b []byte) (int, error) {
	for {
		if err := c.ready(&c.readBy); err != nil {
			return 0, c.failed("read", err)
		}
		if len(b) == 0 {
			return 0, nil
		}
		open, healed := c.in.net.open(c.in.from, c.in.to)
		var more <-chan struct{}
		var arrives <-chan time.Time
		stop := func() bool { return false }
		if open {
			n, after, wait, err := c.in.receive(b)
			if n > 0 || err == io.EOF {
				return n, err
			}
			if err != nil {
				return 0, c.failed("read", err)
			}
			if more = wait; after > 0 {
				t := time.NewTimer(after)
				arrives, stop = t.C, t.Stop
			}
		}
		select {
		case <-more:
		case <-arrives:
		case <-healed:
		case <-c.closed:
		case <-c.readBy.passed():
		}
		stop()
	}
}

// Write queues b, waiting while 256 KiB are unread.
func (c *conn) Write(b []byte) (written int, err error) {
	for {
		if err := c.ready(&c.writeBy); err != nil {
			return written, c.failed("write", err)
		}
		if written == len(b) {
			return written, nil
		}
		_, healed := c.out.net.open(c.out.to, c.out.from)
		n, wait, err := c.out.send(b[written:], nil)
		if written += n; err != nil {
			return written, c.failed("write", err)
		}
		if wait == nil {
			continue
		}
		select {
		case <-wait:
		case <-healed:
		case <-c.closed:
		case <-c.writeBy.passed():
		}
	}
}

func (c *conn) ready(by *deadline) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	select {
	case <-by.passed():
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

func (c *conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends both directions; the far end reads what was written, then io.EOF.
func (c *conn) Close() error {
	c.end(io.EOF)
	return nil
}

// end closes this end; the far one reads how.
func (c *conn) end(how error) {
	c.once.Do(func() {
		close(c.closed)
		c.in.mu.Lock()
		c.in.deaf = true
		c.in.signal()
		c.in.mu.Unlock()
		c.out.send(nil, how)
		c.host.net.mu.Lock()
		delete(c.host.conns, c)
		c.host.net.mu.Unlock()
	})
}

// LocalAddr is the *net.TCPAddr of this end.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the *net.TCPAddr of the far end.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	c.readBy.set(t)
	c.writeBy.set(t)
	return nil
}

// SetReadDeadline bounds Read, one under way too.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.readBy.set(t)
	return nil
}

// SetWriteDeadline bounds Write, one under way too.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.set(t)
	return nil
}

// deadline is a time that can be moved while others wait for it.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	turn  int           // counts set: a timer of an earlier one does nothing
	done  chan struct{} // closed when the time has passed
}

func newDeadline() deadline { return deadline{done: make(chan struct{})} }

func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.turn++
	select {
	case <-d.done:
		d.done = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		close(d.done)
		return
	}
	turn := d.turn
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.turn == turn {
			close(d.done)
		}
	})
}
