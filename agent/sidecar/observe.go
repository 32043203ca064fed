package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/proxy"
)

// observer has the proxy tell of what passes, as proxy-defaults say, which are the same for all sidecars of a node:
// AccessLogs, and in Config tracing and envoy_prometheus_bind_addr.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/proxy-defaults
type observer struct {
	log    *slog.Logger
	dir    string // for files; "" for none
	access *proxy.AccessLog
	tracer *proxy.Tracer
	write  func(io.Writer) error // metrics

	mu      sync.Mutex
	format  *proxy.Format
	out     io.Writer
	file    *os.File // that out is, where it is one of ours
	path    string
	line    []byte        // of record alone
	bind    string        // where metrics are shown; "" nowhere
	rebound chan struct{} // has a value when that changed
}

// accessRoom is how many records of the access log wait to be written.
const accessRoom = 4096

func newObserver(dir string, log *slog.Logger) *observer {
	o := &observer{log: log, dir: dir, tracer: proxy.NewTracer(), rebound: make(chan struct{}, 1)}
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
	_, _ = out.Write(o.line) // there is nobody to tell
}

// apply takes up what a snapshot says. What is wrong with a part of it is returned, and that part is off.
func (o *observer) apply(s *Snapshot) error {
	d := &catalog.ProxyDefaults{}
	for _, side := range s.Sidecars {
		if side.Defaults.Proxy != nil {
			d = side.Defaults.Proxy
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.metrics(d)
	return errors.Join(o.logs(d.AccessLogs), o.traces(d.Config["tracing"]))
}

// logs takes up how the access log is written. The lock is held.
func (o *observer) logs(a *catalog.AccessLogs) (err error) {
	o.format = nil
	o.access.Off.Store(true)
	path := ""
	defer func() {
		if o.file != nil && o.path != path {
			o.file.Close()
			o.file, o.path = nil, ""
		}
	}()
	if a == nil || !a.Enabled {
		return nil
	}
	var f *proxy.Format
	switch {
	case a.JSONFormat != "":
		f, err = proxy.NewJSON(a.JSONFormat)
	case a.TextFormat != "":
		f, err = proxy.NewText(strings.TrimSuffix(a.TextFormat, "\n"))
	default:
		f, err = proxy.NewJSON(proxy.DefaultJSON)
	}
	if err != nil {
		return err
	}
	switch a.Type {
	case "file":
		if o.file == nil || o.path != a.Path {
			file, err := o.open(a.Path)
			if err != nil {
				return fmt.Errorf("proxy-defaults: AccessLogs.Path: %w", err)
			}
			if o.file != nil {
				o.file.Close()
			}
			o.file, o.path = file, a.Path
		}
		path, o.out = a.Path, o.file
	case "stderr":
		o.out = os.Stderr
	default:
		o.out = os.Stdout
	}
	o.format = f
	o.access.Off.Store(false)
	return nil
}

// open opens a file of the access log. Who writes config entries says the name, and not where: else they could have every
// agent write to any file of its machine.
func (o *observer) open(name string) (*os.File, error) {
	if o.dir == "" {
		return nil, errors.New("the proxy has no directory: give the agent a data_dir, or set Type to stdout")
	}
	if name != filepath.Base(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("%.128q: want the name of a file, which is kept in %s", name, filepath.Join(o.dir, logsDir))
	}
	dir := filepath.Join(o.dir, logsDir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
}

const logsDir = "logs"

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
	for {
		o.mu.Lock()
		bind := o.bind
		o.mu.Unlock()
		stop := o.show(&all, bind)
		var again <-chan time.Time
		if stop == nil && bind != "" {
			again = time.After(bindAgain)
		}
		select {
		case <-o.rebound:
		case <-again:
		case <-ctx.Done():
		}
		if stop != nil {
			stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// bindAgain is when an address is tried again that could not be listened at.
const bindAgain = 10 * time.Second

// show shows metrics at an address until what it returns is called; nil where it cannot.
func (o *observer) show(all *sync.WaitGroup, bind string) (stop func() error) {
	if bind == "" {
		return nil
	}
	l, err := net.Listen("tcp", bind)
	if err != nil {
		o.log.Warn("metrics of the proxy cannot be shown", "err", err)
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = o.write(w) // who asked has gone
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	all.Go(func() { s.Serve(l) }) // ends with stop
	return s.Close
}
