package logging

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
)

// HCLog returns l as the logger that raft, autopilot and their kind take. Levels are the Output's: SetLevel does
// nothing. A nil l discards.
func HCLog(l *slog.Logger) hclog.Logger {
	if l == nil {
		return hclog.NewNullLogger()
	}
	return &hclogger{base: l, log: l}
}

// hclogger is hclog's interface over slog. hclog calls carry no context, hence the background ones here.
type hclogger struct {
	base    *slog.Logger // without name and implied arguments, for ResetNamed
	log     *slog.Logger
	name    string
	implied []any
}

var _ hclog.Logger = (*hclogger)(nil)

func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	if level != hclog.Off {
		h.emit(fromHCLog(level), msg, args)
	}
}
func (h *hclogger) Trace(msg string, args ...any) { h.emit(LevelTrace, msg, args) }
func (h *hclogger) Debug(msg string, args ...any) { h.emit(slog.LevelDebug, msg, args) }
func (h *hclogger) Info(msg string, args ...any)  { h.emit(slog.LevelInfo, msg, args) }
func (h *hclogger) Warn(msg string, args ...any)  { h.emit(slog.LevelWarn, msg, args) }
func (h *hclogger) Error(msg string, args ...any) { h.emit(slog.LevelError, msg, args) }

func (h *hclogger) IsTrace() bool { return h.enabled(LevelTrace) }
func (h *hclogger) IsDebug() bool { return h.enabled(slog.LevelDebug) }
func (h *hclogger) IsInfo() bool  { return h.enabled(slog.LevelInfo) }
func (h *hclogger) IsWarn() bool  { return h.enabled(slog.LevelWarn) }
func (h *hclogger) IsError() bool { return h.enabled(slog.LevelError) }

func (h *hclogger) enabled(l slog.Level) bool { return h.log.Enabled(context.Background(), l) }

func (h *hclogger) emit(l slog.Level, msg string, args []any) {
	if !h.enabled(l) {
		return
	}
	r := slog.NewRecord(time.Now(), l, msg, 0)
	r.AddAttrs(attrs(args)...)
	_ = h.log.Handler().Handle(context.Background(), r) // our handler has no error to give
}

func (h *hclogger) ImpliedArgs() []any { return slices.Clone(h.implied) }
func (h *hclogger) Name() string       { return h.name }

func (h *hclogger) With(args ...any) hclog.Logger {
	c := *h
	c.log = slog.New(h.log.Handler().WithAttrs(attrs(args)))
	c.implied = append(slices.Clone(h.implied), args...)
	return &c
}

func (h *hclogger) Named(name string) hclog.Logger {
	c := *h
	c.log = Named(h.log, name)
	if c.name != "" {
		name = c.name + "." + name
	}
	c.name = name
	return &c
}

// ResetNamed names the logger anew below the name of the slog.Logger it was made from.
func (h *hclogger) ResetNamed(name string) hclog.Logger {
	c := &hclogger{base: h.base, log: h.base, name: name, implied: h.implied}
	if name != "" {
		c.log = Named(c.log, name)
	}
	c.log = slog.New(c.log.Handler().WithAttrs(attrs(h.implied)))
	return c
}

func (h *hclogger) SetLevel(hclog.Level) {}

func (h *hclogger) GetLevel() hclog.Level {
	for _, l := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn, hclog.Error} {
		if h.enabled(fromHCLog(l)) {
			return l
		}
	}
	return hclog.Off
}

func (h *hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return Standard(h.log, slog.LevelInfo)
}

func (h *hclogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return stdWriter{h.log, slog.LevelInfo}
}

func fromHCLog(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return LevelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// attrs turns hclog's alternating keys and values into slog's, with hclog's key for a value that has none.
func attrs(args []any) []slog.Attr {
	out := make([]slog.Attr, 0, (len(args)+1)/2)
	for len(args) > 0 {
		if len(args) == 1 {
			args = []any{hclog.MissingKey, args[0]}
		}
		key, ok := args[0].(string)
		if !ok {
			key = fmt.Sprint(args[0])
		}
		out = append(out, slog.Any(key, hclogValue(args[1])))
		args = args[2:]
	}
	return out
}

// hclogValue resolves the types by which hclog's callers choose a form.
func hclogValue(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if format, ok := v[0].(string); ok {
			return fmt.Sprintf(format, v[1:]...)
		}
		return fmt.Sprint(v...)
	case hclog.Quote:
		return string(v)
	case hclog.Hex:
		return "0x" + strconv.FormatUint(uint64(v), 16)
	case hclog.Octal:
		return "0" + strconv.FormatUint(uint64(v), 8)
	case hclog.Binary:
		return "0b" + strconv.FormatUint(uint64(v), 2)
	}
	return v
}
