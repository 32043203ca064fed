package check

import (
	"cmp"

	"github.com/curia-mesh/curia/catalog"
)

// A judge turns single results into the state of a check: how many successes in a row make it passing,
// how many failures warning or critical. Any result but passing is a failure.
// Source: https://developer.hashicorp.com/consul/docs/reference/service/health-check (success_before_passing)
type judge struct {
	passing, warning, critical int // how many results in a row, at least 1
	successes, failures        int // in a row until now
	status                     catalog.Status
}

func newJudge(def *catalog.AgentCheck) judge {
	j := judge{passing: max(def.SuccessBeforePassing, 1), critical: max(def.FailuresBeforeCritical, 1)}
	j.warning = cmp.Or(def.FailuresBeforeWarning, j.critical)
	j.status = cmp.Or(def.Status, catalog.Critical)
	return j
}

// add counts one result. It returns the state of the check and whether the result counts, that is, the
// check is in the state that the result, by now, stands for.
func (j *judge) add(result catalog.Status) (catalog.Status, bool) {
	if result == catalog.Passing {
		j.successes, j.failures = j.successes+1, 0
		if j.successes < j.passing {
			return j.status, false
		}
		j.status = catalog.Passing
		return j.status, true
	}
	j.successes, j.failures = 0, j.failures+1
	switch {
	case result == catalog.Critical && j.failures >= j.critical:
		j.status = catalog.Critical
	case result == catalog.Warning && j.failures >= j.warning:
		j.status = catalog.Warning
	case result == catalog.Critical && j.failures >= j.warning && j.status != catalog.Critical:
		j.status = catalog.Warning // on the way down
	default:
		return j.status, false
	}
	return j.status, true
}
