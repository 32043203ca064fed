package handler_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/handler"
)

// secured is a server with the ACL system on and what is built in.
func secured(t *testing.T) *server {
	s := newServer(state.New())
	seed := handler.Seed(s.store.Read(), "", false, time.Now())
	s.do(t, api.ACLSeedApply.Name, seed)
	if again := handler.Seed(s.store.Read(), "", false, time.Now()); again != nil {
		t.Fatalf("what is built in is missing still: %+v", again)
	}
	return s
}

func (s *server) refused(t *testing.T, method string, req any, code catalog.Code, says string) {
	t.Helper()
	_, err := s.Call(t.Context(), &rpc.Call{Method: method, Body: req})
	if catalog.CodeOf(err) != code || !strings.Contains(err.Error(), says) {
		t.Errorf("%s %+v: %v, want code %s and %q", method, req, err, code, says)
	}
}

func (s *server) policy(t *testing.T, name, rules string) *catalog.Policy {
	t.Helper()
	return s.do(t, api.PolicyApply.Name, &api.PolicyWrite{Op: api.ACLCreate, Policy: catalog.Policy{Name: name, Rules: rules}}).(*catalog.Policy)
}

func (s *server) token(t *testing.T, token catalog.Token) *catalog.Token {
	t.Helper()
	return s.do(t, api.TokenApply.Name, &api.TokenWrite{Op: api.ACLCreate, Token: token}).(*catalog.Token)
}

// TestBuiltinRules: the rules of what is built in can be parsed, and so can those of every template.
func TestBuiltinRules(t *testing.T) {
	all := catalog.BuiltinPolicies()
	for _, template := range append(catalog.PolicyTemplates(), catalog.FindPolicyTemplate("builtin/workload-identity")) {
		of := &catalog.TemplatedPolicy{TemplateName: template.Name}
		if template.Schema != "" {
			of.TemplateVariables = &catalog.TemplateVariables{Name: "web"}
		}
		p, err := of.Render()
		if err != nil {
			t.Error(template.Name, err)
			continue
		}
		all = append(all, p)
	}
	for _, p := range all {
		rules, err := acl.Parse(p.Rules)
		if err != nil {
			t.Errorf("%s: %v\n%s", p.Name, err, p.Rules)
			continue
		}
		az := acl.Compile(acl.Deny, rules)
		writes := p.ID == catalog.GlobalManagementID
		if p.ID == catalog.GlobalManagementID || p.ID == catalog.GlobalReadOnlyID {
			for _, r := range []acl.Resource{acl.ACL, acl.Agent, acl.Event, acl.Key, acl.Keyring, acl.Mesh, acl.Node, acl.Operator, acl.Peering, acl.Query, acl.Service, acl.Session, acl.Intention} {
				if !az.Allows(acl.Need{Resource: r, Name: "x", Access: acl.Read}) || az.Allows(acl.Need{Resource: r, Name: "x", Access: acl.Write}) != writes {
					t.Errorf("%s on %s", p.Name, r)
				}
			}
		}
	}
}

