package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/agent/client"
)

// Limits of a debug bundle.
const (
	minDuration = 10 * time.Second
	minInterval = 5 * time.Second
	maxCapture  = 512 << 20 // bytes of one file
)

func captures() []string { return []string{"agent", "host", "members", "metrics", "logs", "pprof"} }

// bundle is the folder that captures go to.
type bundle struct {
	c        *call
	dir      string
	duration time.Duration
	interval time.Duration
	mu       sync.Mutex
	failed   []string
}

func debugBundle(f *flag.FlagSet) action {
	capture := listVar(f, "capture", "`What` to capture: "+strings.Join(captures(), ", ")+". It can be given several times. The default is all.")
	duration := f.Duration("duration", 2*time.Minute, "How `long` to capture what changes, at least 10s.")
	interval := f.Duration("interval", 30*time.Second, "How `often` to capture metrics and profiles, at least 5s.")
	since := f.Duration("since", 0, "Another name of -duration; a `duration`.")
	output := f.String("output", "", "The `path` of the bundle. The default is curia-debug-<time> in this folder.")
	archive := f.Bool("archive", true, "Make one file, with .tar.gz added to the path, of the bundle.")
	return func(ctx context.Context, c *call) error {
		if *since != 0 {
			*duration = *since
		}
		what := *capture
		if len(what) == 0 {
			what = captures()
		}
		for i, w := range what {
			if w == "cluster" {
				what[i] = "members" // its old name
			} else if !slices.Contains(captures(), w) {
				return usage("-capture %q: want one of %s", w, strings.Join(captures(), ", "))
			}
		}
		switch {
		case *duration < minDuration:
			return usage("-duration %s: want at least %s", *duration, minDuration)
		case *interval < minInterval:
			return usage("-interval %s: want at least %s", *interval, minInterval)
		case *interval > *duration:
			return usage("-interval %s must not be longer than -duration %s", *interval, *duration)
		}
		if *output == "" {
			*output = program + "-debug-" + time.Now().UTC().Format("2006-01-02T15-04-05Z")
		}
		*output = filepath.Clean(*output)
		for _, path := range []string{*output, *output + archiveExt} {
			if _, err := os.Lstat(path); err == nil {
				return fmt.Errorf("%s exists already: name another place with -output", path)
			}
		}
		if _, err := c.api.Agent().Self(ctx); err != nil {
			return err
		}
		if err := os.MkdirAll(*output, 0o700); err != nil {
			return err
		}
		b := &bundle{c: c, dir: *output, duration: *duration, interval: *interval}
		b.capture(ctx, what)
		return b.finish(*archive, what)
	}
}

// capture fetches all that is wanted. What fails is noted, the rest goes on; an interruption ends it.
func (b *bundle) capture(ctx context.Context, what []string) {
	wants := func(name string) bool { return slices.Contains(what, name) }
	for _, report := range []string{"agent", "host", "members"} {
		if wants(report) {
			path := map[string]string{"agent": "self"}[report]
			if path == "" {
				path = report
			}
			b.note(report, b.report(ctx, path, report+".json"))
		}
	}
	if !wants("metrics") && !wants("logs") && !wants("pprof") {
		return // nothing that changes
	}
	b.c.note("Capturing for %s. Stop early with Ctrl-C.", b.duration)
	ctx, cancel := context.WithTimeout(ctx, b.duration)
	defer cancel()
	var wg sync.WaitGroup
	start := func(name string, f func(context.Context) error) {
		if wants(name) {
			wg.Go(func() { // ends with ctx
				b.note(name, f(ctx))
			})
		}
	}
	start("logs", b.logs)
	start("metrics", b.metrics)
	start("pprof", b.profile("profile", "profile.prof"))
	start("pprof", b.profile("trace", "trace.out"))
	start("pprof", b.snapshots)
	wg.Wait()
}

func (b *bundle) note(what string, err error) {
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	text := clean(err.Error())
	if what == "pprof" && client.IsStatus(err, 401, 403, 404) {
		text = "profiles need enable_debug on the agent, or a token with operator:read"
	}
	if line := what + ": " + text; !slices.Contains(b.failed, line) {
		b.failed = append(b.failed, line)
		b.c.note("Not captured: %s", line)
	}
}

func (b *bundle) report(ctx context.Context, name, file string) error {
	raw, err := b.c.api.Agent().Report(ctx, name)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.dir, file), text.Bytes(), 0o600)
}

func (b *bundle) logs(ctx context.Context) error {
	log, err := b.c.api.Agent().Monitor(ctx, "DEBUG", false)
	if err != nil {
		return err
	}
	return b.copy("consul.log", log)
}

func (b *bundle) profile(name, file string) func(context.Context) error {
	return func(ctx context.Context) error {
		seconds := int(b.duration / time.Second)
		outer := context.WithoutCancel(ctx)
		outer, cancel := context.WithTimeout(outer, b.duration+minDuration)
		defer cancel()
		stop := context.AfterFunc(ctx, func() {
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				cancel() // interrupted: the profile cannot be had any more
			}
		})
		defer stop()
		r, err := b.c.api.Agent().Profile(outer, name, seconds)
		if err != nil {
			return err
		}
		return b.copy(file, r)
	}
}

// every calls f now and after each interval until ctx ends.
func (b *bundle) every(ctx context.Context, f func() error) error {
	ticker := time.NewTicker(b.interval)
	defer ticker.Stop()
	for {
		if err := f(); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// metrics writes one line of JSON per interval.
func (b *bundle) metrics(ctx context.Context) error {
	f, err := os.OpenFile(filepath.Join(b.dir, "metrics.json"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return b.every(ctx, func() error {
		raw, err := b.c.api.Agent().Report(ctx, "metrics")
		if err != nil {
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, raw); err != nil {
			return err
		}
		line.WriteByte('\n')
		_, err = f.Write(line.Bytes())
		return err
	})
}

// snapshots keeps a heap and a goroutine profile per interval, each pair in a folder named by its time.
func (b *bundle) snapshots(ctx context.Context) error {
	return b.every(ctx, func() error {
		at := time.Now().UTC().Format("2006-01-02T15-04-05Z")
		if err := os.MkdirAll(filepath.Join(b.dir, at), 0o700); err != nil {
			return err
		}
		for _, name := range []string{"heap", "goroutine"} {
			r, err := b.c.api.Agent().Profile(ctx, name, 0)
			if err != nil {
				return err
			}
			if err := b.copy(filepath.Join(at, name+".prof"), r); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bundle) copy(file string, r io.ReadCloser) error {
	defer r.Close()
	f, err := os.OpenFile(filepath.Join(b.dir, file), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.LimitReader(r, maxCapture))
	return errors.Join(err, f.Close())
}

// finish writes the bundle's index and makes an archive of it.
func (b *bundle) finish(archive bool, what []string) error {
	index, err := json.MarshalIndent(map[string]any{
		"Version": Version, "Interval": b.interval.String(), "Duration": b.duration.String(), "Targets": what, "Failed": b.failed,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "index.json"), index, 0o600); err != nil {
		return err
	}
	if !archive {
		b.c.say("Saved debug bundle: %s", b.dir)
		return nil
	}
	if err := pack(b.dir, b.dir+archiveExt); err != nil {
		return fmt.Errorf("archive the bundle (it is whole in %s): %w", b.dir, err)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	b.c.say("Saved debug archive: %s", b.dir+archiveExt)
	return nil
}
