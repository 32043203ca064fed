package check_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// A32: scripts run only where the configuration lets them, and the error says how to let them.
func TestPolicy(t *testing.T) {
	script := define(catalog.CheckDefinition{ScriptArgs: []string{"/bin/true"}})
	docker := define(catalog.CheckDefinition{ScriptArgs: []string{"/bin/true"}, DockerContainerID: "web"})
	f := func(p check.Policy, from check.Origin, want string) {
		t.Helper()
		for _, def := range []*catalog.AgentCheck{script, docker} {
			s := check.NewSet(check.Deps{Reporter: &recorder{}}, p, nil)
			verify, err := s.Verify(def, from), s.Add(def, from)
			if (err == nil) != (want == "") || fmt.Sprint(verify) != fmt.Sprint(err) || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%+v, origin %d: Verify %v, Add %v, want %q", p, from, verify, err, want)
			}
			if _, added := s.Get("c"); added != (err == nil) {
				t.Errorf("%+v, origin %d: added %v with error %v", p, from, added, err)
			}
		}
		if err := p.Allow(define(catalog.CheckDefinition{OSService: "x"}), from); err != nil {
			t.Errorf("%+v refuses a check that runs no program of its own: %v", p, err)
		}
	}
	f(check.Policy{}, check.Remote, "set enable_local_script_checks")
	f(check.Policy{}, check.Local, "set enable_local_script_checks")
	f(check.Policy{LocalScripts: true}, check.Remote, "define it there, or set enable_script_checks")
	f(check.Policy{LocalScripts: true}, check.Local, "")
	f(check.Policy{Scripts: true}, check.Remote, "")
	f(check.Policy{Scripts: true}, check.Local, "")

	for _, c := range []struct {
		p            check.Policy
		beyond, acls bool
		warned       bool
	}{
		{check.Policy{Scripts: true}, true, false, true},
		{check.Policy{Scripts: true}, true, true, false},
		{check.Policy{Scripts: true}, false, false, false},
		{check.Policy{LocalScripts: true}, true, false, false},
	} {
		if got := c.p.Warning(c.beyond, c.acls); (got != "") != c.warned {
			t.Errorf("%+v: warning %q", c, got)
		}
	}
}
