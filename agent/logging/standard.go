package logging

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"
)

// Standard returns l as the *log.Logger that memberlist, serf and net/http take. A line that begins with a level in
// brackets, as in "[WARN] memberlist: ...", is logged at that level; any other at fallback. A nil l discards.
func Standard(l *slog.Logger, fallback slog.Level) *log.Logger {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return log.New(stdWriter{l, fallback}, "", 0)
}

type stdWriter struct {
	log      *slog.Logger
	fallback slog.Level
}

// Write logs p as one line. It never fails.
func (w stdWriter) Write(p []byte) (int, error) {
	level, rest := w.fallback, p
	// The longest level is five letters, so its bracket closes within seven bytes.
	if end := bytes.IndexByte(p[:min(len(p), 7)], ']'); end > 0 && p[0] == '[' {
		if l, err := ParseLevel(string(p[1:end])); err == nil {
			level, rest = l, p[end+1:]
		}
	}
	if w.log.Enabled(context.Background(), level) { // log.Logger carries no context
		w.log.LogAttrs(context.Background(), level, strings.TrimSpace(string(rest)))
	}
	return len(p), nil
}
