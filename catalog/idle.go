package catalog

import (
	"fmt"
	"strings"
)

// Fields that are kept for who runs other proxies, and that the product's own take no notice of. An entry or registration that
// sets one is as valid as any; whoever writes it should hear of it.

// idle collects the names of such fields.
type idle []string

func (l *idle) add(field string, set bool) {
	if set {
		*l = append(*l, field)
	}
}

// warn says of what the fields are, "" where there are none.
func (l idle) warn(of string) string {
	if len(l) == 0 {
		return ""
	}
	verb := "has"
	if len(l) > 1 {
		verb = "have"
	}
	return fmt.Sprintf("%s: %s %s no effect on the proxies that Curia runs: see the page on config entries, What proxies leave out", of, strings.Join(l, ", "), verb)
}

// WarnIdle returns a warning when a config entry sets fields that proxies take no notice of, else "".
func WarnIdle(e ConfigEntry) string {
	var l idle
	switch e := e.(type) {
	case *ServiceDefaults:
		l.add("BalanceInboundConnections", e.BalanceInboundConnections != "")
		l.add("EnvoyExtensions", len(e.EnvoyExtensions) > 0)
	case *ProxyDefaults:
		l.add("EnvoyExtensions", len(e.EnvoyExtensions) > 0)
		l.config("Config", e.Config)
	default:
		return ""
	}
	h := e.Head()
	return l.warn(fmt.Sprintf("%s/%s", h.Kind, h.Name))
}

// config adds those of a proxy's free configuration.
func (l *idle) config(at string, config map[string]any) {
	_, set := config["balance_inbound_connections"]
	l.add(at+".balance_inbound_connections", set)
}

// WarnIdle is that of config entries, of the definition's proxy and of its sidecar's.
func (d *ServiceDefinition) WarnIdle() string {
	var l idle
	l.proxy("proxy", d.Proxy)
	if d.Connect != nil && d.Connect.SidecarService != nil {
		l.proxy("connect.sidecar_service.proxy", d.Connect.SidecarService.Proxy)
	}
	return l.warn(fmt.Sprintf("service %q", d.Name))
}

func (l *idle) proxy(at string, p *Proxy) {
	if p == nil {
		return
	}
	l.add(at+".envoy_extensions", len(p.EnvoyExtensions) > 0)
	l.config(at+".config", p.Config)
}
