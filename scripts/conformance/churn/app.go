//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Streams of the application: as many lines, so far apart.
const (
	streamLines = 20
	streamBeat  = 100 * time.Millisecond
)

// app is an instance of api.
type app struct {
	name        string
	id, version string
	sidecar     int
	proofs      *proofs
	addr        string
	server      *http.Server
	gone        chan struct{}
}

// start listens, at the port that the instance had before.
func (a *app) start() error {
	at := a.addr
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	a.addr = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Write(body)
	})
	a.server, a.gone = &http.Server{Handler: a.proofs.witness(mux)}, make(chan struct{})
	go func() { // ends with the server
		defer close(a.gone)
		a.server.Serve(l)
	}()
	return nil
}

// stop lets requests end that are under way, as a well-behaved application does.
func (a *app) stop(ctx context.Context) error {
	if a == nil || a.server == nil {
		return nil
	}
	err := a.server.Shutdown(ctx)
	<-a.gone
	return err
}

func (a *app) registration() map[string]any {
	return map[string]any{
		"ID": a.id, "Name": a.name, "Port": port(a.addr), "Meta": map[string]string{"v": a.version}, "Connect": sidecar(a.sidecar, nil),
	}
}

func port(addr string) int {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return 0
	}
	return at.Port
}

// stream sends a line every beat, and ends in good order.
func stream(w http.ResponseWriter, r *http.Request) {
	for i := range streamLines {
		if _, err := fmt.Fprintln(w, i); err != nil {
			return
		}
		http.NewResponseController(w).Flush()
		pause(r.Context(), streamBeat)
	}
}

// startEcho listens for connections of which everything that is said is said back.
func startEcho() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l, nil
}
