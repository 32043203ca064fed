package proxy

import (
	"bytes"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/connect/balance"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// mirror is where copies of a route's requests go to.
type mirror struct {
	share share
	to    *route
}

// Bounds of copies: how many are under way and wait at once, of a body, and of the time for one with its answer.
const (
	maxCopies       = 64
	maxWaiting      = 128
	maxCopied       = 64 << 10
	copyTime        = 15 * time.Second
	maxCopiedAnswer = 1 << 20
)

// copied is the copy of a request. It shares nothing with the exchange that it is a copy of.
type copied struct {
	client *client
	conf   *Listener
	to     *route
	head   wire.Head
	request
	body []byte
}

// copying begins a copy of the request, nil where its route wants none or it is not one that can be copied.
func (x *exchange) copying() *copied {
	m := x.route.mirror
	if m == nil || x.upgrade != nil || x.head.Length > maxCopied || !m.share.draw() {
		return nil
	}
	c := &copied{conf: x.conf, to: m.to, head: *x.head, request: x.request}
	c.client = &client{listening: x.client.listening, remote: x.client.remote, local: x.client.local, shard: x.client.shard, caller: x.client.caller}
	c.head.Fields = slices.Clone(x.head.Fields)
	c.request.head = &c.head
	for _, b := range []*[]byte{&c.text, &c.path, &c.query, &c.host, &c.named, &c.lines} {
		*b = bytes.Clone(*b)
	}
	if c.host == nil {
		c.host = bytes.Clone(x.head.Host.Of(x.text))
		c.drop |= 1 << wire.Host
	}
	c.host = shadowed(c.host)
	c.drop |= 1<<wire.Timeout | 1<<wire.Trailer // nobody waits for it, and its trailers do not come
	c.head.Continue, c.trailers = false, nil
	return c
}

// shadowed marks the name of a host, so that the service can tell copies from requests.
func shadowed(host []byte) []byte {
	name, port := host, []byte(nil)
	if i := bytes.LastIndexByte(host, ':'); i > bytes.LastIndexByte(host, ']') {
		name, port = host[:i], host[i:]
	}
	return append(append(bytes.Clone(name), "-shadow"...), port...)
}

// mirrored has the copy sent beside the request, or have what is left of the body when that has come.
func (x *exchange) mirrored(err error) {
	c := x.upload.copied
	switch {
	case err != nil: // perhaps the next attempt
	case !c.add(x.body):
		x.upload.copied = nil
	case x.whole:
		x.upload.copied = nil
		x.client.listening.proxy.sendCopy(c)
	default:
		x.upload.proxy = x.client.listening.proxy
	}
}

// add adds a part of the body. It reports whether the copy still is one.
func (c *copied) add(part []byte) bool {
	if len(c.body)+len(part) > maxCopied {
		return false
	}
	c.body = append(c.body, part...)
	return true
}

// copies are those that wait to be sent and those that are under way.
type copies struct {
	mu       sync.Mutex
	waiting  []*copied
	underway map[*client]struct{}
	ended    bool
	sent     atomic.Uint64
	dropped  atomic.Uint64 // for which there was no room
}

// send has a copy sent by somebody else, or drops it when too many wait.
func (p *Proxy) sendCopy(c *copied) {
	c.length = int64(len(c.body))
	m := &p.copies
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended || len(m.waiting) >= maxWaiting:
		m.dropped.Add(1)
	case len(m.underway) >= maxCopies:
		m.waiting = append(m.waiting, c)
	default:
		m.begin(c)
		p.carried.Add(1)
		go func() { // ends when no copy waits
			defer p.carried.Done()
			for c := c; c != nil; c = m.next(c) {
				m.sent.Add(1)
				c.send()
			}
		}()
	}
}

// begin takes note of a copy. The lock is held.
func (m *copies) begin(c *copied) {
	if m.underway == nil {
		m.underway = map[*client]struct{}{}
	}
	m.underway[c.client] = struct{}{}
}

// next ends with a copy, and returns one that has waited longest.
func (m *copies) next(done *copied) *copied {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.underway, done.client)
	if len(m.waiting) == 0 || m.ended {
		return nil
	}
	c := m.waiting[0]
	m.waiting = slices.Delete(m.waiting, 0, 1)
	m.begin(c)
	return c
}

// end sends no more, and breaks off those under way.
func (m *copies) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended, m.waiting = true, nil
	for c := range m.underway {
		c.cutBy.Store(true)
		c.mu.Lock()
		if c.other != nil {
			c.other.Close()
		}
		c.mu.Unlock()
	}
}

// nobody is the end of an exchange that no caller is at.
type nobody struct{ near }

func (nobody) gone() bool                                  { return false }
func (nobody) passOn(io.Closer) bool                       { return true }
func (nobody) over() bool                                  { return true }
func (nobody) answer(int, string, string, bool, bool) bool { return true }

// send sends the copy, once, and reads the answer, which nobody gets.
func (c *copied) send() {
	x := &exchange{client: c.client, near: nobody{}, conf: c.conf, request: c.request, begun: time.Now(), route: c.to, leg: c.to.pick(), whole: true}
	x.edits = &x.leg.request
	by := x.begun.Add(min(copyTime, or(or(c.to.timeout, x.leg.timeout), copyTime)))
	defer func() {
		if v := recover(); v != nil { // what goes wrong with a copy is nobody's business
			x.abort(x.near)
			c.client.listening.proxy.Log.Error("sending a copy of a request panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	defer x.leave()
	if x.open(x.near, 0, false) != nil {
		return
	}
	if !c.client.passOn(x.up, nil) {
		x.up.release(false, time.Now())
		x.up = nil
		x.done(balance.Canceled)
		return
	}
	fit := x.exchanged(c.body, by)
	c.client.passOn(nil, nil)
	now := time.Now()
	x.up.release(fit, now)
	x.up = nil
	x.to.stats.of(c.client.shard).exchanged(x.status, now.Sub(x.begun), int64(len(c.body)), 0)
}

// exchanged sends a request and reads the response. It reports whether the connection is fit for another.
func (x *exchange) exchanged(body []byte, by time.Time) bool {
	err := x.up.send(&x.request, body, true)
	var head *wire.Head
	var text []byte
	for err == nil && (head == nil || head.Status < 200) {
		if head, text, err = x.up.receive(x, x.headOnly(), by); err == nil && head.Status == http.StatusSwitchingProtocols {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		out := balance.LocalError
		if x.client.cutBy.Load() || x.up.stale() { // nobody is to blame
			out = balance.Canceled
		}
		x.done(out)
		return false
	}
	x.status, x.first = head.Status, time.Since(x.begun)
	x.done(judge(head.Status, x.grpcHead(head, text)))
	x.up.begin(head.Length, time.Until(by), by)
	for x.up.taken() <= maxCopiedAnswer {
		if _, err := x.up.next(); err != nil {
			return err == io.EOF
		}
	}
	return false
}
