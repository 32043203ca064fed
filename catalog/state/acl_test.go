package state_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
)

// aclModel is what the tables of the ACL system should hold: names by id, and the ids that each links to.
type aclModel struct {
	policies, roles map[string]string   // names by id
	ofRole          map[string][]string // policies of a role
	tokens          map[string]*aclToken
	methods         map[string]bool
	bindings        map[string]string // auth methods by id
}

type aclToken struct {
	policies, roles []string
	method          string
	expires         int // seconds; 0 is never
}

func (m *aclModel) clone() *aclModel {
	next := newACLModel()
	for id, name := range m.policies {
		next.policies[id] = name
	}
	for id, name := range m.roles {
		next.roles[id], next.ofRole[id] = name, slices.Clone(m.ofRole[id])
	}
	for id, t := range m.tokens {
		next.tokens[id] = &aclToken{slices.Clone(t.policies), slices.Clone(t.roles), t.method, t.expires}
	}
	for name := range m.methods {
		next.methods[name] = true
	}
	for id, of := range m.bindings {
		next.bindings[id] = of
	}
	return next
}

func newACLModel() *aclModel {
	return &aclModel{map[string]string{}, map[string]string{}, map[string][]string{}, map[string]*aclToken{}, map[string]bool{}, map[string]string{}}
}

func without(list []string, id string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == id })
}

