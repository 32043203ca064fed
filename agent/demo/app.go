package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// app is an instance of a service: a small HTTP server on this machine, in this process.
type app struct {
	id, datacenter string
	port           int
	handler        http.Handler

	mu     sync.Mutex
	server *http.Server // nil while it is down
	done   chan struct{}
}

// up begins to answer. An app that is up stays so.
func (a *app) up() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil {
		return nil
	}
	l, err := net.Listen("tcp", loopback(a.port))
	if err != nil {
		return fmt.Errorf("%s of %s: %w", a.id, a.datacenter, err)
	}
	a.server, a.done = &http.Server{Handler: a.handler, ReadHeaderTimeout: callTime}, make(chan struct{})
	go func(s *http.Server, done chan struct{}) { // ends with down
		defer close(done)
		_ = s.Serve(l) // it ends with down only
	}(a.server, a.done)
	return nil
}

// down is what a crash would be: connections break, and its port refuses others.
func (a *app) down() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server == nil {
		return
	}
	a.server.Close()
	<-a.done
	a.server = nil
}

// answer is what the services say.
type answer struct {
	Service    string  `json:"service"`
	Instance   string  `json:"instance"`
	Datacenter string  `json:"datacenter"`
	Upstream   *answer `json:"upstream,omitempty"`
}

// newAPI makes an instance of the service api, which says who it is.
func newAPI(id, dc string, port int) *app {
	who := answer{Service: "api", Instance: id, Datacenter: dc}
	return &app{id: id, datacenter: dc, port: port, handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tell(w, &who) })}
}

// newWeb makes the service web, which asks api by the port that its sidecar has for that, and says who answered. What is asked
// at /far it asks api of another datacenter.
func newWeb(dc string, port, upstream, far int, api *http.Client) *app {
	ask := func(port int) http.HandlerFunc {
		at := "http://" + loopback(port) + "/"
		return func(w http.ResponseWriter, r *http.Request) {
			said, err := call(r.Context(), api, at)
			if err != nil {
				http.Error(w, "api: "+err.Error(), http.StatusBadGateway)
				return
			}
			tell(w, &answer{Service: "web", Instance: "web", Datacenter: dc, Upstream: said})
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/", ask(upstream))
	mux.HandleFunc("/far", ask(far))
	return &app{id: "web", datacenter: dc, port: port, handler: mux}
}

func tell(w http.ResponseWriter, a *answer) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // the client may have gone
}

// callTime bounds one request of the traffic.
const callTime = 5 * time.Second

// maxAnswer bounds an answer of these services.
const maxAnswer = 16 << 10

// call asks one of the services.
func call(ctx context.Context, c *http.Client, at string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	r, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %.200s", r.StatusCode, bytes.TrimSpace(text))
	}
	a := &answer{}
	return a, json.Unmarshal(text, a)
}
