package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Span is the part of one exchange in a trace.
type Span struct {
	trace                                                                TraceID
	id, parent                                                           SpanID
	begun                                                                time.Time
	took                                                                 time.Duration
	server                                                               bool // the exchange came from the mesh, and did not go into it
	service, listener, target, peer, route, endpoint, method, path, flag string
	status, attempts                                                     int
}

// TraceFormat is what a collector takes.
type TraceFormat uint8

// The formats.
// Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp, https://zipkin.io/zipkin-api
const (
	OTLP   TraceFormat = iota // in JSON, over HTTP
	Zipkin                    // version 2
)

// TracerConfig says what becomes of spans.
type TracerConfig struct {
	URL     string // where spans are sent to, with the path
	Format  TraceFormat
	Percent float64 // of the traces that begin here are sent
}

// Tracer sends spans to a collector. An exchange never waits for it: spans for which there is no room are dropped and
// counted, and so are those that the collector does not take.
type Tracer struct {
	config atomic.Pointer[TracerConfig]

	Sent, Dropped, Failed atomic.Uint64

	queue chan *Span
	free  sync.Pool
}

// Bounds of what waits to be sent.
const (
	maxSpans  = 2048
	maxBatch  = 512
	sendEvery = time.Second
	sendTime  = 5 * time.Second
)

// NewTracer makes a tracer that has nothing to do with traces until Set; Run has it send.
func NewTracer() *Tracer {
	return &Tracer{queue: make(chan *Span, maxSpans), free: sync.Pool{New: func() any { return new(Span) }}}
}

// Set says what becomes of spans from now on. With nil their fields are passed on as they come.
func (t *Tracer) Set(c *TracerConfig) { t.config.Store(c) }

func (t *Tracer) add(do func(*Span)) {
	s := t.free.Get().(*Span)
	do(s)
	select {
	case t.queue <- s:
	default:
		t.Dropped.Add(1)
		t.free.Put(s)
	}
}