// text is what the model holds, in the form of aclText.
func (m *aclModel) text() string {
	var lines []string
	links := func(ids []string, names map[string]string) string {
		var list []string
		for _, id := range ids {
			list = append(list, id+"="+names[id])
		}
		slices.Sort(list)
		return strings.Join(list, ",")
	}
	for id, name := range m.policies {
		lines = append(lines, "policy "+id+" "+name)
	}
	for id, name := range m.roles {
		lines = append(lines, "role "+id+" "+name+" "+links(m.ofRole[id], m.policies))
	}
	for id, t := range m.tokens {
		lines = append(lines, fmt.Sprint("token ", id, " ", links(t.policies, m.policies), " ", links(t.roles, m.roles), " ", t.method, " ", t.expires))
	}
	for name := range m.methods {
		lines = append(lines, "method "+name)
	}
	for id, of := range m.bindings {
		lines = append(lines, "binding "+id+" "+of)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// aclText is what the store holds, through its queries.
func aclText(t *rapid.T, s *state.Store) string {
	tx := s.Read()
	var lines []string
	links := func(links []catalog.Link) string {
		var list []string
		for _, l := range links {
			list = append(list, l.ID+"="+l.Name)
		}
		slices.Sort(list)
		return strings.Join(list, ",")
	}
	all, _ := state.Policies(tx, nil)
	for _, p := range all {
		lines = append(lines, "policy "+p.ID+" "+p.Name)
		if named, _ := state.PolicyNamed(tx, nil, strings.ToUpper(p.Name)); named != p {
			t.Fatalf("policy %s is not found by its name", p.Name)
		}
	}
	roles, _ := state.Roles(tx, nil)
	for _, r := range roles {
		lines = append(lines, "role "+r.ID+" "+r.Name+" "+links(r.Policies))
	}
	tokens, _ := state.Tokens(tx, nil)
	for _, token := range tokens {
		expires := 0
		if token.ExpirationTime != nil {
			expires = int(token.ExpirationTime.Unix())
		}
		lines = append(lines, fmt.Sprint("token ", token.AccessorID, " ", links(token.Policies), " ", links(token.Roles), " ", token.AuthMethod, " ", expires))
		if state.TokenOf(tx, nil, token.SecretID) != token {
			t.Fatalf("token %s is not found by its secret", token.AccessorID)
		}
	}
	methods, _ := state.AuthMethods(tx, nil)
	for _, m := range methods {
		lines = append(lines, "method "+m.Name)
		for _, b := range first(state.BindingRules(tx, nil, m.Name)) {
			lines = append(lines, "binding "+b.ID+" "+b.AuthMethod)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func first[A, B any](a A, _ B) A { return a }

// TestACLModel compares the tables of the ACL system with plain maps under random transactions: links lead to what is
// there, under its present name, and what is expired is found in order. A snapshot holds all of it.
func TestACLModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store, m, index := state.New(), newACLModel(), uint64(1)
		for range rapid.IntRange(1, 40).Draw(t, "transactions") {
			index++
			next, tx := m.clone(), store.Write(index)
			if aclOperation(t, tx, next) {
				tx.Commit()
				m = next
			} else {
				tx.Abort()
			}
			for _, wrong := range store.Check() {
				t.Error("invariant:", wrong)
			}
			if got, want := aclText(t, store), m.text(); got != want {
				t.Fatalf("the store holds\n%s\nwant\n%s", got, want)
			}
			expiries(t, store, m)
		}
		if copied := reloaded(t, store); saved(t, copied) != saved(t, store) || aclText(t, copied) != aclText(t, store) {
			t.Fatalf("restored\n%s\nwant\n%s", saved(t, copied), saved(t, store))
		}
	})
}

func expiries(t *rapid.T, store *state.Store, m *aclModel) {
	now := rapid.IntRange(0, 5).Draw(t, "now")
	limit := rapid.IntRange(1, 3).Draw(t, "limit")
	over := 0
	for _, token := range m.tokens {
		if token.expires > 0 && token.expires <= now {
			over++
		}
	}
	got, _ := state.ExpiredTokens(store.Read(), time.Unix(int64(now), 0), limit, false)
	if len(got) != min(over, limit) {
		t.Fatalf("%d tokens have expired at %d, want %d", len(got), now, min(over, limit))
	}
	for _, id := range got {
		if e := m.tokens[id].expires; e == 0 || e > now {
			t.Fatalf("token %s ends at %d, not by %d", id, e, now)
		}
	}
}

// aclOperation does one random thing to both and reports whether it succeeded, as the model says it should.
func aclOperation(t *rapid.T, tx *state.Txn, m *aclModel) bool {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	some := func(what string, from ...string) (links []catalog.Link, ids []string) {
		for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 2, rapid.ID[string]).Draw(t, what) {
			links, ids = append(links, catalog.Link{ID: id}), append(ids, id)
		}
		return links, ids
	}
	there := func(ids []string, in map[string]string) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { _, ok := in[id]; return !ok })
	}
	free := func(id, name string, in map[string]string) bool {
		for other, taken := range in {
			if other != id && strings.EqualFold(taken, name) {
				return false
			}
		}
		return true
	}
	agree := func(err error, ok bool) bool {
		if (err == nil) != ok {
			t.Fatalf("error %v, the model says %v", err, ok)
		}
		return ok
	}
	switch pick("op", "policy", "policy", "role", "role", "token", "token", "token", "method", "binding", "no policy", "no role", "no token", "no method", "no binding") {
	case "policy":
		id, name := pick("id", "p1", "p2", "p3"), pick("name", "x", "X", "y", "z")
		ok := free(id, name, m.policies)
		m.policies[id] = name
		return agree(second(state.PutPolicy(tx, &catalog.Policy{ID: id, Name: name})), ok)
	case "role":
		id, name := pick("id", "r1", "r2"), pick("name", "x", "y", "z")
		links, ids := some("policies", "p1", "p2", "p3")
		ok := free(id, name, m.roles) && there(ids, m.policies)
		m.roles[id], m.ofRole[id] = name, ids
		return agree(second(state.PutRole(tx, &catalog.Role{ID: id, Name: name, Policies: links})), ok)
	case "token":
		token := &catalog.Token{AccessorID: pick("id", "t1", "t2", "t3"), AuthMethod: pick("method", "", "", "m1")}
		token.SecretID = catalog.SecretID("secret of " + token.AccessorID)
		var policies, roles []string
		token.Policies, policies = some("policies", "p1", "p2", "p3")
		token.Roles, roles = some("roles", "r1", "r2")
		expires := rapid.IntRange(0, 5).Draw(t, "expires")
		if expires > 0 {
			at := time.Unix(int64(expires), 0).UTC()
			token.ExpirationTime = &at
		}
		ok := there(policies, m.policies) && there(roles, m.roles) && (token.AuthMethod == "" || m.methods[token.AuthMethod])
		m.tokens[token.AccessorID] = &aclToken{policies, roles, token.AuthMethod, expires}
		return agree(second(state.PutToken(tx, token)), ok)
	case "method":
		m.methods["m1"] = true
		return agree(second(state.PutAuthMethod(tx, &catalog.AuthMethod{Name: "m1", Type: catalog.AuthJWT})), true)
	case "binding":
		id := pick("id", "b1", "b2")
		m.bindings[id] = "m1"
		return agree(second(state.PutBindingRule(tx, &catalog.BindingRule{ID: id, AuthMethod: "M1"})), m.methods["m1"])
	case "no policy":
		id := pick("id", "p1", "p2", "p3")
		delete(m.policies, id)
		for role := range m.ofRole {
			m.ofRole[role] = without(m.ofRole[role], id)
		}
		for _, token := range m.tokens {
			token.policies = without(token.policies, id)
		}
		state.DeletePolicy(tx, id)
	case "no role":
		id := pick("id", "r1", "r2")
		delete(m.roles, id)
		delete(m.ofRole, id)
		for _, token := range m.tokens {
			token.roles = without(token.roles, id)
		}
		state.DeleteRole(tx, id)
	case "no token":
		id := pick("id", "t1", "t2", "t3")
		delete(m.tokens, id)
		state.DeleteToken(tx, id)
	case "no method":
		delete(m.methods, "m1")
		clear(m.bindings)
		for id, token := range m.tokens {
			if token.method != "" {
				delete(m.tokens, id)
			}
		}
		state.DeleteAuthMethod(tx, "m1")
	case "no binding":
		id := pick("id", "b1", "b2")
		delete(m.bindings, id)
		state.DeleteBindingRule(tx, id)
	}
	return true
}

func second[A, B any](_ A, b B) B { return b }

// TestSecretsOfTokens: a secret is nobody else's, whoever writes it.
func TestSecretsOfTokens(t *testing.T) {
	d := newDesk(t)
	d.write(func(tx *state.Txn) {
		if _, err := state.PutToken(tx, &catalog.Token{AccessorID: "a", SecretID: "s"}); err != nil {
			d.Fatal(err)
		}
	})
	tx := d.store.Write(9)
	defer tx.Abort()
	if _, err := state.PutToken(tx, &catalog.Token{AccessorID: "b", SecretID: "s"}); catalog.CodeOf(err) != catalog.Invalid {
		t.Fatalf("a second token with the secret: %v", err)
	}
}
