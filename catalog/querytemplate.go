package catalog

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Render returns the query as it is run for a name. The strings of a template's Service hold variables:
//
//	${name.full}     the name
//	${name.prefix}   the part of it that the template is called
//	${name.suffix}   what follows
//	${match(N)}      group N of Template.Regexp, N 0 is the whole match; empty where there is none
//	${agent.segment} the network segment of the agent that runs it
//
// $${ is a plain ${. A query that is no template is returned as it is.
func (q *PreparedQuery) Render(name, segment string) (*PreparedQuery, error) {
	if !q.Templated() {
		return q, nil
	}
	vars := variables{name: name, prefix: q.Name, suffix: name[min(len(q.Name), len(name)):], segment: segment}
	if q.Template.Regexp != "" {
		pattern, err := regexp.Compile(q.Template.Regexp)
		if err != nil {
			return nil, Errorf(Invalid, "Template.Regexp: %w", err)
		}
		vars.groups = pattern.FindStringSubmatch(name)
	}
	out := *q
	s := &out.Service
	s.Failover.Datacenters, s.Failover.Targets = slices.Clone(s.Failover.Datacenters), slices.Clone(s.Failover.Targets)
	s.Tags, s.IgnoreCheckIDs = slices.Clone(s.Tags), slices.Clone(s.IgnoreCheckIDs)
	texts := []*string{&s.Service, &s.SamenessGroup, &s.Near, &s.Peer}
	for _, list := range [][]string{s.Tags, s.IgnoreCheckIDs, s.Failover.Datacenters} {
		for i := range list {
			texts = append(texts, &list[i])
		}
	}
	for i := range s.Failover.Targets {
		texts = append(texts, &s.Failover.Targets[i].Peer, &s.Failover.Targets[i].Datacenter)
	}
	for _, text := range texts {
		var err error
		if *text, err = vars.expand(*text); err != nil {
			return nil, err
		}
	}
	var err error
	if s.NodeMeta, err = vars.expandMap(s.NodeMeta); err != nil {
		return nil, err
	}
	if s.ServiceMeta, err = vars.expandMap(s.ServiceMeta); err != nil {
		return nil, err
	}
	if q.Template.RemoveEmptyTags {
		s.Tags = slices.DeleteFunc(s.Tags, func(tag string) bool { return tag == "" })
	}
	return &out, nil
}

// variables are what a template's variables stand for.
type variables struct {
	name, prefix, suffix, segment string
	groups                        []string
}

func (v *variables) expandMap(m map[string]string) (map[string]string, error) {
	if m == nil {
		return nil, nil
	}
	out := make(map[string]string, len(m))
	for key, value := range m {
		text, err := v.expand(value)
		if err != nil {
			return nil, err
		}
		out[key] = text
	}
	return out, nil
}

func (v *variables) expand(text string) (string, error) { return expand(text, v.value) }

// expand puts values in place of variables: ${name} becomes value(name), and $${ a plain ${.
func expand(text string, value func(name string) (string, error)) (string, error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var out strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			out.WriteString(rest)
			return out.String(), nil
		}
		if plain, escaped := strings.CutSuffix(before, "$"); escaped {
			out.WriteString(plain + "${")
			rest = after
			continue
		}
		expression, behind, closed := strings.Cut(after, "}")
		if !closed {
			return "", Errorf(Invalid, "template %q: a ${ has no } behind it; write $${ for a plain one", text)
		}
		filled, err := value(strings.TrimSpace(expression))
		if err != nil {
			return "", Errorf(Invalid, "template %q: %w", text, err)
		}
		out.WriteString(before + filled)
		rest = behind
	}
}

func (v *variables) value(expression string) (string, error) {
	switch expression {
	case "name.full":
		return v.name, nil
	case "name.prefix":
		return v.prefix, nil
	case "name.suffix":
		return v.suffix, nil
	case "agent.segment":
		return v.segment, nil
	}
	inner, isMatch := strings.CutPrefix(expression, "match(")
	inner, closed := strings.CutSuffix(inner, ")")
	n, err := strconv.Atoi(strings.TrimSpace(inner))
	if !isMatch || !closed || err != nil {
		return "", Errorf(Invalid, "unknown variable ${%s}: want name.full, name.prefix, name.suffix, match(N) or agent.segment", expression)
	}
	if n < 0 || n >= len(v.groups) {
		return "", nil
	}
	return v.groups[n], nil
}
