package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
)

// lines hands the lines of a log to the agents that are there, and keeps the last ones for the next that comes. It is an
// io.Writer, each of whose writes is a line.
type lines struct {
	mu    sync.Mutex
	last  [][]byte
	to    map[chan []byte]bool
	limit int
}

// keptLines is how many lines wait for an agent; one that does not read loses those above.
const keptLines = 256

func newLines() *lines { return &lines{to: map[chan []byte]bool{}, limit: keptLines} }

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := bytes.Clone(b)
	if len(l.to) == 0 {
		l.last = append(l.last, line)
		if over := len(l.last) - l.limit; over > 0 {
			l.last = slices.Delete(l.last, 0, over)
		}
	}
	for c := range l.to {
		select {
		case c <- line:
		default: // it does not read
		}
	}
	return len(b), nil
}

// join returns the lines from here on, with those that nobody has heard.
func (l *lines) join() (c chan []byte, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c = make(chan []byte, 2*l.limit)
	for _, line := range l.last {
		c <- line
	}
	l.last = nil
	l.to[c] = true
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.to, c)
	}
}

func (l *lines) attached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.to) > 0
}

// relay logs a line that slog has written as JSON.
func relay(ctx context.Context, log *slog.Logger, line []byte) {
	var said map[string]any
	if err := json.Unmarshal(line, &said); err != nil {
		log.Warn("the proxy says what cannot be read", "line", string(line))
		return
	}
	var level slog.Level
	text, _ := said[slog.LevelKey].(string)
	_ = level.UnmarshalText([]byte(text)) // info where it says none
	message, _ := said[slog.MessageKey].(string)
	var attrs []slog.Attr
	for key, value := range said {
		if key != slog.LevelKey && key != slog.MessageKey && key != slog.TimeKey {
			attrs = append(attrs, slog.Any(key, value))
		}
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	log.LogAttrs(ctx, level, message, attrs...)
}
