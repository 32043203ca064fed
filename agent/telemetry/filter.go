package telemetry

import (
	"fmt"
	"slices"
	"strings"
)

// filter decides which metrics pass; it is immutable.
type filter struct {
	rules []rule // longest prefix first, blocking first among equals
	other bool   // what passes when no rule speaks
}

type rule struct {
	prefix string
	pass   bool
}

// newFilter reads prefix_filter rules. As under Consul, PREFIX.rpc.server.call is blocked unless a rule names it: it
// is a sample for every RPC, by method.
func newFilter(cfg *Config, lines []string) (*filter, error) {
	f := &filter{other: !cfg.BlockByDefault}
	costly := cfg.MetricsPrefix + ".rpc.server.call"
	for _, line := range lines {
		if len(line) < 2 || line[0] != '+' && line[0] != '-' {
			return nil, fmt.Errorf("telemetry: prefix_filter: %q is no rule: write +prefix to let metrics pass or -prefix to block them", line)
		}
		r := rule{prefix: line[1:], pass: line[0] == '+'}
		f.rules = append(f.rules, r)
		if r.prefix == costly {
			costly = ""
		}
	}
	if costly != "" {
		f.rules = append(f.rules, rule{prefix: costly})
	}
	slices.SortStableFunc(f.rules, func(a, b rule) int {
		if d := len(b.prefix) - len(a.prefix); d != 0 {
			return d
		}
		if a.pass == b.pass {
			return 0
		} else if b.pass {
			return -1
		}
		return 1
	})
	return f, nil
}

// passes looks for the longest rule that fits either name.
func (f *filter) passes(name, hosted string) bool {
	for _, r := range f.rules {
		if strings.HasPrefix(name, r.prefix) || strings.HasPrefix(hosted, r.prefix) {
			return r.pass
		}
	}
	return f.other
}
