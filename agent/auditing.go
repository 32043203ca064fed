package agent

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"

	"github.com/curia-mesh/curia/agent/audit"
	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/logging"
	"github.com/curia-mesh/curia/catalog/acl"
)

// auditMode is for who alone may read the record, where a sink says nothing else.
const auditMode = 0o600

// openAudit opens the record of requests, nil when none is asked for.
func (a *Agent) openAudit(cfg *config.Config) (err error) {
	if !cfg.Audit.Enabled {
		return nil
	}
	if len(cfg.Audit.Sinks) == 0 {
		return errors.New("audit.enabled is set, and no audit.sink says where to: add sink \"file\" { type = \"file\", path = \"/var/log/curia/audit.json\" }")
	}
	var sinks []audit.Sink
	for _, name := range slices.Sorted(maps.Keys(cfg.Audit.Sinks)) {
		s := cfg.Audit.Sinks[name]
		mode := uint64(auditMode)
		if s.Mode != "" {
			mode, _ = strconv.ParseUint(s.Mode, 8, 32) // it has been checked
		}
		sinks = append(sinks, audit.Sink{Name: name, Rotation: logging.Rotation{
			Path: s.Path, Bytes: int64(s.RotateBytes), Duration: s.RotateDuration, MaxFiles: s.RotateMaxFiles, Mode: os.FileMode(mode),
		}})
	}
	a.audit, err = audit.Open(sinks, logging.Named(a.log, "audit"))
	return err
}

// auditor returns what records requests to the API, nil when none are.
func (a *Agent) auditor(who authorize) httpapi.Auditor {
	if a.audit == nil {
		return nil
	}
	return &auditor{a.audit, who}
}

type auditor struct {
	log *audit.Log
	who authorize // nil when no token is checked
}

// Begin implements httpapi.Auditor.
func (o *auditor) Begin(r *http.Request, secret string) func(status int) {
	accessor := ""
	if o.who != nil {
		if az, err := o.who(r.Context(), secret); err == nil {
			accessor = acl.AccessorOf(az)
		}
	}
	return o.log.Begin(r, accessor)
}
