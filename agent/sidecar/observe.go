package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
)

// observer has the proxy tell of what passes, as proxy-defaults say, which are the same for all sidecars of a node:
// AccessLogs, and in Config tracing and envoy_prometheus_bind_addr.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/proxy-defaults
type observer struct {
	log *slog.Logger
	dir string // for files; "" for none
	// detached means that nobody reads what the process prints.
	detached bool
	access   *proxy.AccessLog
	tracer   *proxy.Tracer
	write    func(io.Writer) error // metrics
	// inherited are listeners of the process before.
	inherited *proxy.Inherited
	begun     chan struct{} // closed when metrics are shown, where they are to be

	mu      sync.Mutex
	format  *proxy.Format
	out     func(line []byte) error
	file    *logFile       // that out is the Write of, where it is one of ours
	name    string         // of file
	line    []byte         // of record alone
	bind    string         // where metrics are shown; "" nowhere
	shown   []proxy.Socket // at most one, where they are
	rebound chan struct{}  // has a value when that changed
}

// accessRoom is how many records of the access log wait to be written.
const accessRoom = 4096

func newObserver(dir string, detached bool, log *slog.Logger) *observer {
	o := &observer{log: log, dir: dir, detached: detached, tracer: proxy.NewTracer(), rebound: make(chan struct{}, 1), begun: make(chan struct{})}
	o.access = proxy.NewAccessLog(accessRoom, o.record)
	o.access.Off.Store(true)
	return o
}

// record writes a line of the access log.
func (o *observer) record(r *proxy.Record) {
	o.mu.Lock()
	format, out := o.format, o.out
	o.mu.Unlock()
	if format == nil {
		return
	}
	o.line = format.Append(o.line[:0], r)
	_ = out(o.line) // there is nobody to tell
}

// defaultsOf is what proxy-defaults say, as the last sidecar that knows of them has it.
func defaultsOf(sides []*side) *catalog.ProxyDefaults {
	for _, s := range slices.Backward(sides) {
		if s.defaults != nil {
			return s.defaults
		}
	}
	return &catalog.ProxyDefaults{}
}

// apply takes up what proxy-defaults say. What is wrong with a part of it is returned, and that part is off.
func (o *observer) apply(d *catalog.ProxyDefaults) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.metrics(d)
	return errors.Join(o.logs(d.AccessLogs), o.traces(d.Config["tracing"]))
}

// logs takes up how the access log is written. The lock is held.
func (o *observer) logs(a *catalog.AccessLogs) (err error) {
	o.format = nil
	o.access.Off.Store(true)
	name := ""
	defer func() {
		if o.file != nil && o.name != name {
			o.file.Close()
			o.file, o.name = nil, ""
		}
	}()
	if a == nil || !a.Enabled {
		return nil
	}
	f, err := formatOf(a)
	if err != nil {
		return fmt.Errorf("proxy-defaults: AccessLogs: %w", err)
	}
	switch {
	case a.Type == "file":
		name = a.Path
	case o.detached: // nobody reads what such a process prints
		name = "access.log"
	}
	switch {
	case name == "" && a.Type == "stderr":
		o.out = printed(os.Stderr)
	case name == "":
		o.out = printed(os.Stdout)
	default:
		if o.file == nil || o.name != name {
			file, err := o.open(name)
			if err != nil {
				name = ""
				return fmt.Errorf("proxy-defaults: AccessLogs.Path: %w", err)
			}
			if o.file != nil {
				o.file.Close()
			}
			o.file, o.name = file, name
		}
		o.out = o.file.Write
	}
	o.format = f
	o.access.Off.Store(false)
	return nil
}

func formatOf(a *catalog.AccessLogs) (*proxy.Format, error) {
	switch {
	case a.JSONFormat != "":
		return proxy.NewJSON(a.JSONFormat)
	case a.TextFormat != "":
		return proxy.NewText(strings.TrimSuffix(a.TextFormat, "\n"))
	}
	return proxy.NewJSON(proxy.DefaultJSON)
}

func printed(f *os.File) func([]byte) error {
	return func(line []byte) error {
		_, err := f.Write(line)
		return err
	}
}

