package watch

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
)

// Deps are what plans need of the agent.
type Deps struct {
	Cache *Cache
	// Token is the agent's default token, for watches without one. It may change; nil is none.
	Token func() string
	// Events, Services and Leaves may be nil where no watch is of their type.
	Events   Events
	Services Services
	Leaves   Leaves
	// Log may be nil.
	Log *slog.Logger
}

// Events are the user events that this node has received. Its method may be called at any time.
type Events interface {
	// List returns the events with a name, all for the empty one, oldest first; an index that tells one
	// newest event from another; and a channel that is closed with the next event.
	List(name string) (events []*catalog.Event, index uint64, changed <-chan struct{})
}

// Leaves are the certificates of this node's services. Its method may be called at any time.
type Leaves interface {
	// Get returns the certificate of a service. With the index of one it blocks until there is another, wait
	// is over, or ctx ends.
	Get(ctx context.Context, service, token string, index uint64, wait time.Duration) (*catalog.IssuedCert, error)
}

// Services are the services registered with this agent. Its method may be called at any time.
type Services interface {
	// Watch returns a service as GET /v1/agent/service/<id> answers with it, nil when there is none; and a
	// channel that is closed when it may have changed.
	Watch(id string) (service any, changed <-chan struct{})
}

// Plan is one watch of the configuration: it looks at something and calls a handler when that has changed.
// Source: https://developer.hashicorp.com/consul/docs/automate/watch
type Plan struct {
	query   query
	handler handler
	token   func() string
	log     *slog.Logger
}

// query is what a plan looks at.
type query interface {
	// look returns what there is to see: at once for the zero look, otherwise when it may differ from what
	// that look, or a later one, saw.
	look(ctx context.Context, token string, last look) (look, error)
	close()
}

// look is what a query saw.
type look struct {
	index uint64
	json  []byte
}

// handler is called with what a plan sees.
type handler interface {
	// handle returns what is worth a line in the log of what the handler said.
	handle(ctx context.Context, l look) (output string, err error)
}

// NewPlan makes the plan of a watch. Errors have code invalid and say what of it is wrong.
func NewPlan(w *config.Watch, d Deps) (*Plan, error) {
	h, err := newHandler(w)
	if err != nil {
		return nil, err
	}
	q, err := newQuery(w, d)
	if err != nil {
		return nil, err
	}
	p := &Plan{query: q, handler: h, token: func() string { return w.Token }, log: d.Log}
	if w.Token == "" && d.Token != nil {
		p.token = d.Token
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("watch", w.Type, "of", subject(w))
	return p, nil
}

// longRun is after how long a handler that still runs is worth a line in the log.
const longRun = 5 * time.Minute

// Run looks and handles until ctx ends. The handler gets what there is to see at the start, and then each
// change. It never runs twice at a time: what changes while it runs comes as one change afterwards.
func (p *Plan) Run(ctx context.Context) error {
	defer p.query.close()
	var last, handled look
	for failures, quiet := 0, 0; ; {
		start := time.Now()
		l, err := p.query.look(ctx, p.token(), last)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			failures++
			if failures == 1 {
				p.log.Warn("watch cannot look; it will try again", "err", err)
			}
			pause(ctx, nil, backoff(time.Second, failures))
			last = look{}
			continue
		}
		if failures > 0 {
			p.log.Info("watch can look again")
		}
		failures, last = 0, l
		if handled.json != nil && bytes.Equal(handled.json, l.json) {
			if quiet++; time.Since(start) < soon {
				pause(ctx, nil, backoff(pace, quiet)) // nothing new must not be looked at in a storm
			}
			continue
		}
		quiet, handled = 0, l
		p.handle(ctx, l)
	}
}

func (p *Plan) handle(ctx context.Context, l look) {
	long := time.AfterFunc(longRun, func() {
		p.log.Warn("watch handler runs for long; changes wait until it ends", "for", longRun)
	})
	defer long.Stop()
	output, err := p.handler.handle(ctx, l)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.log.Warn("watch handler failed", "index", l.index, "err", err, "output", output)
	default:
		p.log.Debug("watch handler ran", "index", l.index, "output", output)
	}
}

func newHandler(w *config.Watch) (handler, error) {
	handlers := 0
	for _, set := range []bool{w.Handler != "", len(w.Args) > 0, w.HTTPHandler.Path != ""} {
		if set {
			handlers++
		}
	}
	switch {
	case handlers != 1:
		return nil, catalog.Errorf(catalog.Invalid, "watch of type %q has %d handlers: set one of args and http_handler_config.path", w.Type, handlers)
	case w.HTTPHandler.Path != "":
		return newPost(&w.HTTPHandler)
	case w.Handler != "":
		return &script{args: append(shell(), w.Handler)}, nil
	}
	return &script{args: w.Args}, nil
}

// subject is what a watch is of, for the log.
func subject(w *config.Watch) string {
	return cmp.Or(w.Key, w.Prefix, w.Service, w.ServiceID, w.State, w.Name)
}
