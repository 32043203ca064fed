// Package audit records who asked what of the HTTP API.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-uuid"

	"github.com/curia-mesh/curia/agent/logging"
)

// Sink is a file that the record goes to.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/log#audit
type Sink struct {
	Name string
	logging.Rotation
}

// Log is the record. It is written as well as can be: when requests come quicker than the disks take them, events are
// left out, counted, and complained about, and no request waits.
type Log struct {
	sinks   []*sink
	log     *slog.Logger
	queue   chan []byte
	dropped atomic.Int64
}

type sink struct {
	name   string
	file   *logging.File
	failed bool
}

// pending is how many events wait for the disks at most.
const pending = 1 << 13

// Open opens the files of the sinks. The caller calls Run, which closes them.
func Open(sinks []Sink, log *slog.Logger) (*Log, error) {
	l := &Log{log: log, queue: make(chan []byte, pending)}
	for _, s := range sinks {
		file, err := logging.OpenFile(s.Rotation)
		if err != nil {
			for _, open := range l.sinks {
				open.file.Close()
			}
			return nil, fmt.Errorf("audit.sink %q: %w", s.Name, err)
		}
		l.sinks = append(l.sinks, &sink{name: s.Name, file: file})
	}
	return l, nil
}

// Run writes events until ctx ends, and then what is left of them.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case line := <-l.queue:
			l.write(line)
		case <-ctx.Done():
			for {
				select {
				case line := <-l.queue:
					l.write(line)
					continue
				default:
				}
				for _, s := range l.sinks {
					s.file.Close()
				}
				return nil
			}
		}
	}
}

func (l *Log) write(line []byte) {
	for _, s := range l.sinks {
		err := s.file.Write(line)
		if err != nil && !s.failed { // once until it works again
			l.log.Error("the record of requests cannot be written", "sink", s.name, "err", err)
		}
		s.failed = err != nil
	}
	if n := l.dropped.Swap(0); n > 0 {
		l.log.Error("requests came quicker than they could be recorded, and events were left out", "events", n)
	}
}

// event is one line of the record, in the form that tools for Consul's read.
// Source: https://developer.hashicorp.com/consul/docs/enterprise/audit-logging
type event struct {
	CreatedAt time.Time `json:"created_at"`
	EventType string    `json:"event_type"`
	Payload   payload   `json:"payload"`
}

type payload struct {
	ID        string    `json:"id"`
	Version   string    `json:"version"`
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Auth      auth      `json:"auth"`
	Request   request   `json:"request"`
	Response  *response `json:"response,omitempty"`
	Stage     string    `json:"stage"`
}

type auth struct {
	AccessorID string `json:"accessor_id,omitempty"`
}

type request struct {
	Operation  string            `json:"operation"`
	Endpoint   string            `json:"endpoint"`
	RemoteAddr string            `json:"remote_addr"`
	UserAgent  string            `json:"user_agent"`
	Host       string            `json:"host"`
	Parameters map[string]string `json:"query_params,omitempty"`
}

type response struct {
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// Begin records that a request is about to be handled for who has an accessor id, "" when that is not known, and
// returns what is to be called with its status, 0 when it was broken off. Parameters are recorded, secrets are not.
func (l *Log) Begin(r *http.Request, accessor string) (done func(status int)) {
	now := time.Now()
	id, err := uuid.GenerateUUID()
	if err != nil {
		id = "" // there are no random bytes; what was asked is recorded in any case
	}
	p := payload{
		ID: id, Version: "1", Type: "HTTPEvent", Timestamp: now, Stage: "OperationStart",
		Auth: auth{AccessorID: accessor},
		Request: request{
			Operation: r.Method, Endpoint: clip(r.URL.Path), RemoteAddr: r.RemoteAddr,
			UserAgent: clip(r.UserAgent()), Host: clip(r.Host), Parameters: parameters(r),
		},
	}
	l.add(now, p)
	return func(status int) {
		p.Stage, p.Response = "OperationComplete", &response{Status: strconv.Itoa(status)}
		if status == 0 {
			p.Response.Error = "broken off"
		}
		l.add(time.Now(), p)
	}
}

// longest is how much of a text that the client chose is recorded.
const longest = 1 << 10

func clip(text string) string {
	if len(text) > longest {
		return text[:longest] + "…"
	}
	return text
}

// most is how many parameters are recorded.
const most = 32

// parameters returns a request's parameters but for its token.
func parameters(r *http.Request) map[string]string {
	if r.URL.RawQuery == "" {
		return nil
	}
	all := map[string]string{}
	for name, values := range r.URL.Query() {
		if len(all) == most {
			break
		}
		if name == "token" {
			values = []string{"<hidden>"}
		}
		all[clip(name)] = clip(values[0])
	}
	return all
}

func (l *Log) add(now time.Time, p payload) {
	line, err := json.Marshal(event{CreatedAt: now, EventType: "audit", Payload: p})
	if err != nil {
		l.dropped.Add(1)
		return
	}
	select {
	case l.queue <- append(line, '\n'):
	default:
		l.dropped.Add(1)
	}
}
