package sidecar

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// The interface of a proxy in a process of its own, over a unix socket that only its owner can open:
//
//	GET  /status, /config, /clusters, /endpoints   what Show answers with; ?index=N&wait=1m waits for another
//	PUT  /snapshot                                 carry this one out
//	GET  /attach                                   Hello, and then a line of the log at a time, for as long as the process is
//	POST /end                                      take no more connections, let those that there are end, and end
//	POST /handover                                 leave the listeners to who asks: see handoverProtocol
const (
	socketFile  = "sock"
	maxSnapshot = 256 << 20
	showWait    = time.Minute
	maxShowWait = 10 * time.Minute
)

// Hello is what a proxy says first to an agent that attaches.
type Hello struct {
	Build   string
	Pid     int
	Version uint64 // of its snapshot
	// Handover is how listeners can be had from it: handoverVersion, or 0 for one that hands none over.
	Handover int
}

// admin serves the interface.
func (p *process) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{view}", p.show)
	mux.HandleFunc("PUT /snapshot", p.put)
	mux.HandleFunc("GET /attach", p.attach)
	mux.HandleFunc("POST /handover", p.handover)
	mux.HandleFunc("POST /end", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		p.end()
	})
	return mux
}

func (p *process) show(w http.ResponseWriter, r *http.Request) {
	index, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = showWait
	}
	shown, index, err := p.runner.Show(r.Context(), r.PathValue("view"), index, min(wait, maxShowWait))
	if err != nil {
		fail(w, err)
		return
	}
	if s, ok := shown.(*Status); ok {
		s.Process = &Process{Pid: p.pid, Build: p.Build, Started: p.started, Attached: p.lines.attached()}
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(index, 10))
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(shown) // who asked has gone
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch catalog.CodeOf(err) {
	case catalog.NotFound:
		status = http.StatusNotFound
	case catalog.Invalid:
		status = http.StatusBadRequest
	}
	http.Error(w, err.Error(), status)
}

func (p *process) put(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= maxSnapshot {
		text.Grow(int(n) + bytes.MinRead)
	}
	if _, err := text.ReadFrom(http.MaxBytesReader(w, r.Body, maxSnapshot)); err != nil {
		fail(w, catalog.Errorf(catalog.Invalid, "reading the snapshot: %w", err))
		return
	}
	if err := p.runner.take(text.Bytes()); err != nil {
		fail(w, catalog.Errorf(catalog.Invalid, "%w", err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// attach tells an agent who this is and what it logs, until either goes.
func (p *process) attach(w http.ResponseWriter, r *http.Request) {
	hello := Hello{Build: p.Build, Pid: p.pid, Version: p.runner.Version(), Handover: handoverVersion}
	lines, leave := p.lines.join()
	defer leave()
	if err := json.NewEncoder(w).Encode(hello); err != nil {
		return
	}
	flush := http.NewResponseController(w)
	for {
		if err := flush.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		select {
		case line := <-lines:
			if _, err := w.Write(line); err != nil {
				return
			}
		case <-r.Context().Done(): // also when the socket is closed: not before another process can have it
			return
		}
	}
}