// TestTokens: a token's life, what may change of it and what may not.
func TestTokens(t *testing.T) {
	s := secured(t)
	p := s.policy(t, "app", `key "a" { policy = "read" }`)
	made := s.token(t, catalog.Token{Description: "one", Policies: []catalog.Link{{Name: "app"}, {ID: p.ID}}, ExpirationTTL: catalog.Duration(time.Hour)})
	if !slices.Equal(made.Policies, []catalog.Link{{ID: p.ID, Name: "app"}}) || made.ExpirationTime == nil || made.SecretID == "" || made.ExpirationTTL != 0 {
		t.Fatalf("made %#v", made)
	}
	update := func(change func(*catalog.Token)) *api.TokenWrite {
		next := *made
		change(&next)
		return &api.TokenWrite{Op: api.ACLUpdate, Token: next}
	}
	changed := s.do(t, api.TokenApply.Name, update(func(next *catalog.Token) { next.SecretID, next.Description = "", "two" })).(*catalog.Token)
	if changed.SecretID != made.SecretID || changed.Description != "two" || changed.CreateIndex != made.CreateIndex || !changed.CreateTime.Equal(made.CreateTime) {
		t.Errorf("changed %#v", changed)
	}
	const other = "bbbbbbbb-0000-4000-8000-000000000001"
	later := made.ExpirationTime.Add(time.Hour)
	for _, w := range []*api.TokenWrite{
		update(func(next *catalog.Token) { next.SecretID = other }),
		update(func(next *catalog.Token) { next.ExpirationTime = &later }),
		update(func(next *catalog.Token) { next.ExpirationTTL = 1 }),
		update(func(next *catalog.Token) { next.AuthMethod = "x" }),
		update(func(next *catalog.Token) { next.Local = true }),
		update(func(next *catalog.Token) { next.Policies = []catalog.Link{{Name: "none"}} }),
		{Op: api.ACLCreate, Token: catalog.Token{AccessorID: made.AccessorID}},
		{Op: api.ACLCreate, Token: catalog.Token{SecretID: made.SecretID}},
		{Op: api.ACLCreate, Token: catalog.Token{SecretID: "root"}},
		{Op: api.ACLCreate, Token: catalog.Token{AccessorID: catalog.AnonymousAccessor}},
		{Op: api.ACLCreate, Token: catalog.Token{AccessorID: "00000000-0000-0000-0000-000000000009"}},
		{Op: api.ACLCreate, Token: catalog.Token{ExpirationTTL: catalog.Duration(time.Second)}},
		{Op: api.ACLCreate, Token: catalog.Token{ExpirationTTL: catalog.Duration(25 * time.Hour)}},
		{Op: api.ACLCreate, Token: catalog.Token{ExpirationTTL: -1}},
		{Op: "odd", Token: catalog.Token{}},
	} {
		s.refused(t, api.TokenApply.Name, w, catalog.Invalid, "")
	}
	s.refused(t, api.TokenApply.Name, &api.TokenWrite{Op: api.ACLUpdate, Token: catalog.Token{AccessorID: other}}, catalog.NotFound, other)
	clone := s.do(t, api.TokenApply.Name, &api.TokenWrite{Op: api.ACLClone, Token: catalog.Token{AccessorID: made.AccessorID}}).(*catalog.Token)
	if clone.AccessorID == made.AccessorID || clone.SecretID == made.SecretID || !slices.Equal(clone.Policies, made.Policies) || clone.ExpirationTime != nil {
		t.Errorf("the clone is %#v", clone)
	}
	s.refused(t, api.TokenRemove.Name, &api.TokenDelete{AccessorID: catalog.AnonymousAccessor}, catalog.Invalid, "anonymous")
	s.do(t, api.PolicyRemove.Name, &api.ACLQuery{ID: p.ID})
	if left, _ := state.Token(s.store.Read(), nil, made.AccessorID); len(left.Policies) != 0 {
		t.Errorf("a deleted policy is linked still: %v", left.Policies)
	}
}

// TestSecretsOfAnswers: who may read tokens and not change them sees no secrets.
func TestSecretsOfAnswers(t *testing.T) {
	s := secured(t)
	made := s.token(t, catalog.Token{Description: "x"})
	s.allowed = []string{"acl:read "}
	read := s.do(t, api.TokenRead.Name, &api.TokenQuery{AccessorID: made.AccessorID}).(*api.TokenAnswer)
	list := *s.do(t, api.TokenList.Name, &api.TokenFilter{}).(*[]*catalog.Token)
	for _, token := range append(list, read.Token) {
		if token.SecretID.Reveal() != "<hidden>" {
			t.Errorf("%s shows its secret", token)
		}
	}
	if len(list) != 2 {
		t.Errorf("%d tokens, want 2", len(list))
	}
	self := s.do(t, api.TokenSelf.Name, &api.SecretQuery{Secret: made.SecretID}).(*api.TokenAnswer)
	if self.Token.SecretID != made.SecretID {
		t.Error("who has a secret does not see it")
	}
	s.refused(t, api.TokenApply.Name, &api.TokenWrite{Op: api.ACLCreate}, catalog.Denied, "acl:write")
}

