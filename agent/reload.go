package agent

import (
	"errors"
	"strings"

	"github.com/curia-mesh/curia/agent/config"
)

// reload reads the configuration anew and takes up what may change while the agent runs. On an error
// nothing changes.
func (a *Agent) reload() error {
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
	}
	err = errors.Join(err,
		a.logs.SetLevel(next.LogLevel),
		a.telemetry.SetFilter(next.Telemetry.PrefixFilter),
		a.local.SetConfig(next.Services, next.Checks),
		a.plans.Set(next.Watches),
	)
	a.local.SetNode(a.catalogNode(next))
	a.api.Reconfigure(apiConfig(next))
	a.config.set(next)
	a.log.Info("configuration reloaded", "changed", strings.Join(changed, ", "))
	return err
}
