package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
)

// reload reads the configuration anew and takes up what may change while the agent runs. On an error in a
// file nothing changes; a later one names the part that stays as it was, with what comes after it.
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
	present := a.config.get()
	changed, ignored := config.Reloadable(present, next)
	if len(ignored) > 0 {
		a.log.Warn("these settings change only with a restart of the agent", "settings", strings.Join(ignored, ", "))
	}
	keepIdentity(next, present)
	next.EnableAgentTLSForChecks = present.EnableAgentTLSForChecks // which a restart changes, unlike its files
	if err := a.reloadTLS(next); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return a.dns.Reload(dnsConfig(next)) },
		func() error { return a.setServices(next) },
		func() error { return a.plans.Set(next.Watches) },
		func() error { return a.logs.SetLevel(next.LogLevel) },
		func() error { return a.telemetry.SetFilter(next.Telemetry.PrefixFilter) },
		func() error { return a.backend.reload(next) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	a.local.SetNode(a.catalogNode(next))
	a.sockets.perClient.Store(int64(next.Limits.HTTPMaxConnsPerClient))
	a.api.Reconfigure(apiConfig(next))
	a.config.set(next)
	a.log.Info("configuration reloaded", "changed", strings.Join(changed, ", "))
	return nil
}

// reloadTLS takes up what the files hold now that settings name for TLS: all of it, or on an error nothing of how
// connections between agents are secured.
func (a *Agent) reloadTLS(cfg *config.Config) error {
	takePeers, err := a.peers.Prepare(cfg.TLS.InternalRPC)
	if err != nil {
		return err
	}
	if a.config.get().Ports.HTTPS > 0 {
		if err := a.sockets.https.load("https", cfg.TLS.HTTPS, a.own.certificate()); err != nil {
			return err
		}
		a.sockets.warnHTTPS(a.config.get(), a.log)
	}
	if err := a.checkTLS.loadChecks(cfg); err != nil {
		return err
	}
	takePeers()
	a.warnPeers(cfg)
	a.recheckPeers()
	return nil
}

// keepIdentity leaves a running agent who and where it is, whatever its configuration says now: the catalog
// must not show a node that nobody is.
func keepIdentity(next, present *config.Config) {
	next.Datacenter, next.PrimaryDatacenter, next.NodeName, next.NodeID = present.Datacenter, present.PrimaryDatacenter, present.NodeName, present.NodeID
	next.Server, next.Dev, next.DataDir, next.Segment, next.Locality = present.Server, present.Dev, present.DataDir, present.Segment, present.Locality
	next.BindAddr, next.Ports, next.Domain, next.AltDomain = present.BindAddr, present.Ports, present.Domain, present.AltDomain
	next.AdvertiseAddr, next.AdvertiseAddrIPv4, next.AdvertiseAddrIPv6 = present.AdvertiseAddr, present.AdvertiseAddrIPv4, present.AdvertiseAddrIPv6
	next.AdvertiseAddrWAN, next.AdvertiseAddrWANIPv4, next.AdvertiseAddrWANIPv6 = present.AdvertiseAddrWAN, present.AdvertiseAddrWANIPv4, present.AdvertiseAddrWANIPv6
}

// setServices registers what the configuration defines, and warns of names that DNS cannot carry.
func (a *Agent) setServices(cfg *config.Config) error {
	for _, s := range cfg.Services {
		if warning := catalog.WarnDNS("service", s.Name); warning != "" {
			a.log.Warn("a service is configured that DNS cannot answer for", "service", s.Name, "reason", warning)
		}
	}
	return a.local.SetConfig(a.config.registering(cfg))
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
	last := fingerprint(a.opts.Args.Paths, a.config.get().TLS)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := fingerprint(a.opts.Args.Paths, a.config.get().TLS)
		if now == last {
			continue
		}
		last = now
		a.log.Info("a configuration file has changed")
		if err := a.reload(); err != nil {
			a.log.Error("configuration could not be reloaded", "err", err)
		}
	}
}

// fingerprint tells one state of the configuration's files, and of those that it names for TLS, from another.
func fingerprint(paths []string, t config.TLS) string {
	var b strings.Builder
	all := slices.Clone(paths)
	for _, i := range []config.TLSInterface{t.InternalRPC, t.HTTPS, t.GRPC} {
		all = append(all, i.CertFile, i.KeyFile, i.CAFile, i.CAPath)
	}
	for _, path := range all {
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