// TestBootstrap: the first management token is made once, and once more for each index that the operator takes back.
func TestBootstrap(t *testing.T) {
	s := secured(t)
	s.refused(t, api.ACLResolve.Name, &api.SecretQuery{Secret: "none"}, catalog.Denied, "must be bootstrapped")
	first := s.do(t, api.ACLBootstrap.Name, &api.Bootstrap{}).(*catalog.Token)
	s.refused(t, api.ACLBootstrap.Name, &api.Bootstrap{}, catalog.Denied, "reset index")
	s.refused(t, api.ACLBootstrap.Name, &api.Bootstrap{Reset: state.ACLBootstrapped(s.store.Read())}, catalog.Denied, "reset index") // only the file counts
	s.reset = state.ACLBootstrapped(s.store.Read())
	s.do(t, api.ACLBootstrap.Name, &api.Bootstrap{})
	s.refused(t, api.ACLBootstrap.Name, &api.Bootstrap{}, catalog.Denied, "reset index")
	if got := s.do(t, api.ACLResolve.Name, &api.SecretQuery{Secret: first.SecretID}).(*api.Resolved); !got.Management {
		t.Errorf("the bootstrap token is %+v", got)
	}
	s.refused(t, api.ACLResolve.Name, &api.SecretQuery{Secret: "none"}, catalog.Denied, "ACL not found")
}

// TestResolve: what a secret stands for is what its token, its roles and its identities say in this datacenter.
func TestResolve(t *testing.T) {
	s := secured(t)
	s.policy(t, "one", `key "a" { policy = "read" }`)
	s.policy(t, "two", `key "b" { policy = "read" }`)
	s.do(t, api.PolicyApply.Name, &api.PolicyWrite{Op: api.ACLCreate, Policy: catalog.Policy{Name: "abroad", Rules: `acl = "write"`, Datacenters: []string{"dc9"}}})
	s.do(t, api.RoleApply.Name, &api.RoleWrite{Op: api.ACLCreate, Role: catalog.Role{Name: "ops", Policies: []catalog.Link{{Name: "two"}, {Name: "one"}}}})
	made := s.token(t, catalog.Token{
		Policies: []catalog.Link{{Name: "one"}, {Name: "abroad"}}, Roles: []catalog.Link{{Name: "ops"}},
		ServiceIdentities: []*catalog.ServiceIdentity{{ServiceName: "web"}, {ServiceName: "far", Datacenters: []string{"dc9"}}},
		NodeIdentities:    []*catalog.NodeIdentity{{NodeName: "n1", Datacenter: "dc1"}},
	})
	got := s.do(t, api.ACLResolve.Name, &api.SecretQuery{Secret: made.SecretID}).(*api.Resolved)
	if got.AccessorID != made.AccessorID || got.Management || got.DefaultPolicy != "deny" || len(got.Rules) != 4 {
		t.Fatalf("resolved %+v", got)
	}
	all := strings.Join(got.Rules, "\n")
	for _, want := range []string{`key "a"`, `key "b"`, `service "web-sidecar-proxy"`, `node "n1"`} {
		if !strings.Contains(all, want) {
			t.Errorf("the rules lack %s", want)
		}
	}
	if nobody := s.do(t, api.ACLResolve.Name, &api.SecretQuery{}).(*api.Resolved); nobody.AccessorID != catalog.AnonymousAccessor || len(nobody.Rules) != 0 {
		t.Errorf("no secret is %+v", nobody)
	}
}

// TestPoliciesAndRoles: bad ones are refused, built-in ones stay, and names are free or taken.
func TestPoliciesAndRoles(t *testing.T) {
	s := secured(t)
	p := s.policy(t, "app", "")
	policy := func(op api.ACLOp, p catalog.Policy) *api.PolicyWrite { return &api.PolicyWrite{Op: op, Policy: p} }
	for says, w := range map[string]*api.PolicyWrite{
		"taken":     policy(api.ACLCreate, catalog.Policy{Name: "APP"}),
		"rules":     policy(api.ACLCreate, catalog.Policy{Name: "x", Rules: "key_prefix {"}),
		"1 to 128":  policy(api.ACLCreate, catalog.Policy{Name: strings.Repeat("x", 129)}),
		"letters":   policy(api.ACLCreate, catalog.Policy{Name: "a b"}),
		"leave out": policy(api.ACLCreate, catalog.Policy{ID: p.ID, Name: "x"}),
		"built in":  policy(api.ACLUpdate, catalog.Policy{ID: catalog.GlobalManagementID, Name: "x"}),
		"bytes":     policy(api.ACLCreate, catalog.Policy{Name: "x", Rules: strings.Repeat("#", 300<<10)}),
	} {
		s.refused(t, api.PolicyApply.Name, w, catalog.Invalid, says)
	}
	s.refused(t, api.PolicyRemove.Name, &api.ACLQuery{ID: catalog.GlobalReadOnlyID}, catalog.Invalid, "built in")
	role := func(op api.ACLOp, r catalog.Role) *api.RoleWrite { return &api.RoleWrite{Op: op, Role: r} }
	made := s.do(t, api.RoleApply.Name, role(api.ACLCreate, catalog.Role{Name: "ops", Policies: []catalog.Link{{Name: "app"}}})).(*catalog.Role)
	s.refused(t, api.RoleApply.Name, role(api.ACLCreate, catalog.Role{Name: "ops"}), catalog.Invalid, "taken")
	s.refused(t, api.RoleApply.Name, role(api.ACLCreate, catalog.Role{Name: "x", Policies: []catalog.Link{{Name: "none"}}}), catalog.Invalid, "does not exist")
	s.do(t, api.PolicyApply.Name, policy(api.ACLUpdate, catalog.Policy{ID: p.ID, Name: "renamed"}))
	if stored, _ := state.Role(s.store.Read(), nil, made.ID); stored.Policies[0].Name != "renamed" {
		t.Errorf("the role links %v", stored.Policies)
	}
}

