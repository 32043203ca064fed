package logging

import (
	"context"
	"log/slog"
	"slices"
)

// moduleKey is the attribute that carries a subsystem's name from [Named] to the handler. It is an attribute and not
// a type assertion so that it passes through handlers that wrap ours.
const moduleKey = "@module"

// Named returns a logger whose lines carry name after the name l already has, as in "agent.dns". A nil l discards.
func Named(l *slog.Logger, name string) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.With(slog.String(moduleKey, name))
}

// handler is the slog.Handler of an [Output]: the output, and what With, WithGroup and Named added, already rendered.
// It is immutable.
type handler struct {
	out    *Output
	module string
	groups string // names of the open groups, each followed by a dot
	fields fields
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return int64(l) >= h.out.lowest.Load()
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	h.out.emit(h, r)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := *h
	c.fields = fields{text: slices.Clone(h.fields.text), json: slices.Clone(h.fields.json)}
	for _, a := range attrs {
		if a.Key != moduleKey {
			c.fields.add(h.groups, a, true)
			continue
		}
		if c.module != "" {
			c.module += "."
		}
		c.module += string(appendPrintable(nil, cut(a.Value.String())))
	}
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.groups += name + "."
	return &c
}
