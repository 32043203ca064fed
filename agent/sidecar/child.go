package sidecar

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc/pause"
)

// Child is the agent's end of a node's proxy in a process of its own: it starts the process when there are sidecars, hands
// it snapshots, and leaves it running when the agent ends.
type Child struct {
	// Program is what is run, with Args.
	Program string
	Args    []string
	Dir     string // of the proxy
	Build   string
	Log     *slog.Logger

	client *http.Client
	pid    int // of the process that was started last
	mu     sync.Mutex
	up     chan struct{} // closed while the process is attached
	isUp   bool
}

// How long the process may take to be ready, and to take a snapshot.
const (
	readyTime = 30 * time.Second
	putTime   = 30 * time.Second
)

// outputFile in the proxy's directory is what the process writes beside its log: access logs that go to the standard output,
// and how it crashed. It begins anew with each process.
const outputFile = "output.log"

// errRefused is the error of a snapshot that the proxy does not take.
var errRefused = errors.New("the proxy refuses the snapshot")

// Open makes a child, of which the exported fields are set, fit to run.
func (c *Child) Open() {
	c.up = make(chan struct{})
	path := filepath.Join(c.Dir, socketFile)
	c.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
}

// Run sees to it that the process has what the manager makes, until ctx ends. The process goes on.
func (c *Child) Run(ctx context.Context, m *Manager) error {
	defer c.client.CloseIdleConnections()
	failures := 0
	for ctx.Err() == nil {
		at, err := c.attach(ctx)
		switch {
		case err == nil:
			began := time.Now()
			c.Log.Info("the node's proxy runs", "pid", at.Pid, "build", at.Build, "version", at.Version)
			c.serve(ctx, at, m)
			if time.Since(began) > longestPause {
				failures = 0
			}
		case !m.Wanted():
			select {
			case <-m.News():
			case <-ctx.Done():
			}
			continue
		default:
			if failures > 0 {
				pause.For(ctx, backoff(failures))
			}
			if ctx.Err() != nil {
				return nil
			}
			failures++
			if err := c.start(ctx); err != nil && ctx.Err() == nil {
				c.Log.Error("the node's proxy does not start", "err", err, "again", longestPause)
			}
		}
	}
	return nil
}

// attached is the process, while it is there.
type attached struct {
	Hello
	lines *bufio.Reader
	body  io.ReadCloser
}

// attach returns the process that answers at the socket.
func (c *Child) attach(ctx context.Context) (*attached, error) {
	r, err := c.do(ctx, http.MethodGet, "attach", nil)
	if err != nil {
		return nil, err
	}
	a := &attached{lines: bufio.NewReader(r.Body), body: r.Body}
	line, err := a.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a.Hello)
	}
	if err != nil {
		r.Body.Close()
		return nil, err
	}
	return a, nil
}

// serve hands the process what there is, until it or ctx ends. One of another build is told to end.
func (c *Child) serve(ctx context.Context, at *attached, m *Manager) {
	gone := make(chan struct{})
	go func() { // ends with the process, or when the body is closed
		defer close(gone)
		for {
			line, err := at.lines.ReadBytes('\n')
			if err != nil {
				return
			}
			relay(ctx, c.Log, line)
		}
	}()
	c.setUp(true)
	defer func() {
		c.setUp(false)
		at.body.Close()
		<-gone
	}()
	if at.Build != c.Build && at.Pid != c.pid { // one that was started here is as new as the program on the disk
		c.replace(ctx, at, m)
		await(ctx, gone)
		return
	}
	for {
		if !m.Wanted() {
			c.Log.Info("no sidecar is left: the node's proxy ends")
			c.End(ctx)
			await(ctx, gone)
			return
		}
		if s := m.Latest(); s != nil && s != m.before { // what was there before it has itself
			switch err := c.put(ctx, s); {
			case err == nil || ctx.Err() != nil:
			case errors.Is(err, errRefused):
				c.Log.Error("the node's proxy goes on with what it has", "version", s.Version, "err", err)
			default:
				c.Log.Warn("the node's proxy does not answer: it is started again if it has ended", "pid", at.Pid, "err", err)
				return
			}
		}
		select {
		case <-m.News():
		case <-gone:
			c.Log.Warn("the node's proxy has ended: it is started again", "pid", at.Pid)
			return
		case <-ctx.Done():
			return
		}
	}
}