// TestLocalTokenElsewhere: a local token of the primary datacenter stands for nothing in another one.
func TestLocalTokenElsewhere(t *testing.T) {
	s := secured(t)
	local := s.token(t, catalog.Token{Local: true})
	s.do(t, api.ACLResolve.Name, &api.SecretQuery{Secret: local.SecretID, Datacenter: "dc1"})
	s.refused(t, api.ACLResolve.Name, &api.SecretQuery{Secret: local.SecretID, Datacenter: "dc2"}, catalog.Denied, "ACL ")
	s.do(t, api.ACLResolve.Name, &api.SecretQuery{Secret: s.token(t, catalog.Token{}).SecretID, Datacenter: "dc2"})
}

// TestTokensReap: tokens whose time is over are removed, and no others.
func TestTokensReap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := secured(t)
		short := s.token(t, catalog.Token{ExpirationTTL: catalog.Duration(time.Minute)})
		long := s.token(t, catalog.Token{ExpirationTTL: catalog.Duration(time.Hour)})
		time.Sleep(time.Minute)
		s.refused(t, api.ACLResolve.Name, &api.SecretQuery{Secret: short.SecretID}, catalog.Denied, "")
		over, next := state.ExpiredTokens(s.store.Read(), time.Now(), 10, false)
		if !slices.Equal(over, []string{short.AccessorID}) || !next.Equal(*long.ExpirationTime) {
			t.Fatalf("expired are %v, then %v", over, next)
		}
		s.do(t, api.TokensReap.Name, &api.TokensExpire{Accessors: []string{short.AccessorID, long.AccessorID, "none"}})
		if left, _ := state.Tokens(s.store.Read(), nil); len(left) != 2 {
			t.Errorf("left are %v", left)
		}
	})
}

// FuzzIdentities: whatever names identities have, what is let through comes to the rules of those identities and to no
// others.
func FuzzIdentities(f *testing.F) {
	for _, name := range []string{"web", "", "Web", `x" { policy = "write" } acl = "write" service "y`, "a\nb", "-a", "a-", "ä", "{{.Name}}", "${x}"} {
		f.Add(name, name, "builtin/service", name)
	}
	f.Fuzz(func(t *testing.T, service, node, template, value string) {
		token := &catalog.Token{
			AccessorID: "aaaaaaaa-0000-4000-8000-000000000001", ServiceIdentities: []*catalog.ServiceIdentity{{ServiceName: service}},
			NodeIdentities:    []*catalog.NodeIdentity{{NodeName: node, Datacenter: "dc1"}},
			TemplatedPolicies: []*catalog.TemplatedPolicy{{TemplateName: template, TemplateVariables: &catalog.TemplateVariables{Name: value}}},
		}
		if token.Normalize() != nil || token.Validate() != nil {
			return
		}
		for _, p := range token.Grants().Synthetic() {
			rules, err := acl.Parse(p.Rules)
			if err != nil {
				t.Fatalf("%v in\n%s", err, p.Rules)
			}
			az := acl.Compile(acl.Deny, rules)
			if az.Allows(acl.Need{Resource: acl.Operator, Access: acl.Read}) || az.Allows(acl.Need{Resource: acl.Key, Name: "a", Access: acl.Write}) {
				t.Fatalf("%q %q %q %q allow too much:\n%s", service, node, template, value, p.Rules)
			}
		}
	})
}
