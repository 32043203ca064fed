package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// Config says where log lines go and which. The zero value logs INFO and above, as text, to the terminal only.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/log
type Config struct {
	Name  string // of the root logger, the first part of every line's module; "agent" under Consul
	Level string // log_level, INFO when empty; see ParseLevel
	JSON  bool   // log_json

	// File is log_file: a path, or a directory (one that exists, or a path that ends in a separator) in which the
	// file is curia.log. A name without extension gets ".log". The directory must exist. Empty: no file.
	File           string
	RotateBytes    int64         // log_rotate_bytes: no file grows past it, 0 for no limit
	RotateDuration time.Duration // log_rotate_duration: no file is written to for longer, 24h when 0
	RotateMaxFiles int           // log_rotate_max_files: rotated files to keep, 0 for all, -1 for none

	Syslog         bool   // enable_syslog
	SyslogFacility string // syslog_facility, LOCAL0 when empty
}

// Output is where log lines go: the handler of the agent's loggers. It is safe for concurrent use. A line is written
// before the call that logged it returns.
type Output struct {
	json     bool
	coloured bool
	root     *slog.Logger

	// lowest is the lowest level anyone wants, log or monitor. It alone decides the cost of a line not wanted.
	lowest atomic.Int64
	// wantJSON says whether anyone reads JSON, so that fields are rendered for it.
	wantJSON atomic.Bool

	mu         sync.Mutex // guards what follows, and keeps the order of lines the same everywhere
	level      slog.Level
	terminal   io.Writer
	file       *file
	syslog     syslogWriter
	ring       ring
	monitors   map[*Monitor]struct{}
	complained time.Time // when a failing file or syslog was last told on the terminal
	closed     bool
}

// syslogWriter is what log/syslog's Writer does for us, and what a platform without it refuses.
type syslogWriter interface {
	write(l slog.Level, line string) error
	Close() error
}

// New opens the file and the syslog connection that cfg asks for. terminal receives every line as well and may be
// nil; lines are coloured if it is an *os.File on a terminal and cfg.JSON is off. The caller calls Close.
func New(cfg Config, terminal io.Writer) (*Output, error) {
	level := slog.LevelInfo
	if cfg.Level != "" {
		var err error
		if level, err = ParseLevel(cfg.Level); err != nil {
			return nil, fmt.Errorf("log_level: %w", err)
		}
	}
	o := &Output{json: cfg.JSON, level: level, terminal: terminal, monitors: map[*Monitor]struct{}{}}
	if f, ok := terminal.(*os.File); ok && f != nil {
		o.coloured = !cfg.JSON && term.IsTerminal(int(f.Fd()))
	}
	o.relevel()
	if cfg.File != "" {
		var err error
		if o.file, err = openFile(cfg); err != nil {
			return nil, err
		}
	}
	if cfg.Syslog {
		var err error
		if o.syslog, err = dialSyslog("", "", cfg.SyslogFacility); err != nil {
			return nil, errors.Join(err, o.Close())
		}
	}
	o.root = slog.New(&handler{out: o})
	if cfg.Name != "" {
		o.root = Named(o.root, cfg.Name)
	}
	return o, nil
}

// Logger is the root logger, named Config.Name.
func (o *Output) Logger() *slog.Logger { return o.root }

// Level is the level of the log; monitors may see more.
func (o *Output) Level() slog.Level {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.level
}

// SetLevel changes the level of the log from the next line on, for a configuration reload.
func (o *Output) SetLevel(level string) error {
	l, err := ParseLevel(level)
	if err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.level = l
	o.relevel()
	return nil
}

// relevel works out the lowest level wanted, and in which forms; o.mu is held, or o is not shared yet.
func (o *Output) relevel() {
	lowest, wantJSON := o.level, o.json
	for m := range o.monitors {
		lowest, wantJSON = min(lowest, m.level), wantJSON || m.json
	}
	o.lowest.Store(int64(lowest))
	o.wantJSON.Store(wantJSON)
}

// Recent returns the newest lines of the log, at most n and at most 512, oldest first.
func (o *Output) Recent(n int) []Line {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ring.last(n)
}

// Close ends the monitors and closes the file and the syslog connection. Later lines reach the terminal only.
func (o *Output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for m := range o.monitors {
		o.drop(m)
	}
	var errs []error
	if o.file != nil {
		errs = append(errs, o.file.Close())
		o.file = nil
	}
	if o.syslog != nil {
		errs = append(errs, o.syslog.Close())
		o.syslog = nil
	}
	return errors.Join(errs...)
}

// scratch holds what a record is rendered into.
type scratch struct {
	fields  fields
	hasJSON bool // fields.json is complete
	body    []byte
	line    []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// emit renders one record and gives it to everyone who wants its level.
func (o *Output) emit(h *handler, r slog.Record) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.hasJSON = o.wantJSON.Load()
	s.fields.text = append(s.fields.text[:0], h.fields.text...)
	s.fields.json = append(s.fields.json[:0], h.fields.json...)
	r.Attrs(func(a slog.Attr) bool {
		s.fields.add(h.groups, a, s.hasJSON)
		return true
	})
	message := cut(r.Message)
	s.body = appendPrintable(s.body[:0], message)
	if len(s.fields.text) > 0 {
		s.body = append(s.body, ':')
		s.body = append(s.body, s.fields.text...)
	}
	l := Line{Time: r.Time, Level: r.Level, Module: h.module, Message: string(s.body)}

	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Level >= o.level {
		o.ring.add(l)
		o.write(s, l, message)
	}
	o.tell(s, l, message)
}

// write puts the line on the terminal, in the file and in syslog; o.mu is held.
func (o *Output) write(s *scratch, l Line, message string) {
	if o.json {
		s.line = l.appendJSON(s.line[:0], message, s.fields.json)
	} else {
		s.line = l.appendText(s.line[:0], false)
	}
	if o.file != nil {
		if err := o.file.write(s.line, time.Now()); err != nil {
			o.complain(err)
		}
	}
	if o.syslog != nil {
		// syslog stamps time and level itself.
		line := l.body()
		if o.json {
			line = string(s.line)
		}
		if err := o.syslog.write(l.Level, line); err != nil {
			o.complain(fmt.Errorf("cannot write to syslog: %w", err))
		}
	}
	if o.terminal != nil {
		if o.coloured {
			s.line = l.appendText(s.line[:0], true)
		}
		_, _ = o.terminal.Write(s.line) // there is nowhere left to tell of a failure
	}
}

// complain says on the terminal, once a minute, that a destination fails. It cannot log: it is the log.
func (o *Output) complain(err error) {
	now := time.Now()
	if o.terminal == nil || now.Sub(o.complained) < time.Minute {
		return
	}
	o.complained = now
	l := Line{Time: now, Level: slog.LevelError, Module: "logging"}
	l.Message = string(appendPrintable(nil, "lines are being lost: "+err.Error()))
	b := l.Text()
	if o.json {
		b = l.JSON()
	}
	_, _ = o.terminal.Write(b)
}
