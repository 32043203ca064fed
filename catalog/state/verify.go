package state

import (
	"fmt"
	"slices"

	"github.com/curia-mesh/curia/catalog"
)

// Check returns what is wrong with the present version: references that lead nowhere, joined rows that
// differ from what they join, counts that do not add up. Every test cluster ends with it.
func (s *Store) Check() []error {
	tx := s.Read()
	v := verifier{tx: tx}
	v.checks()
	v.instances()
	v.names()
	v.locks()
	v.orphans()
	return v.wrong
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
		if nodes.get(v.tx, nil, primary, joined(fold(c.Node))) == nil {
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
		case c.ServiceName != i.Service.Service:
			v.report("check %s on %s: says service %q, is of %q", c.CheckID, c.Node, c.ServiceName, i.Service.Service)
		}
	}
}

func (v *verifier) instances() {
	for i := range instances.scan(v.tx, nil, primary, nil) {
		where := fmt.Sprintf("instance %s on %s", i.Service.ID, i.Node.Node)
		if nodes.get(v.tx, nil, primary, joined(fold(i.Node.Node))) != i.Node {
			v.report("%s: its node is not the stored one", where)
		}
		if Instance(v.tx, nil, i.Node.Node, i.Service.ID) != i {
			v.report("%s: the index by node holds another", where)
		}
		want := 0
		for range checks.scan(v.tx, nil, "node", joined(fold(i.Node.Node))) {
			want++
		}
		for _, c := range i.Checks {
			if c.ServiceID == "" {
				want--
			} else if c.ServiceID != i.Service.ID {
				v.report("%s: carries check %s of %s", where, c.CheckID, c.ServiceID)
			}
			if Check(v.tx, nil, i.Node.Node, c.CheckID) != c {
				v.report("%s: check %s is not the stored one", where, c.CheckID)
			}
		}
		if want != 0 {
			v.report("%s: lacks %d checks of its node", where, want)
		}
	}
}

func (v *verifier) names() {
	type key struct{ service, tag string }
	want := map[key]int{}
	for i := range instances.scan(v.tx, nil, primary, nil) {
		tags := append([]string{""}, i.Service.Tags...)
		slices.Sort(tags)
		for _, tag := range slices.Compact(tags) {
			want[key{fold(i.Service.Service), tag}]++
		}
	}
	for t := range tallies.scan(v.tx, nil, primary, nil) {
		k := key{fold(t.Service), t.Tag}
		if want[k] != t.Count {
			v.report("tally of %s/%s is %d, want %d", t.Service, t.Tag, t.Count, want[k])
		}
		delete(want, k)
	}
	for k, n := range want {
		v.report("tally of %s/%s is missing, want %d", k.service, k.tag, n)
	}
	for r := range names.scan(v.tx, nil, primary, nil) {
		var tags []string
		for t := range tallies.scan(v.tx, nil, primary, joined(fold(r.Name))) {
			if t.Tag != "" {
				tags = append(tags, t.Tag)
			}
		}
		if !slices.Equal(tags, r.Tags) {
			v.report("service %s has tags %q, want %q", r.Name, r.Tags, tags)
		}
	}
}

func (v *verifier) locks() {
	for p := range pairs.scan(v.tx, nil, "session", nil) {
		if sessions.get(v.tx, nil, primary, joined(p.Session)) == nil {
			v.report("key %q is locked by session %s, which is missing", p.Key, p.Session)
		}
	}
}

func (v *verifier) orphans() {
	for s := range sessions.scan(v.tx, nil, primary, nil) {
		if nodes.get(v.tx, nil, primary, joined(fold(s.Node))) == nil {
			v.report("session %s: node %s is missing", s.ID, s.Node)
		}
		for _, id := range sessionChecks(s) {
			if c := Check(v.tx, nil, s.Node, id); c == nil || c.Status == catalog.Critical {
				v.report("session %s: check %s is missing or critical", s.ID, id)
			}
		}
	}
	for c := range coordinates.scan(v.tx, nil, primary, nil) {
		if nodes.get(v.tx, nil, primary, joined(fold(c.Node))) == nil {
			v.report("coordinate of node %s, which is missing", c.Node)
		}
	}
}
