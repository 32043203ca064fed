package state

import (
	"fmt"
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// Check returns what is wrong with the present version: references that lead nowhere, indexes that
// disagree, joined rows that differ from what they join, counts that do not add up. Every test cluster
// ends with it. It waits for a write that is under way.
func (s *Store) Check() []error {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx := s.Read()
	v := verifier{tx: tx}
	for _, t := range tables {
		t.verify(tx, v.report)
	}
	v.checks()
	v.instances()
	v.names()
	v.locks()
	v.orphans()
	v.entries()
	v.virtuals()
	v.links()
	return v.wrong
}

// verify checks that every index holds exactly the rows that belong into it, in order.
func (t *table[T]) verify(tx *Txn, report func(format string, args ...any)) {
	for i := range t.keys {
		want, have, last := 0, 0, ""
		for row := range t.scan(tx, nil, primary, nil) {
			key := t.key(tx, 0, i, row)
			if key == nil {
				continue
			}
			if want++; t.get(tx, nil, i, key) != row {
				report("table %s: index %d does not hold the row at %q", t.name, i, key)
			}
		}
		for row := range t.scan(tx, nil, i, nil) {
			have++
			key := string(t.key(tx, 0, i, row))
			if key <= last && have > 1 {
				report("table %s: index %d has %q behind %q", t.name, i, key, last)
			}
			last = key
		}
		if have != want {
			report("table %s: index %d holds %d rows, want %d", t.name, i, have, want)
		}
	}
}

type verifier struct {
	tx    *Txn
	wrong []error
}

func (v *verifier) report(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Errorf(format, args...))
}

func (v *verifier) checks() {
	for c := range checks.scan(v.tx, nil, primary, nil) {
		if nodeNamed(v.tx, nil, c.Node) == nil {
			v.report("check %s: node %s is missing", c.CheckID, c.Node)
		}
		if c.ServiceID == "" {
			continue
		}
		i := Instance(v.tx, nil, c.Node, c.ServiceID)
		switch {
		case i == nil:
			v.report("check %s on %s: service %s is missing", c.CheckID, c.Node, c.ServiceID)
		case !slices.Contains(i.Checks, c):
			v.report("check %s on %s: its instance does not carry it", c.CheckID, c.Node)
		case c.ServiceName != i.Service.Service || !slices.Equal(c.ServiceTags, i.Service.Tags):
			v.report("check %s on %s: says service %q %q, is of %q %q", c.CheckID, c.Node, c.ServiceName, c.ServiceTags, i.Service.Service, i.Service.Tags)
		}
	}
}

func (v *verifier) instances() {
	for i := range instances.scan(v.tx, nil, primary, nil) {
		where := fmt.Sprintf("instance %s on %s", i.Service.ID, i.Node.Node)
		if nodeNamed(v.tx, nil, i.Node.Node) != i.Node {
			v.report("%s: its node is not the stored one", where)
		}
		want := nodeChecks(v.tx, i.Node.Node)
		for c := range checks.scan(v.tx, nil, primary, v.tx.key(fold(i.Node.Node))) {
			if c.ServiceID != "" && c.ServiceID == i.Service.ID {
				want = append(want, c)
			}
		}
		if !slices.Equal(want, i.Checks) {
			v.report("%s: carries %d checks that are not, in order, the %d stored ones", where, len(i.Checks), len(want))
		}
	}
}

func (v *verifier) names() {
	want := tallies{}
	for i := range instances.scan(v.tx, nil, primary, nil) {
		tags := append([]string{""}, i.Service.Tags...)
		slices.Sort(tags)
		for _, tag := range slices.Compact(tags) {
			want.add(tallied{fold(i.Service.Service), tag, 1})
		}
	}
	have := v.tx.store.tallies
	for name, tags := range want {
		for tag, n := range tags {
			if have[name][tag] != n {
				v.report("tally of %s/%s is %d, want %d", name, tag, have[name][tag], n)
			}
		}
		if len(have[name]) != len(tags) {
			v.report("service %s has %d tallies, want %d", name, len(have[name]), len(tags))
		}
		if names.get(v.tx, nil, primary, v.tx.key(name)) == nil {
			v.report("service %s is not among the names", name)
		}
	}
	if len(have) != len(want) {
		v.report("%d services have tallies, want %d", len(have), len(want))
	}
	for r := range names.scan(v.tx, nil, primary, nil) {
		tags := []string{}
		for tag := range want[fold(r.Name)] {
			if tag != "" {
				tags = append(tags, tag)
			}
		}
		slices.Sort(tags)
		if want[fold(r.Name)] == nil || !slices.Equal(tags, r.Tags) {
			v.report("service %s is named with tags %q, want %q", r.Name, r.Tags, tags)
		}
	}
}

func (v *verifier) locks() {
	for p := range pairs.scan(v.tx, nil, pairBySession, nil) {
		if sessions.get(v.tx, nil, primary, v.tx.key(p.Session)) == nil {
			v.report("key %q is locked by session %s, which is missing", p.Key, p.Session)
		}
	}
}

func (v *verifier) orphans() {
	for s := range sessions.scan(v.tx, nil, primary, nil) {
		if nodeNamed(v.tx, nil, s.Node) == nil {
			v.report("session %s: node %s is missing", s.ID, s.Node)
		}
		for _, id := range sessionChecks(s) {
			if c := Check(v.tx, nil, s.Node, id); c == nil || c.Status == catalog.Critical {
				v.report("session %s: check %s is missing or critical", s.ID, id)
			}
		}
	}
	for q := range queries.scan(v.tx, nil, queryBySession, nil) {
		if sessions.get(v.tx, nil, primary, v.tx.key(q.Session)) == nil {
			v.report("prepared query %s: session %s is missing", q.ID, q.Session)
		}
	}
	for c := range coordinates.scan(v.tx, nil, primary, nil) {
		if nodeNamed(v.tx, nil, c.Node) == nil {
			v.report("coordinate of node %s, which is missing", c.Node)
		}
	}
}

func (v *verifier) links() {
	check := func(where string, links []catalog.Link, named func(id string) (string, bool)) {
		for _, l := range links {
			if name, ok := named(l.ID); !ok || name != l.Name {
				v.report("%s: its link %s %q leads to %q", where, l.ID, l.Name, name)
			}
		}
	}
	policy := func(id string) (string, bool) {
		if p, _ := Policy(v.tx, nil, id); p != nil {
			return p.Name, true
		}
		return "", false
	}
	role := func(id string) (string, bool) {
		if r, _ := Role(v.tx, nil, id); r != nil {
			return r.Name, true
		}
		return "", false
	}
	for r := range roles.scan(v.tx, nil, primary, nil) {
		check("role "+r.Name, r.Policies, policy)
	}
	for t := range tokens.scan(v.tx, nil, primary, nil) {
		check("token "+t.AccessorID, t.Policies, policy)
		check("token "+t.AccessorID, t.Roles, role)
		if m, _ := AuthMethod(v.tx, nil, t.AuthMethod); m == nil && t.AuthMethod != "" && (t.Local || Ruler(v.tx, nil) == nil) { // a copied one may be of the primary's
			v.report("token %s: auth method %s is missing", t.AccessorID, t.AuthMethod)
		}
	}
	for b := range bindings.scan(v.tx, nil, primary, nil) {
		if m, _ := AuthMethod(v.tx, nil, b.AuthMethod); m == nil {
			v.report("binding rule %s: auth method %s is missing", b.ID, b.AuthMethod)
		}
	}
}
