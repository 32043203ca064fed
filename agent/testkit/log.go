package testkit

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// Log is what an agent has written so far. It is an io.Writer for the agent.
type Log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	seen    int           // bytes that Wait has gone past
	changed chan struct{} // closed with the next line or the end
	ended   bool
}

func newLog() *Log { return &Log{changed: make(chan struct{})} }

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	l.news()
	return len(b), nil
}

func (l *Log) news() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// end tells those who wait that nothing more will come.
func (l *Log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.news()
}

// String is all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Tail is the end of it, for messages of tests.
func (l *Log) Tail() string {
	lines := strings.SplitAfter(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "")
}

const tailLines = 40

// Wait blocks until a line with this text is there, after the line that the last Wait returned, and
// returns it. The test fails when the agent ends without one.
func (l *Log) Wait(t testing.TB, text string) string {
	t.Helper()
	over := time.After(patience)
	for {
		line, found, ended, changed := l.look(text)
		switch {
		case found:
			return line
		case ended:
			t.Fatalf("the agent has ended without a line that says %q; the end of its log:\n%s", text, l.Tail())
		}
		select {
		case <-changed:
		case <-over:
			t.Fatalf("no line says %q after %v; the end of the log:\n%s", text, patience, l.Tail())
		}
	}
}

func (l *Log) look(text string) (line string, found, ended bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.text.String()[l.seen:]
	for whole := range strings.Lines(rest) {
		if !strings.HasSuffix(whole, "\n") {
			break
		}
		if strings.Contains(whole, text) {
			l.seen += strings.Index(rest, whole) + len(whole)
			return whole, true, l.ended, nil
		}
	}
	return "", false, l.ended, l.changed
}
