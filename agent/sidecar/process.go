package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/connect/proxy"
	"github.com/curia-mesh/curia/rpc/socket"
)

// ProcessOptions are what a node's proxy in a process of its own is started with.
type ProcessOptions struct {
	// Dir is the proxy's directory in the agent's data directory.
	Dir string
	// Build tells builds of the program apart: an agent of another one puts its own in the place of this process.
	Build string
	// Level is the least level of what is logged, to the agent.
	Level slog.Level
	// TakeOver has the process take the listeners of the one that runs, and its place.
	TakeOver bool
	// Ready, if not nil, is called when the socket is open.
	Ready func()
}

// process is a node's proxy in a process of its own.
type process struct {
	ProcessOptions
	runner  *Runner
	lines   *lines
	pid     int
	started time.Time
	socket  net.Listener
	ended   chan struct{} // closed when it is to end
	once    sync.Once
	handing sync.Mutex // held while another process is given the listeners
}

// How long connections may go on when the process is told to end, and how often it is seen whether anybody has use for it.
const (
	processDrain = time.Minute
	lookEvery    = 30 * time.Second
)

// maxSocketPath is how long the path of a socket may be on any system.
const maxSocketPath = 103

// SocketFits reports whether a proxy can have its socket in a directory.
func SocketFits(dir string) bool { return len(filepath.Join(dir, socketFile)) <= maxSocketPath }

// RunProcess is the process: it carries out the last snapshot there was, and those that an agent brings, until ctx ends, an
// agent says so, another process takes its place, or it is of no use any more.
func RunProcess(ctx context.Context, o ProcessOptions) error {
	p := &process{ProcessOptions: o, lines: newLines(), pid: os.Getpid(), started: time.Now(), ended: make(chan struct{})}
	var before *predecessor
	var inherited *proxy.Inherited
	var err error
	if o.TakeOver {
		if before, err = inherit(o.Dir); err != nil {
			return err
		}
		defer before.leave()
		inherited = before.Inherited
	} else if p.socket, err = listenAdmin(o.Dir); err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(p.lines, &slog.HandlerOptions{Level: o.Level}))
	p.runner = NewRunner(RunnerOptions{Dir: o.Dir, Detached: true, Alone: true, Drain: processDrain, Inherited: inherited, Log: log})
	p.restore()
	all, ctx := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(ctx)
	defer stop()
	all.Go(func() error { return p.runner.Run(running) })
	if before != nil {
		if err := p.replace(running, before); err != nil {
			stop()
			return errors.Join(err, all.Wait())
		}
	}
	server := &http.Server{Handler: p.admin(), ReadHeaderTimeout: 10 * time.Second}
	all.Go(func() error {
		if err := server.Serve(p.socket); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	all.Go(func() error {
		p.watch(running)
		p.end()
		err := server.Close() // the next one needs the socket
		stop()
		return err
	})
	if o.Ready != nil {
		o.Ready()
	}
	return all.Wait()
}

// restore carries out the snapshot from before.
func (p *process) restore() {
	before, err := Load(p.Dir)
	if err != nil {
		p.runner.Log.Warn("the snapshot from before cannot be used", "err", err)
	}
	if before != nil {
		if err := p.runner.Apply(before); err != nil {
			p.runner.Log.Error("the snapshot from before cannot be carried out", "err", err)
		}
	}
}

// replace takes the place of the process before when this one accepts connections. Where it fails that one has its listeners,
// and what this one has accepted is served.
func (p *process) replace(ctx context.Context, before *predecessor) error {
	err := p.runner.begun(ctx)
	if err == nil {
		err = before.succeed()
	}
	if err != nil {
		p.runner.proxy.HandOver()
		return fmt.Errorf("taking the place of the process that runs: %w", err)
	}
	p.socket, err = socket.Private(filepath.Join(p.Dir, socketFile))
	return err
}

func (p *process) end() { p.once.Do(func() { close(p.ended) }) }

// listenAdmin opens the socket. One that somebody answers at is not taken away.
func listenAdmin(dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, socketFile)
	if answers(path) {
		return nil, fmt.Errorf("the proxy of %s runs already", dir)
	}
	return socket.Private(path)
}

// answers reports whether somebody is at a socket. A process that was killed just now may still seem to take connections:
// it says nothing.
func answers(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerTime))
	if _, err := io.WriteString(c, "GET /status HTTP/1.0\r\nHost: proxy\r\n\r\n"); err != nil {
		return false
	}
	n, err := c.Read(make([]byte, 1))
	return n > 0 || errors.Is(err, os.ErrDeadlineExceeded)
}

// answerTime is how long a process may take to answer, before it is taken for one that hangs.
const answerTime = 5 * time.Second

// watch returns when the process is to end: it is told to, its directory is gone, or no agent is there and it has nothing
// to offer.
func (p *process) watch(ctx context.Context) {
	path := p.socket.Addr().String()
	own, err := os.Stat(path)
	if err != nil {
		return
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.ended:
			return
		case now := <-look.C:
			if at, err := os.Stat(path); err != nil || !os.SameFile(own, at) {
				return
			}
			if !p.lines.attached() && !p.runner.useful(now) {
				return
			}
		}
	}
}
