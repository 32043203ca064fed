package acl

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Rules is what one policy says, valid and immutable.
type Rules struct {
	list    []rule // in order of their places
	unknown []string
}

// Unknown says, a line of text for each, which resources of the policy do not exist.
func (r *Rules) Unknown() []string { return r.unknown }

// rule is one rule: what is granted to the things of a name, or of all names that begin with it.
type rule struct {
	place
	level      level
	intentions level // of services and identities; unset is derived from level
}

// place is what a rule speaks of.
type place struct {
	resource Resource
	prefix   bool
	name     string
}

// level is how much is granted. Where several policies speak of the same place the highest counts.
type level uint8

const (
	unset level = iota
	levelRead
	levelList
	levelWrite
	levelDeny
)

var levels = map[string]level{"read": levelRead, "list": levelList, "write": levelWrite, "deny": levelDeny}

func (l level) String() string {
	return [...]string{"unset", "read", "list", "write", "deny"}[l]
}

func (l level) reads() bool { return l == levelRead || l == levelList || l == levelWrite }
func (l level) lists() bool { return l == levelList || l == levelWrite }

// String writes the place as rules do.
func (p place) String() string {
	switch {
	case !p.resource.named():
		return string(p.resource)
	case p.prefix:
		return string(p.resource) + "_prefix " + strconv.Quote(p.name)
	}
	return string(p.resource) + " " + strconv.Quote(p.name)
}

func (p place) compare(other place) int {
	prefix := func(p place) int {
		if p.prefix {
			return 1
		}
		return 0
	}
	return cmp.Or(strings.Compare(string(p.resource), string(other.resource)), strings.Compare(p.name, other.name), prefix(p)-prefix(other))
}

// String writes the rules in HCL, in an order that depends on nothing but what they say.
func (r *Rules) String() string {
	var b strings.Builder
	for _, rule := range r.list {
		b.WriteString(rule.place.String())
		switch {
		case !rule.resource.named():
			b.WriteString(" = " + strconv.Quote(rule.level.String()))
		case rule.intentions != unset:
			b.WriteString(" { policy = " + strconv.Quote(rule.level.String()) + " intentions = " + strconv.Quote(rule.intentions.String()) + " }")
		default:
			b.WriteString(" { policy = " + strconv.Quote(rule.level.String()) + " }")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// merge makes one list of the rules of several policies, in order of their places: of those of one place the
// strictest counts, then the one that grants most.
// Source: https://developer.hashicorp.com/consul/docs/secure/acl/policy (order of precedence)
func merge(sets []*Rules) []rule {
	var all []rule
	for _, s := range sets {
		if s != nil {
			all = append(all, s.list...)
		}
	}
	for i := range all {
		all[i].name = all[i].resource.fold(all[i].name)
	}
	slices.SortFunc(all, func(a, b rule) int { return a.place.compare(b.place) })
	merged := all[:0]
	for _, r := range all {
		if last := len(merged) - 1; last >= 0 && merged[last].place == r.place {
			merged[last].level = max(merged[last].level, r.level)
			merged[last].intentions = max(merged[last].intentions, r.intentions)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// AgentRecovery is what the recovery token of an agent may do: everything with the agent itself, and see nodes.
func AgentRecovery(node string) *Rules {
	return &Rules{list: []rule{
		{place: place{resource: Agent, name: node}, level: levelWrite},
		{place: place{resource: Node, prefix: true}, level: levelRead},
	}}
}
