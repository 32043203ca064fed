package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	monitorQueue = 512 // lines a reader may fall behind
	maxMonitors  = 64  // at a time: each costs every line a delivery, and up to a queue of memory
)

// ErrTooManyMonitors is what Monitor answers while 64 of them are open.
var ErrTooManyMonitors = errors.New("too many log monitors: close one of the 64 that are open, or read the log file")

// MonitorConfig says what a monitor shows. The zero value shows INFO and above, as text, from now on.
type MonitorConfig struct {
	Level  slog.Level // may be lower than the level of the log
	JSON   bool
	Recent int // of the log's recent lines at Level or above, how many to begin with
}

// Monitor is a live subscription to log lines. Its queue is bounded: a line that finds it full is dropped, and the
// reader is told how many were. It never slows down the caller that logs. The reader calls Close.
type Monitor struct {
	out     *Output
	level   slog.Level
	json    bool
	lines   chan []byte // closed, under out.mu, when the monitor ends
	dropped atomic.Int64
}

// Monitor opens a subscription. The error is ErrTooManyMonitors, or io.ErrClosedPipe after Close.
func (o *Output) Monitor(c MonitorConfig) (*Monitor, error) {
	m := &Monitor{out: o, level: c.Level, json: c.JSON, lines: make(chan []byte, monitorQueue)}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, io.ErrClosedPipe
	}
	if len(o.monitors) >= maxMonitors {
		return nil, ErrTooManyMonitors
	}
	var recent []Line
	for _, l := range o.ring.last(ringSize) {
		if l.Level >= m.level {
			recent = append(recent, l)
		}
	}
	for _, l := range recent[max(0, len(recent)-max(0, min(c.Recent, monitorQueue))):] {
		m.lines <- m.encode(l)
	}
	o.monitors[m] = struct{}{}
	o.relevel()
	return m, nil
}

// Next waits for the next line, newline included, which the caller must not change: other readers share it. It ends
// with ctx's error, or with io.EOF once the monitor or its Output is closed and what was queued has been read.
func (m *Monitor) Next(ctx context.Context) ([]byte, error) {
	select {
	case line, ok := <-m.lines:
		return line, eof(ok)
	default:
	}
	if n := m.dropped.Swap(0); n > 0 { // the drops came after all that was queued
		return m.notice(n), nil
	}
	select {
	case line, ok := <-m.lines:
		return line, eof(ok)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func eof(ok bool) error {
	if ok {
		return nil
	}
	return io.EOF
}

// Close ends the subscription; it may be called more than once.
func (m *Monitor) Close() {
	m.out.mu.Lock()
	defer m.out.mu.Unlock()
	m.out.drop(m)
}

// drop ends a monitor; o.mu is held.
func (o *Output) drop(m *Monitor) {
	if _, open := o.monitors[m]; !open {
		return
	}
	delete(o.monitors, m)
	close(m.lines)
	o.relevel()
}

// tell delivers a line to every monitor that wants it, rendered once for each form; o.mu is held.
func (o *Output) tell(s *scratch, l Line, message string) {
	var text, js []byte
	for m := range o.monitors {
		if l.Level < m.level || m.json && !s.hasJSON { // without JSON the record is older than the monitor
			continue
		}
		if m.json {
			if js == nil {
				js = l.appendJSON(nil, message, s.fields.json)
			}
			m.offer(js)
			continue
		}
		if text == nil {
			text = l.Text()
		}
		m.offer(text)
	}
}

// offer queues a line unless the queue is full. Only one offer runs at a time, so the room it sees can only grow.
func (m *Monitor) offer(line []byte) {
	room := cap(m.lines) - len(m.lines)
	if room >= 2 {
		if n := m.dropped.Swap(0); n > 0 {
			m.lines <- m.notice(n)
		}
	}
	if room == 0 || m.dropped.Load() > 0 { // with drops untold and room for one, keep the gap where it is
		m.dropped.Add(1)
		return
	}
	m.lines <- line
}

func (m *Monitor) notice(n int64) []byte {
	return m.encode(Line{
		Time: time.Now(), Level: slog.LevelWarn, Module: "monitor",
		Message: fmt.Sprintf("lines dropped, the reader is too slow: count=%d", n),
	})
}

func (m *Monitor) encode(l Line) []byte {
	if m.json {
		return l.JSON()
	}
	return l.Text()
}