// Run sends spans until ctx ends, and then those that are left.
func (t *Tracer) Run(ctx context.Context) error {
	transport := &http.Transport{MaxIdleConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: sendTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	every := time.NewTicker(sendEvery)
	defer every.Stop()
	var batch []*Span
	for {
		select {
		case s := <-t.queue:
			if batch = append(batch, s); len(batch) < maxBatch {
				continue
			}
		case <-every.C:
		case <-ctx.Done():
			for len(t.queue) > 0 {
				batch = append(batch, <-t.queue)
			}
			t.send(context.WithoutCancel(ctx), client, batch)
			return nil
		}
		t.send(ctx, client, batch)
		batch = batch[:0]
	}
}

// send sends a batch. What the collector does not take is lost.
func (t *Tracer) send(ctx context.Context, client *http.Client, batch []*Span) {
	if len(batch) == 0 {
		return
	}
	if err := t.post(ctx, client, batch); err != nil {
		t.Failed.Add(uint64(len(batch)))
	} else {
		t.Sent.Add(uint64(len(batch)))
	}
	for _, s := range batch {
		t.free.Put(s)
	}
}

func (t *Tracer) post(ctx context.Context, client *http.Client, batch []*Span) error {
	c := t.config.Load()
	if c == nil {
		return errors.New("tracing was switched off")
	}
	var body any
	if c.Format == Zipkin {
		body = zipkin(batch)
	} else {
		body = otlp(batch)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	io.CopyN(io.Discard, res.Body, maxDrain)
	if res.StatusCode >= 300 {
		return fmt.Errorf("the collector answers %s", res.Status)
	}
	return nil
}

// tags are what is known of an exchange, by the names of OpenTelemetry's conventions.
// Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans
func (s *Span) tags(yield func(name, value string)) {
	for _, tag := range [...][2]string{
		{"http.request.method", s.method}, {"url.path", s.path}, {"http.route", s.route}, {"curia.listener", s.listener}, {"curia.target", s.target},
		{"server.address", s.endpoint}, {"client.service", s.peer}, {"error.type", s.flag},
	} {
		if tag[1] != "" {
			yield(tag[0], tag[1])
		}
	}
	if s.status > 0 {
		yield("http.response.status_code", strconv.Itoa(s.status))
	}
	if s.attempts > 1 {
		yield("http.request.resend_count", strconv.Itoa(s.attempts-1))
	}
}

// bad reports whether the exchange counts as an error.
func (s *Span) bad() bool { return s.flag != "" || s.status >= 500 }

func (s *Span) name() string {
	if s.route == "" {
		return s.method
	}
	return s.method + " " + s.route
}

type (
	otlpRequest struct {
		ResourceSpans []otlpResource `json:"resourceSpans"`
	}
	otlpResource struct {
		Resource   otlpAttributes `json:"resource"`
		ScopeSpans []otlpScope    `json:"scopeSpans"`
	}
	otlpAttributes struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String string `json:"stringValue,omitempty"`
		Int    string `json:"intValue,omitempty"`
	}
	otlpScope struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpSpan struct {
		TraceID      string          `json:"traceId"`
		SpanID       string          `json:"spanId"`
		ParentSpanID string          `json:"parentSpanId,omitempty"`
		Name         string          `json:"name"`
		Kind         int             `json:"kind"`
		Start        string          `json:"startTimeUnixNano"`
		End          string          `json:"endTimeUnixNano"`
		Attributes   []otlpAttribute `json:"attributes"`
		Status       otlpStatus      `json:"status"`
	}
	otlpStatus struct {
		Code int `json:"code,omitempty"`
	}
)

// otlp puts the spans of each service together.
func otlp(batch []*Span) otlpRequest {
	var r otlpRequest
	at := map[string]int{}
	for _, s := range batch {
		i, found := at[s.service]
		if !found {
			i = len(r.ResourceSpans)
			at[s.service] = i
			scope := otlpScope{}
			scope.Scope.Name = "curia"
			r.ResourceSpans = append(r.ResourceSpans, otlpResource{otlpAttributes{[]otlpAttribute{{"service.name", otlpValue{String: s.service}}}}, []otlpScope{scope}})
		}
		const server, client, failed = 2, 3, 2
		o := otlpSpan{
			TraceID: s.trace.String(), SpanID: s.id.String(), ParentSpanID: s.parent.String(), Name: s.name(), Kind: client,
			Start: strconv.FormatInt(s.begun.UnixNano(), 10), End: strconv.FormatInt(s.begun.Add(s.took).UnixNano(), 10),
		}
		if s.server {
			o.Kind = server
		}
		if s.bad() {
			o.Status.Code = failed
		}
		s.tags(func(name, value string) {
			v := otlpValue{String: value}
			if name == "http.response.status_code" || name == "http.request.resend_count" {
				v = otlpValue{Int: value}
			}
			o.Attributes = append(o.Attributes, otlpAttribute{name, v})
		})
		spans := &r.ResourceSpans[i].ScopeSpans[0].Spans
		*spans = append(*spans, o)
	}
	return r
}

type (
	zipkinSpan struct {
		TraceID   string            `json:"traceId"`
		ID        string            `json:"id"`
		ParentID  string            `json:"parentId,omitempty"`
		Name      string            `json:"name"`
		Kind      string            `json:"kind"`
		Timestamp int64             `json:"timestamp"`
		Duration  int64             `json:"duration"`
		Local     zipkinEndpoint    `json:"localEndpoint"`
		Remote    *zipkinEndpoint   `json:"remoteEndpoint,omitempty"`
		Tags      map[string]string `json:"tags"`
	}
	zipkinEndpoint struct {
		ServiceName string `json:"serviceName"`
	}
)

func zipkin(batch []*Span) []zipkinSpan {
	all := make([]zipkinSpan, 0, len(batch))
	for _, s := range batch {
		z := zipkinSpan{
			TraceID: s.trace.String(), ID: s.id.String(), ParentID: s.parent.String(), Name: s.name(), Kind: "CLIENT",
			Timestamp: s.begun.UnixMicro(), Duration: max(s.took.Microseconds(), 1), Local: zipkinEndpoint{s.service}, Tags: map[string]string{},
		}
		remote := s.target
		if s.server {
			z.Kind, remote = "SERVER", s.peer
		}
		if remote != "" {
			z.Remote = &zipkinEndpoint{remote}
		}
		s.tags(func(name, value string) { z.Tags[name] = value })
		if s.bad() {
			z.Tags["error"] = or(s.flag, strconv.Itoa(s.status))
		}
		all = append(all, z)
	}
	return all
}
