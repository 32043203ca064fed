package config

import (
	"reflect"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Reloadable compares two configurations that Load returned. It returns the keys of the settings that
// differ: those that a running agent takes up, and those that wait for a restart.
func Reloadable(old, new *Config) (changed, ignored []string) {
	for _, row := range table().rows {
		if row.Moved != "" || row.Unused || reflect.DeepEqual(row.get(old), row.get(new)) {
			continue
		}
		if row.Reload {
			changed = append(changed, row.Key)
		} else {
			ignored = append(ignored, row.Key)
		}
	}
	return changed, ignored
}

// Sanitized returns the configuration in the form of a file, with "hidden" in place of each secret that is
// set. It shares nothing with c.
func (c *Config) Sanitized() map[string]any {
	out := map[string]any{"dev": c.Dev}
	for _, row := range table().rows {
		if row.Moved != "" || row.Unused {
			continue
		}
		object := out
		names := strings.Split(row.Key, ".")
		for _, name := range names[:len(names)-1] {
			inner, ok := object[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
				object[name] = inner
			}
			object = inner
		}
		object[names[len(names)-1]] = row.show(c)
	}
	services := make([]*catalog.ServiceDefinition, len(c.Services))
	for i, d := range c.Services {
		services[i] = withoutToken(d)
	}
	out["services"] = services
	checks := make([]*catalog.AgentCheck, len(c.Checks))
	for i, check := range c.Checks {
		checks[i] = checkWithoutToken(check)
	}
	out["checks"] = checks
	watches := make([]Watch, len(c.Watches))
	for i, w := range c.Watches {
		w.Token = hide(w.Token)
		w.HTTPHandler.Header = hideHeader(w.HTTPHandler.Header)
		watches[i] = w
	}
	out["watches"] = watches
	return out
}

func hide(secret string) string {
	if secret == "" {
		return ""
	}
	return hidden
}

// hideHeader hides the values of headers: they often carry credentials.
func hideHeader(header map[string][]string) map[string][]string {
	if header == nil {
		return nil
	}
	out := make(map[string][]string, len(header))
	for name := range header {
		out[name] = []string{hidden}
	}
	return out
}

func withoutToken(d *catalog.ServiceDefinition) *catalog.ServiceDefinition {
	if d == nil {
		return nil
	}
	out := *d
	out.Token = hide(d.Token)
	out.Check = checkWithoutToken(d.Check)
	out.Checks = make([]*catalog.AgentCheck, len(d.Checks))
	for i, check := range d.Checks {
		out.Checks[i] = checkWithoutToken(check)
	}
	if d.Connect != nil {
		connect := *d.Connect
		connect.SidecarService = withoutToken(connect.SidecarService)
		out.Connect = &connect
	}
	return &out
}

func checkWithoutToken(check *catalog.AgentCheck) *catalog.AgentCheck {
	if check == nil {
		return nil
	}
	out := *check
	out.Token = hide(check.Token)
	out.Header = hideHeader(check.Header)
	return &out
}
