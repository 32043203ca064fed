//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a client waits for an answer.
const patience = 15 * time.Second

// kind is clients of one sort.
type kind struct {
	what    string
	clients int
	beat    time.Duration // between two requests of a client
	serve   func(*client, context.Context, func())
	mayLose int64 // requests of a client with an instance that dies

	all          []*client
	done, failed atomic.Int64
	first        atomic.Pointer[string]
}

// client is one of a kind.
type client struct {
	*kind
	failed atomic.Int64 // of its own requests
}

// count counts a request and what became of it.
func (c *client) count(err error) {
	k := c.kind
	k.done.Add(1)
	if err == nil {
		return
	}
	c.failed.Add(1)
	if k.failed.Add(1) <= 10 {
		progress("%s: %v", k.what, err)
	}
	text := err.Error()
	k.first.CompareAndSwap(nil, &text)
}

func (k *kind) why() string {
	if p := k.first.Load(); p != nil {
		return ": " + *p
	}
	return ""
}

// load is clients of every sort.
type load struct {
	kinds []*kind
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// everything is clients of all kinds, who use both applications through the sidecar of web.
func (m *mesh) everything() []*kind {
	return []*kind{
		{what: "HTTP/1.1, connections that stay", clients: 8, beat: 10 * time.Millisecond, serve: requests("http://"+m.api, stays)},
		{what: "HTTP/1.1, a connection for each request", clients: 4, beat: 20 * time.Millisecond, serve: requests("http://"+m.api, once)},
		{what: "HTTP/1.1, at their time, whatever is under way", clients: 1, beat: 20 * time.Millisecond, serve: arrivals("http://"+m.api, stays)},
		{what: "HTTP/2", clients: 8, beat: 10 * time.Millisecond, serve: requests("http://"+m.api, http2)},
		{what: "streams of HTTP/1.1", clients: 4, beat: time.Millisecond, serve: streams("http://"+m.api, stays)},
		{what: "streams of HTTP/2", clients: 4, beat: time.Millisecond, serve: streams("http://"+m.api, http2)},
		{what: "HTTP/1.1 to a sidecar itself", clients: 2, beat: 10 * time.Millisecond, serve: requests("https://"+m.still, m.proofs.plainly)},
		{what: "HTTP/2 to a sidecar itself", clients: 2, beat: 10 * time.Millisecond, serve: requests("https://"+m.still, m.proofs.direct)},
		{what: "TCP, connections that stay", clients: 4, beat: 20 * time.Millisecond, serve: talks(m.tcp)},
		{what: "TCP, a connection for each exchange", clients: 2, beat: 20 * time.Millisecond, serve: calls(m.tcp)},
	}
}

// The ways of a client of HTTP, which each have for themselves.
func stays() http.RoundTripper { return &http.Transport{MaxIdleConnsPerHost: 8} }
func once() http.RoundTripper  { return &http.Transport{DisableKeepAlives: true} }
func http2() http.RoundTripper {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: p}
}

// startLoad has clients make requests until end.
func startLoad(kinds []*kind) *load {
	ctx, stop := context.WithCancel(context.Background()) // ended by end
	l := &load{kinds: kinds, stop: stop}
	for _, k := range l.kinds {
		for range k.clients {
			c := &client{kind: k}
			k.all = append(k.all, c)
			l.wg.Go(func() {
				ticker := time.NewTicker(k.beat)
				defer ticker.Stop()
				k.serve(c, ctx, func() {
					select {
					case <-ctx.Done():
					case <-ticker.C:
					}
				})
			})
		}
	}
	return l
}

// end lets the clients finish what they do.
func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

func (l *load) total() (n int64) {
	for _, k := range l.kinds {
		n += k.done.Load()
	}
	return n
}

// posted is what requests send, and what has to come back.
var posted = bytes.Repeat([]byte("curia "), 100)

// requests makes one request after the other.
func requests(url string, way func() http.RoundTripper) func(*client, context.Context, func()) {
	return func(c *client, ctx context.Context, next func()) {
		by := &http.Client{Transport: way(), Timeout: patience}
		defer by.CloseIdleConnections()
		for ; ctx.Err() == nil; next() {
			c.count(post(by, url))
		}
	}
}

// arrivals makes requests at their time, as many callers do who know nothing of one another.
func arrivals(url string, way func() http.RoundTripper) func(*client, context.Context, func()) {
	return func(c *client, ctx context.Context, next func()) {
		by := &http.Client{Transport: way(), Timeout: patience}
		defer by.CloseIdleConnections()
		var all sync.WaitGroup
		defer all.Wait()
		for ; ctx.Err() == nil; next() {
			all.Go(func() { c.count(post(by, url)) })
		}
	}
}

// post makes a request that may not be made twice.
func post(by *http.Client, url string) error {
	w, err := by.Post(url+"/", "text/plain", bytes.NewReader(posted))
	if err != nil {
		return err
	}
	defer w.Body.Close()
	got, err := io.ReadAll(w.Body)
	if err == nil && (w.StatusCode != http.StatusOK || !bytes.Equal(got, posted)) {
		err = fmt.Errorf("%d %.200q", w.StatusCode, got)
	}
	return err
}

// streams reads streams, which have to be whole.
func streams(url string, way func() http.RoundTripper) func(*client, context.Context, func()) {
	return func(c *client, ctx context.Context, next func()) {
		by := &http.Client{Transport: way()}
		defer by.CloseIdleConnections()
		for ; ctx.Err() == nil; next() {
			c.count(read(by, url))
		}
	}
}

// read reads a stream.
func read(by *http.Client, url string) error {
	w, err := by.Get(url + "/stream")
	if err != nil {
		return err
	}
	defer w.Body.Close()
	lines, text := bufio.NewScanner(w.Body), ""
	n := 0
	for ; lines.Scan(); n++ {
		text = lines.Text()
	}
	if err := lines.Err(); err != nil || n != streamLines {
		return fmt.Errorf("%d, cut after %d lines of %d: %v %.200q", w.StatusCode, n, streamLines, err, text)
	}
	return nil
}

// talks uses one connection for as long as there is load.
func talks(addr string) func(*client, context.Context, func()) {
	return func(c *client, ctx context.Context, next func()) {
		for ctx.Err() == nil {
			conn, err := net.DialTimeout("tcp", addr, patience)
			for ; err == nil && ctx.Err() == nil; next() {
				if err = say(conn); err == nil {
					c.count(nil)
				}
			}
			if conn != nil {
				conn.Close()
			}
			if err != nil {
				c.count(err)
				next()
			}
		}
	}
}

// calls makes a connection for each exchange.
func calls(addr string) func(*client, context.Context, func()) {
	return func(c *client, ctx context.Context, next func()) {
		for ; ctx.Err() == nil; next() {
			conn, err := net.DialTimeout("tcp", addr, patience)
			if err == nil {
				err = say(conn)
				conn.Close()
			}
			c.count(err)
		}
	}
}

// say says something, and hears it back.
func say(c net.Conn) error {
	c.SetDeadline(time.Now().Add(patience))
	text := strings.Repeat("echo ", 20)
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		return fmt.Errorf("hear %.40q: %w", b, err)
	}
	return nil
}
