package check

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// unitName is what a systemd unit may be called; a leading dash would be an option. Source: systemd.unit(5).
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}$`)

// newOSService makes a check of a systemd unit: active is passing, on the way to or from that warning.
func newOSService(r *Runner) (probe, error) {
	unit := r.def.OSService
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("os_service asks systemd, which %s does not have: use a script check", runtime.GOOS)
	}
	if !unitName.MatchString(unit) {
		return nil, fmt.Errorf("os_service %q is not the name of a systemd unit such as nginx.service", unit)
	}
	systemctl := newScript([]string{"systemctl", "show", "--property=LoadState,ActiveState,SubState", "--", unit}, r.deps.Env, catalog.MaxCheckOutput)
	return func(ctx context.Context) (catalog.Status, string) {
		answer, err := systemctl.run(ctx)
		if err != nil {
			return catalog.Critical, fmt.Sprintf("Service %s: systemctl: %v %s", unit, err, answer)
		}
		status, text, err := unitState(answer)
		if err != nil {
			return catalog.Critical, fmt.Sprintf("Service %s: %v: %s", unit, err, answer)
		}
		return status, fmt.Sprintf("Service %s is %s", unit, text)
	}, nil
}

// unitState reads what "systemctl show" says of a unit, and says it in words.
func unitState(answer string) (catalog.Status, string, error) {
	values := map[string]string{}
	for line := range strings.Lines(answer) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	load, active := values["LoadState"], values["ActiveState"]
	if active == "" {
		return catalog.Critical, "", errors.New("systemctl named no ActiveState")
	}
	text := active
	if sub := values["SubState"]; sub != "" {
		text += " (" + sub + ")"
	}
	switch {
	case active == "active":
		return catalog.Passing, text, nil
	case active == "activating" || active == "reloading" || active == "deactivating" || active == "refreshing":
		return catalog.Warning, text, nil
	case load != "" && load != "loaded":
		text += ", unit " + load
	}
	return catalog.Critical, text, nil
}
