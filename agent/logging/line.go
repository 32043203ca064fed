package logging

import (
	"log/slog"
	"strings"
	"time"
)

// Line is one line of the log as [Output.Recent] keeps it.
type Line struct {
	Time   time.Time
	Level  slog.Level
	Module string // the subsystem, as in "agent.server"
	// Message is the message with its fields as text, "message: key=value key2=value2", free of control characters.
	Message string
}

// Text is the line as a text log holds it, with its newline.
func (l Line) Text() []byte {
	return l.appendText(make([]byte, 0, 40+len(l.Module)+len(l.Message)), false)
}

// body is the line without its time and level.
func (l Line) body() string {
	if l.Module == "" {
		return l.Message
	}
	return l.Module + ": " + l.Message
}

// JSON is the line as a JSON log holds it, with its newline; the fields stay part of the message.
func (l Line) JSON() []byte { return l.appendJSON(nil, l.Message, nil) }

func (l Line) appendText(b []byte, coloured bool) []byte {
	if !l.Time.IsZero() {
		b = l.Time.AppendFormat(b, textTime)
		b = append(b, ' ')
	}
	if coloured {
		b = append(b, colour(l.Level)...)
		b = append(b, bracket(l.Level)...)
		b = append(b, "\x1b[0m"...)
	} else {
		b = append(b, bracket(l.Level)...)
	}
	b = append(b, ' ')
	b = append(b, l.body()...)
	return append(b, '\n')
}

// appendJSON writes hclog's four keys first; message is separate because a JSON line carries the fields as keys.
func (l Line) appendJSON(b []byte, message string, fields []byte) []byte {
	b = append(b, `{"@level":"`...)
	b = append(b, strings.ToLower(LevelName(l.Level))...)
	b = append(b, `","@message":`...)
	b = appendJSON(b, message)
	if l.Module != "" {
		b = append(b, `,"@module":`...)
		b = appendJSON(b, l.Module)
	}
	if !l.Time.IsZero() {
		b = append(b, `,"@timestamp":"`...)
		b = l.Time.AppendFormat(b, jsonTime)
		b = append(b, '"')
	}
	b = append(b, fields...)
	return append(b, '}', '\n')
}

// ring keeps the last lines, oldest overwritten first.
type ring struct {
	lines []Line
	next  int
}

const ringSize = 512

func (r *ring) add(l Line) {
	if len(r.lines) < ringSize {
		r.lines = append(r.lines, l)
		return
	}
	r.lines[r.next] = l
	r.next = (r.next + 1) % ringSize
}

// last returns a copy of the newest n lines, oldest first.
func (r *ring) last(n int) []Line {
	n = max(0, min(n, len(r.lines)))
	out := make([]Line, 0, n)
	for i := len(r.lines) - n; i < len(r.lines); i++ {
		out = append(out, r.lines[(r.next+i)%len(r.lines)])
	}
	return out
}