// replace has a process of this build take the listeners of another one, or that one make room where it cannot.
func (c *Child) replace(ctx context.Context, at *attached, m *Manager) {
	log := c.Log.With("pid", at.Pid, "build", at.Build)
	switch {
	case !m.Wanted():
		log.Info("the node's proxy is of another build, and no sidecar is left: it ends")
	case at.Handover != handoverVersion:
		log.Warn("the node's proxy is of another build, which hands no listeners over in the way this one knows: it makes room, and connections are refused for a moment")
	default:
		log.Info("the node's proxy is of another build: another one takes its listeners, and its place")
		err := c.start(ctx, "-take-over")
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Warn("the listeners of the node's proxy cannot be taken: it makes room, and connections are refused for a moment", "err", err)
	}
	c.End(ctx)
}

func await(ctx context.Context, gone <-chan struct{}) {
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

func (c *Child) setUp(up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if up && !c.isUp {
		close(c.up)
	} else if !up && c.isUp {
		c.up = make(chan struct{})
	}
	c.isUp = up
}

// End tells the process, if there is one, to take no more connections and to end when those it has have.
func (c *Child) End(ctx context.Context) {
	defer c.client.CloseIdleConnections()
	if r, err := c.do(ctx, http.MethodPost, "end", nil); err == nil {
		r.Body.Close()
	}
}

func (c *Child) put(ctx context.Context, s *Snapshot) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, putTime)
	defer cancel()
	r, err := c.do(ctx, http.MethodPut, "snapshot", bytes.NewReader(text))
	if err != nil {
		return err
	}
	return r.Body.Close()
}

// do makes a request. An answer that is no success is an error.
func (c *Child) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://proxy/"+path, body)
	if err != nil {
		return nil, err
	}
	r, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if r.StatusCode >= 300 {
		said, _ := io.ReadAll(io.LimitReader(r.Body, 4<<10))
		r.Body.Close()
		return nil, fmt.Errorf("%w: status %d: %s", errRefused, r.StatusCode, strings.TrimSpace(string(said)))
	}
	return r, nil
}

// start starts the process, with more arguments, and waits until it is ready. It is in a session of its own, so that what ends
// the agent does not end it.
func (c *Child) start(ctx context.Context, more ...string) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	crash, err := os.OpenFile(filepath.Join(c.Dir, outputFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600) // the one before may write on
	if err != nil {
		return err
	}
	defer crash.Close()
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(c.Program, slices.Concat(c.Args, more)...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = crash, crash, []*os.File{tell}
	cmd.Env, cmd.Dir = environment(), c.Dir
	detach(cmd)
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return err
	}
	c.pid = cmd.Process.Pid
	go cmd.Wait() // ends with the process, so that it is no zombie
	late, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	stop := context.AfterFunc(late, func() { ready.Close() })
	defer stop()
	if said, err := io.ReadAll(ready); err != nil || len(said) == 0 {
		text, _ := os.ReadFile(filepath.Join(c.Dir, outputFile))
		return fmt.Errorf("it ended, or was not ready within %v: %s", readyTime, bytes.TrimSpace(text[:min(len(text), 1<<10)]))
	}
	return nil
}

// environment is that of this process without what configures an agent or a command.
func environment() (kept []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CURIA_") && !strings.HasPrefix(v, "CONSUL_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// TellReady tells the agent that started this process that it is ready.
func TellReady() {
	f := os.NewFile(3, "ready")
	_, _ = f.WriteString("ready\n") // who started it has gone
	f.Close()
}

// Show answers with a view of the process as Runner.Show does.
func (c *Child) Show(ctx context.Context, view string, index uint64, wait time.Duration) (any, uint64, error) {
	c.mu.Lock()
	up, is := c.up, c.isUp
	c.mu.Unlock()
	if !is && index == absent {
		late := time.NewTimer(wait)
		defer late.Stop()
		select {
		case <-up:
		case <-late.C:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		index = 0
	}
	query := url.Values{"index": {strconv.FormatUint(index, 10)}, "wait": {wait.String()}}
	r, err := c.do(ctx, http.MethodGet, url.PathEscape(view)+"?"+query.Encode(), nil)
	if err != nil {
		if errors.Is(err, errRefused) || ctx.Err() != nil {
			return nil, 0, err
		}
		if view != ViewStatus {
			return []struct{}{}, absent, nil
		}
		return &Status{Sidecars: []SidecarStatus{}, Listeners: []ListenerStatus{}}, absent, nil
	}
	defer r.Body.Close()
	next, _ := strconv.ParseUint(r.Header.Get("X-Consul-Index"), 10, 64)
	if view == ViewStatus {
		s := &Status{}
		return s, next, json.NewDecoder(r.Body).Decode(s)
	}
	text, err := io.ReadAll(r.Body)
	return json.RawMessage(text), next, err
}

// absent is the index of what is shown while there is no process.
const absent = 1
