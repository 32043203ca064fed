package config

import (
	"cmp"
	"fmt"

	"github.com/curia-mesh/curia/catalog"
)

// definitions checks the services and checks of one document, where their lines are known.
func (l *loader) definitions(name string, c *Config, lines map[string]int) {
	place := func(key string, i int) string {
		at := fmt.Sprintf("%s[%d]", key, i)
		if line := lines[at]; line > 0 {
			return fmt.Sprintf("%s:%d: %s", name, line, at)
		}
		return name + ": " + at
	}
	services := func(key string, defined []*catalog.ServiceDefinition) {
		for i, d := range defined {
			if err := validService(d); err != nil {
				l.fail(fmt.Errorf("%s: %w", place(key, i), err))
			} else if warning := d.WarnIdle(); warning != "" {
				l.warnings = append(l.warnings, Warning{place(key, i), warning})
			}
		}
	}
	checks := func(key string, defined []*catalog.AgentCheck) {
		for i, d := range defined {
			if err := validCheck(d); err != nil {
				l.fail(fmt.Errorf("%s: %w", place(key, i), err))
			}
		}
	}
	services("service", c.Service)
	services("services", c.Services)
	checks("check", c.Check)
	checks("checks", c.Checks)
}

func validService(d *catalog.ServiceDefinition) error {
	if d == nil {
		return catalog.Errorf(catalog.Invalid, "is empty: set name")
	}
	if err := d.Service().Validate(); err != nil {
		return err
	}
	for _, given := range append([]*catalog.AgentCheck{d.Check}, d.Checks...) {
		if given != nil && given.ServiceID != "" {
			return catalog.Errorf(catalog.Invalid, "service %q: its checks cannot name a service_id", d.Name)
		}
	}
	for i, given := range d.Checks {
		if given == nil {
			return catalog.Errorf(catalog.Invalid, "service %q: check %d is empty", d.Name, i)
		}
	}
	for _, check := range d.AllChecks() {
		if err := validCheck(check); err != nil {
			return fmt.Errorf("service %q: %w", d.Name, err)
		}
	}
	if d.Connect == nil || d.Connect.SidecarService == nil {
		return nil
	}
	sidecar := d.Connect.SidecarService
	switch {
	case d.Connect.Native:
		return catalog.Errorf(catalog.Invalid, "service %q: connect cannot be native and have a sidecar_service", d.Name)
	case sidecar.Connect != nil:
		return catalog.Errorf(catalog.Invalid, "service %q: its sidecar_service cannot have connect", d.Name)
	}
	for i, check := range sidecar.Checks {
		if check == nil {
			return catalog.Errorf(catalog.Invalid, "service %q: check %d of sidecar_service is empty", d.Name, i)
		}
	}
	for _, check := range sidecar.AllChecks() {
		if err := validCheck(check); err != nil {
			return fmt.Errorf("service %q: sidecar_service: %w", d.Name, err)
		}
	}
	return nil
}

func validCheck(d *catalog.AgentCheck) error {
	if d == nil || d.CheckID == "" && d.Name == "" {
		return catalog.Errorf(catalog.Invalid, "check has no name: set name")
	}
	return d.Validate()
}

// single drops definitions that were given again later, as when a file is named twice.
func (l *loader) single() {
	c := l.config
	c.Services = last(c.Services, serviceID, func(id string) {
		l.warn("services", "service %q is defined several times: the last definition counts", id)
	})
	c.Checks = last(c.Checks, checkID, func(id string) { l.warn("checks", "check %q is defined several times: the last definition counts", id) })
}

func serviceID(d *catalog.ServiceDefinition) string { return cmp.Or(d.ID, d.Name) }

func checkID(d *catalog.AgentCheck) string { return cmp.Or(d.CheckID, d.Name) }

// last keeps the last of those that have the same id, at the place of the first.
func last[T any](all []T, id func(T) string, dropped func(id string)) []T {
	at := make(map[string]int, len(all))
	kept := all[:0]
	for _, one := range all {
		name := id(one)
		if i, again := at[name]; again {
			kept[i] = one
			dropped(name)
			continue
		}
		at[name] = len(kept)
		kept = append(kept, one)
	}
	return kept
}

// scripts checks that script checks may run if files define some.
func (l *loader) scripts() {
	c := l.config
	if c.EnableScriptChecks || c.EnableLocalScriptChecks {
		return
	}
	refuse := func(what string, checks []*catalog.AgentCheck) {
		for _, check := range checks {
			if kind := check.Kind(); kind == "script" || kind == "docker" {
				l.fail(fmt.Errorf("%s has a %s check and those are off: set enable_local_script_checks = true", what, kind))
				return
			}
		}
	}
	for _, d := range c.Services {
		refuse(fmt.Sprintf("service %q", d.Name), d.AllChecks())
	}
	for _, check := range c.Checks {
		refuse(fmt.Sprintf("check %q", cmp.Or(check.Name, check.CheckID)), []*catalog.AgentCheck{check})
	}
}
