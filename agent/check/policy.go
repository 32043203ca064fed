package check

import "github.com/curia-mesh/curia/catalog"

// Origin is where a definition comes from.
type Origin int

const (
	// Remote is a definition that came over the HTTP API, also when it is read back after a restart.
	Remote Origin = iota
	// Local is a definition from the agent's own configuration.
	Local
)

// Policy says who may make the agent run programs. The zero value lets nobody.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general (enable_script_checks)
type Policy struct {
	Scripts      bool // enable_script_checks: all definitions may
	LocalScripts bool // enable_local_script_checks: those of the configuration may
}

// Allow returns an error that names the fix if the definition, from there, may not run on this agent.
func (p Policy) Allow(def *catalog.AgentCheck, from Origin) error {
	if len(def.ScriptArgs) == 0 || p.Scripts || p.LocalScripts && from == Local {
		return nil
	}
	// Internal, because Consul answers this with status 500.
	if from == Remote && p.LocalScripts {
		return catalog.Errorf(catalog.Internal, "check %q runs a program, which this agent allows only to checks of its configuration files: "+
			"define it there, or set enable_script_checks if everyone who can register checks may run programs here", def.CheckID)
	}
	return catalog.Errorf(catalog.Internal, "check %q runs a program, and script checks are off on this agent: "+
		"set enable_local_script_checks to allow them in configuration files, or enable_script_checks to allow them over the HTTP API too", def.CheckID)
}

// Warning returns what an operator should know about the policy, "" if there is nothing. beyondLoopback
// tells whether the HTTP API can be reached from other machines, acls whether ACLs are on and deny by default.
func (p Policy) Warning(beyondLoopback, acls bool) string {
	if !p.Scripts || !beyondLoopback || acls {
		return ""
	}
	return "enable_script_checks is set while the HTTP API listens beyond loopback without ACLs: whoever reaches it can run programs on this machine. " +
		"Set enable_local_script_checks instead, turn ACLs on, or bind the HTTP API to 127.0.0.1"
}
