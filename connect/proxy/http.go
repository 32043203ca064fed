package proxy

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

// downstream is a client's connection for requests over HTTP/1.1, one after the other.
type downstream struct {
	client *client
	reader
	writer
	probe *probe
	idle  *buffer   // of idles, where one is borrowed
	*work           // borrowed for an exchange
	goes  int64     // how the body of the response is framed
	ended time.Time // when the exchange before was done with
}

// work is what an exchange needs and the time between two does not.
type work struct {
	room *buffer
	head wire.Head
	text []byte // of the head
	exchange
}

var works = sync.Pool{New: func() any { return new(work) }}

// serveHTTP serves a connection until it ends.
func serveHTTP(c *client) {
	d := &downstream{client: c, reader: reader{conn: c.conn}, probe: newProbe(c.raw)}
	d.writer.over(c.conn) // which is not made on this frame: see mayConnect
	defer d.shrink(nil)
	for first := true; d.serve(first); first = false {
	}
}

// serve serves one request. It reports whether another may follow.
func (d *downstream) serve(first bool) bool {
	c := d.client
	conf := c.listening.config.Load()
	if !d.wait(conf, first) {
		return false
	}
	d.borrow(conf)
	defer d.release()
	text, err := d.reader.readHead(or(conf.MaxHead, defaultHead))
	d.text = d.text[:0]
	if err == nil {
		d.text = append(d.text[:0], text...)
		err = d.head.Parse(d.text)
	}
	if err != nil {
		if !first || !alien(d.text) {
			d.refuse(err)
		}
		return false
	}
	conf = c.listening.config.Load()
	d.begin(d.head.Length, or(conf.Part, defaultPart), or(conf.PartTime, defaultPartTime))
	d.ended = d.exchange.run(d, c, conf, &d.head, d.text)
	if d.close {
		d.linger()
	}
	return !d.close
}

// alien reports whether a first line names no version of HTTP where it should: who sent it would not understand an answer.
func alien(text []byte) bool {
	line, _, _ := bytes.Cut(text, []byte("\r\n"))
	words := bytes.Fields(line)
	return len(words) >= 3 && !bytes.HasPrefix(words[len(words)-1], []byte("HTTP"))
}

// wait waits for the first byte of a request.
func (d *downstream) wait(conf *Listener, first bool) bool {
	if d.reader.r < d.reader.w {
		d.patience(time.Now(), or(conf.HeadTime, defaultHeadTime))
		return true
	}
	idle := or(conf.IdleTime, defaultIdle)
	if first {
		idle = or(conf.HeadTime, defaultHeadTime)
	}
	l := d.client.listening
	d.client.state.Store(waiting)
	if l.ends() {
		return false
	}
	now := d.ended
	if now.IsZero() {
		now = time.Now()
	}
	d.patience(now, d.client.idleTime(idle, now))
	if d.arrive() != nil || !d.client.state.CompareAndSwap(waiting, busy) {
		return false
	}
	if first && d.preface() {
		return false
	}
	if text := d.in[d.reader.r:d.reader.w]; len(text) < 4 || string(text[len(text)-4:]) != "\r\n\r\n" { // there is more to wait for
		d.patience(time.Now(), or(conf.HeadTime, defaultHeadTime))
	}
	return true
}

// arrive reads the first bytes of a request. Before they are there the connection holds no buffer, but where TLS or what was
// read of it before stands between.
func (d *downstream) arrive() error {
	if d.client.conn != d.client.raw || !d.probe.awaits() {
		if len(d.in) != idleSize {
			d.shrink(make([]byte, idleSize))
		}
		return d.fill()
	}
	d.shrink(nil)
	if d.idle != nil {
		idles.Put(d.idle)
		d.idle = nil
	}
	b, n, err := d.probe.await()
	if err != nil {
		return err
	}
	d.idle, d.in, d.reader.r, d.reader.w = b, b.b, 0, n
	return nil
}

// preface goes on with HTTP/2 where the client begins with that.
func (d *downstream) preface() bool {
	for {
		text := d.in[d.reader.r:d.reader.w]
		n := min(len(text), len(http2.Preface))
		if string(text[:n]) != http2.Preface[:n] {
			return false
		}
		if n == len(http2.Preface) {
			d.reader.r = d.reader.w
			d.client.raw.SetDeadline(time.Time{})
			serveHTTP2(d.client, text)
			return true
		}
		if d.fill() != nil {
			return false // reading on will tell
		}
	}
}

func (d *downstream) borrow(conf *Listener) {
	d.work = works.Get().(*work)
	d.room = outs.Get().(*buffer)
	d.out = d.room.b[:0]
	d.writer.part, d.writer.time = or(conf.Part, defaultPart), or(conf.PartTime, defaultPartTime)
}

func (d *downstream) release() {
	d.room.give(d.out)
	d.out, d.room = nil, nil
	w := d.work
	d.work = nil
	if cap(w.text) <= maxRoom {
		w.exchange.clear()
		works.Put(w)
	}
}

// refuse answers what is no request.
func (d *downstream) refuse(err error) {
	var e *wire.Error
	if errors.As(err, &e) {
		d.answer(e.Status, e.Reason, "", false, false)
		d.linger()
	}
}

// Bounds of what is read from a client that is not listened to any more: closing over unread bytes would take the
// answer back.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20
)

func (d *downstream) linger() {
	half, ok := d.client.conn.(halfCloser) // over TLS this says that nothing is missing
	if !ok || half.CloseWrite() != nil || d.reader.ended && d.reader.r == d.reader.w {
		return
	}
	d.client.raw.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, d.client.raw, lingerBytes)
}
