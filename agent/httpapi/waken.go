package httpapi

import (
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"time"
)

// together is how many clients one goroutine answers: the fewer, the more cores take part.
const together = 64

// wake has a parked client answered soon. It does not block.
func (l *lot) wake(p *parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, p)
	if !l.sorting {
		l.sorting = true
		l.entered.Add(1) // p is there, so somebody waits for the lot or will
		go l.sort()      // ends with the queue
	}
}

// sort puts together those of the queue who asked the same, and has them answered.
func (l *lot) sort() {
	defer l.entered.Done()
	for {
		l.mu.Lock()
		woken := l.queue
		l.queue, l.sorting = nil, len(woken) > 0
		l.mu.Unlock()
		if len(woken) == 0 {
			return
		}
		groups := map[string][]*parked{}
		for _, p := range woken {
			p.answering.Lock()
			if !p.own() { // its own goroutine was faster
				p.answering.Unlock()
				continue
			}
			p.leave()
			key := p.request.RequestURI
			group := groups[key]
			if len(group) == together || len(group) > 0 && !alike(group[0].request, p.request) {
				l.begin(group)
				group = nil
			}
			groups[key] = append(group, p)
		}
		for _, group := range groups {
			l.begin(group)
		}
	}
}

// alike reports whether two requests for the same target get the same answer at the same time.
func alike(a, b *http.Request) bool {
	return a.Host == b.Host && maps.EqualFunc(a.Header, b.Header, slices.Equal[[]string])
}

// begin answers a group beside everything else: what they asked for may be on a server that takes its time.
func (l *lot) begin(group []*parked) {
	l.entered.Add(1)
	go func() { // ends with the answer
		defer l.entered.Done()
		grow()
		a := l.answer(group[0])
		for i, p := range group {
			if p.request = nil; i > 0 {
				p.timer.Since(p.start)
			}
			p.take(a)
		}
	}()
}

// answer handles the request of a client anew; nil is that it failed. What was read after all clients of a group were
// woken answers each of them.
func (l *lot) answer(p *parked) (a *answer) {
	defer func() { // as the server does
		if v := recover(); v != nil {
			l.log.Error("answering a parked request panicked", "panic", v, "stack", string(debug.Stack()))
			a = nil
		}
	}()
	w := &reply{header: make(http.Header, 12)}
	if l.open.Err() != nil {
		w.header.Set("Connection", "close")
	}
	l.handler.ServeHTTP(w, p.request)
	return w.answer()
}

// take sends an answer to its client. What that does not take at once it gets from a goroutine of its own, in its
// time.
func (p *parked) take(a *answer) {
	if a == nil {
		p.done(false)
		return
	}
	n, err := p.conn.WriteNow(a.head)
	head, body := a.head[n:], a.body
	if err == nil && len(head) == 0 {
		n, err = p.conn.WriteNow(body)
		body = body[n:]
	}
	if err != nil || len(head)+len(body) == 0 {
		p.done(err == nil && !a.last)
		return
	}
	go func() { // ends in the time that clients have
		p.done(p.send(head, body) == nil && !a.last)
	}()
}

// done says how answering for the lot went.
func (p *parked) done(well bool) {
	if well {
		p.idle = time.Now().Add(idleTimeout)
		p.conn.SetReadDeadline(p.idle)
		p.state.Store(replied)
	} else {
		p.state.Store(broken)
	}
	if !well || p.lot.open.Err() != nil { // the lot's end may have come first
		p.conn.SetReadDeadline(past)
	}
	p.answering.Unlock()
}