// Bounds of files of the access log: a new one is begun when one is full, and so many old ones are kept.
const (
	logsDir   = "logs"
	logBytes  = 64 << 20
	logsKept  = 3
	logsDirAs = 0o750
	logFileAs = 0o640
)

// open opens a file of the access log. Who writes config entries says the name, and not where: else they could have every
// agent write to any file of its machine.
func (o *observer) open(name string) (*logFile, error) {
	if o.dir == "" {
		return nil, errors.New("the proxy has no directory: give the agent a data_dir, or set Type to stdout")
	}
	dir := filepath.Join(o.dir, logsDir)
	if name != filepath.Base(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("%.128q: want the name of a file, which is kept in %s", name, dir)
	}
	if err := os.MkdirAll(dir, logsDirAs); err != nil {
		return nil, err
	}
	f, err := logging.OpenFile(logging.Rotation{Path: filepath.Join(dir, name), Bytes: logBytes, MaxFiles: logsKept, Mode: logFileAs})
	if err != nil {
		return nil, err
	}
	return &logFile{file: f}, nil
}

// logFile is a file that may be closed while a line is being written.
type logFile struct {
	mu   sync.Mutex
	file *logging.File
}

// Write appends a line.
func (f *logFile) Write(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Write(line)
}

// Close closes the file. Lines that come later are lost.
func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}

// traces takes up where spans go: a map with url, format ("otlp", which is the default, or "zipkin") and percent.
func (o *observer) traces(from any) error {
	m, _ := from.(map[string]any)
	if m == nil {
		o.tracer.Set(nil)
		return nil
	}
	c := &proxy.TracerConfig{Percent: 100}
	c.URL, _ = m["url"].(string)
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		o.tracer.Set(nil)
		return fmt.Errorf("proxy-defaults: Config.tracing.url: %.128q is no address of a collector: write http://host:port/path", c.URL)
	}
	switch f, _ := m["format"].(string); f {
	case "", "otlp":
	case "zipkin":
		c.Format = proxy.Zipkin
	default:
		o.tracer.Set(nil)
		return fmt.Errorf("proxy-defaults: Config.tracing.format: %.64q: want otlp or zipkin", f)
	}
	if p, found := m["percent"]; found {
		c.Percent = number(p)
	}
	o.tracer.Set(c)
	return nil
}

// metrics takes up where metrics are shown. The lock is held.
func (o *observer) metrics(d *catalog.ProxyDefaults) {
	bind, _ := d.Config["envoy_prometheus_bind_addr"].(string)
	if o.bind != bind {
		o.bind = bind
		ring(o.rebound)
	}
}

// run writes, sends and shows until ctx ends.
func (o *observer) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { o.access.Run(ctx) })
	all.Go(func() { o.tracer.Run(ctx) })
	var at string
	var stop func() error
	for first := true; ctx.Err() == nil; first = false {
		if want := o.wanted(); stop == nil || want != at {
			if stop != nil {
				stop()
			}
			stop, at = o.show(&all, want), want
		}
		if first {
			close(o.begun)
		}
		var again <-chan time.Time
		if stop == nil && at != "" {
			again = time.After(bindAgain)
		}
		select {
		case <-o.rebound:
		case <-again:
		case <-ctx.Done():
		}
	}
	if stop != nil {
		stop()
	}
}

// wanted is where metrics are to be shown.
func (o *observer) wanted() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bind
}

// bindAgain is when an address is tried again that could not be listened at.
const bindAgain = 10 * time.Second

// show shows metrics at an address until what it returns is called; nil where it cannot.
func (o *observer) show(all *sync.WaitGroup, bind string) (stop func() error) {
	if bind == "" {
		return nil
	}
	l, err := o.inherited.Listen("tcp", bind)
	if err != nil {
		o.log.Warn("metrics of the proxy cannot be shown", "err", err)
		return nil
	}
	o.setShown(proxy.Socket{Network: "tcp", Address: bind, Listener: l})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = o.write(w) // who asked has gone
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	all.Go(func() { s.Serve(l) }) // ends with stop
	return func() error {
		o.setShown()
		return s.Close()
	}
}

func (o *observer) setShown(at ...proxy.Socket) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown = at
}

// socket is the listener that metrics are shown at, where they are.
func (o *observer) socket() []proxy.Socket {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shown
}
