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
	serve   func(*kind, context.Context, func())

	done, failed atomic.Int64
	first        atomic.Pointer[string]
}

// count counts a request and what became of it.
func (k *kind) count(err error) {
	k.done.Add(1)
	if err == nil {
		return
	}
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

// startLoad has clients use both applications through the sidecar of web.
func startLoad(m *mesh) *load {
	ctx, stop := context.WithCancel(context.Background()) // ended by end
	l := &load{stop: stop}
	h2 := new(http.Protocols)
	h2.SetUnencryptedHTTP2(true)
	l.kinds = []*kind{
		{what: "HTTP/1.1, connections that stay", clients: 8, beat: 10 * time.Millisecond, serve: m.requests(&http.Transport{MaxIdleConnsPerHost: 8})},
		{what: "HTTP/1.1, a connection for each request", clients: 4, beat: 20 * time.Millisecond, serve: m.requests(&http.Transport{DisableKeepAlives: true})},
		{what: "HTTP/2", clients: 8, beat: 10 * time.Millisecond, serve: m.requests(&http.Transport{Protocols: h2})},
		{what: "streams of HTTP/1.1", clients: 4, beat: time.Millisecond, serve: m.streams(&http.Transport{MaxIdleConnsPerHost: 4})},
		{what: "streams of HTTP/2", clients: 4, beat: time.Millisecond, serve: m.streams(&http.Transport{Protocols: h2})},
		{what: "TCP, connections that stay", clients: 4, beat: 20 * time.Millisecond, serve: m.talks},
		{what: "TCP, a connection for each exchange", clients: 2, beat: 20 * time.Millisecond, serve: m.calls},
	}
	for _, k := range l.kinds {
		for range k.clients {
			l.wg.Go(func() {
				ticker := time.NewTicker(k.beat)
				defer ticker.Stop()
				k.serve(k, ctx, func() {
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

// requests sends a body, which has to come back.
func (m *mesh) requests(t *http.Transport) func(*kind, context.Context, func()) {
	client := &http.Client{Transport: t, Timeout: patience}
	body := bytes.Repeat([]byte("curia "), 100)
	return func(k *kind, ctx context.Context, next func()) {
		for ; ctx.Err() == nil; next() {
			k.count(func() error {
				w, err := client.Post("http://"+m.api+"/", "text/plain", bytes.NewReader(body))
				if err != nil {
					return err
				}
				defer w.Body.Close()
				got, err := io.ReadAll(w.Body)
				if err == nil && (w.StatusCode != http.StatusOK || !bytes.Equal(got, body)) {
					err = fmt.Errorf("%d %.200q", w.StatusCode, got)
				}
				return err
			}())
		}
	}
}

// streams reads streams, which have to be whole.
func (m *mesh) streams(t *http.Transport) func(*kind, context.Context, func()) {
	client := &http.Client{Transport: t}
	return func(k *kind, ctx context.Context, next func()) {
		for ; ctx.Err() == nil; next() {
			k.count(func() error {
				w, err := client.Get("http://" + m.api + "/stream")
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
			}())
		}
	}
}

// talks uses one connection for as long as there is load.
func (m *mesh) talks(k *kind, ctx context.Context, next func()) {
	for ctx.Err() == nil {
		c, err := net.DialTimeout("tcp", m.tcp, patience)
		for ; err == nil && ctx.Err() == nil; next() {
			if err = say(c); err == nil {
				k.count(nil)
			}
		}
		if c != nil {
			c.Close()
		}
		if err != nil {
			k.count(err)
			next()
		}
	}
}

// calls makes a connection for each exchange.
func (m *mesh) calls(k *kind, ctx context.Context, next func()) {
	for ; ctx.Err() == nil; next() {
		c, err := net.DialTimeout("tcp", m.tcp, patience)
		if err == nil {
			err = say(c)
			c.Close()
		}
		k.count(err)
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
