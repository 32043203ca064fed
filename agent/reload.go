package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
)

// reload reads the configuration anew and takes up what may change while the agent runs. On an error
// nothing changes.
func (a *Agent) reload() error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	next, warnings, err := config.Load(a.opts.Args)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.log.Warn(w.String())
	}
	changed, ignored := config.Reloadable(a.config.get(), next)
	if len(ignored) > 0 {
		a.log.Warn("these settings change only with a restart of the agent", "settings", strings.Join(ignored, ", "))
	}
	if err := a.dns.Reload(dnsConfig(next)); err != nil {
		return err
	}
	if next.Ports.HTTPS > 0 {
		err = a.sockets.https.load("https", next.TLS.HTTPS)
		a.warnHTTPS(next)
	}
	err = errors.Join(err,
		a.logs.SetLevel(next.LogLevel),
		a.telemetry.SetFilter(next.Telemetry.PrefixFilter),
		a.setServices(next),
		a.plans.Set(next.Watches),
	)
	a.local.SetNode(a.catalogNode(next))
	a.sockets.perClient.Store(int64(next.Limits.HTTPMaxConnsPerClient))
	a.api.Reconfigure(apiConfig(next))
	a.config.set(next)
	a.log.Info("configuration reloaded", "changed", strings.Join(changed, ", "))
	return err
}

// setServices registers what the configuration defines, and warns of names that DNS cannot carry.
func (a *Agent) setServices(cfg *config.Config) error {
	for _, s := range cfg.Services {
		if warning := catalog.WarnDNS("service", s.Name); warning != "" {
			a.log.Warn("a service is configured that DNS cannot answer for", "service", s.Name, "reason", warning)
		}
	}
	return a.local.SetConfig(cfg.Services, cfg.Checks)
}

// autoReloadInterval is how often files are looked at when auto_reload_config is on.
const autoReloadInterval = time.Second

// autoReload reloads when a file of the configuration, or a certificate that it names, has changed. It
// looks at times and sizes: editors and tools replace files in too many ways to be told by events alone.
func (a *Agent) autoReload(ctx context.Context) error {
	if !a.config.get().AutoReloadConfig {
		return nil
	}
	tick := time.NewTicker(autoReloadInterval)
	defer tick.Stop()
	last := a.fingerprint()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := a.fingerprint()
		if now == last {
			continue
		}
		last = now
		a.log.Info("a configuration file has changed")
		if err := a.reload(); err != nil {
			a.log.Error("configuration could not be reloaded; the present one stays", "err", err)
		}
	}
}

// fingerprint tells one state of the configuration's files from another.
func (a *Agent) fingerprint() string {
	https := a.config.get().TLS.HTTPS
	var b strings.Builder
	for _, path := range append(slices.Clone(a.opts.Args.Paths), https.CertFile, https.KeyFile, https.CAFile) {
		files := []string{path}
		if entries, err := os.ReadDir(path); err == nil {
			for _, e := range entries {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				fmt.Fprintf(&b, "%s %d %d\n", f, info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return b.String()
}
