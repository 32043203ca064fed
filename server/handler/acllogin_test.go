package handler_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/authmethod"
)

// gate lets in whoever shows their name, with or without a secret behind a colon.
type gate struct{}

type fields struct {
	Value map[string]string `bexpr:"value"`
}

func subject(name string) *authmethod.Subject {
	return &authmethod.Subject{Fields: &fields{map[string]string{"name": name}}, Variables: map[string]string{"value.name": name}}
}

func (gate) Check(*catalog.AuthMethod) error                        { return nil }
func (gate) Blank(*catalog.AuthMethod) (*authmethod.Subject, error) { return subject(""), nil }
func (gate) Login(_ context.Context, _ *catalog.AuthMethod, bearer string) (*authmethod.Subject, error) {
	if bearer == "stranger" {
		return nil, catalog.Errorf(catalog.Denied, "Permission denied: a stranger")
	}
	name, _, _ := strings.Cut(bearer, ":")
	return subject(name), nil
}
func (gate) AuthURL(context.Context, *catalog.AuthMethod, *api.OIDCLogin) (string, error) {
	return "", nil
}
func (gate) Callback(context.Context, *catalog.AuthMethod, *api.OIDCLogin) (*authmethod.Subject, error) {
	return nil, nil
}

// TestLogins: who logs in gets what the binding rules give that match, for as long as the method says, and the bearer
// token stands in no log entry.
func TestLogins(t *testing.T) {
	s := secured(t)
	s.policy(t, "app", `key "a" { policy = "read" }`)
	s.do(t, api.RoleApply.Name, &api.RoleWrite{Op: api.ACLCreate, Role: catalog.Role{Name: "role-web"}})
	method := catalog.AuthMethod{Name: "corp", Type: catalog.AuthJWT, MaxTokenTTL: catalog.Duration(time.Hour)}
	s.do(t, api.AuthMethodApply.Name, &api.AuthMethodWrite{Op: api.ACLCreate, Method: method})
	rule := func(b catalog.BindingRule) *api.BindingRuleWrite {
		b.AuthMethod = "corp"
		return &api.BindingRuleWrite{Op: api.ACLCreate, Rule: b}
	}
	s.refused(t, api.ACLLogin.Name, &api.Login{AuthMethod: "corp", BearerToken: "web"}, catalog.Denied, "no binding rule")
	for _, b := range []catalog.BindingRule{
		{BindType: catalog.BindService, BindName: "${value.name}"},
		{BindType: catalog.BindNode, BindName: "node-${value.name}", Selector: "value.name == web"},
		{BindType: catalog.BindRole, BindName: "role-${value.name}"},
		{BindType: catalog.BindPolicy, BindName: "app", Selector: "value.name matches `^w`"},
		{BindType: catalog.BindTemplated, BindName: "builtin/service", BindVars: &catalog.TemplateVariables{Name: "api-${value.name}"}},
	} {
		s.do(t, api.BindingRuleApply.Name, rule(b))
	}
	for says, b := range map[string]catalog.BindingRule{
		"unknown variable": {BindType: catalog.BindService, BindName: "${value.nane}"},
		"BindType":         {BindType: "odd", BindName: "x"},
		"no BindName":      {BindType: catalog.BindService},
		"filter":           {BindType: catalog.BindService, BindName: "x", Selector: "value.name =="},
		"does not exist":   {BindType: catalog.BindTemplated, BindName: "builtin/odd"},
	} {
		s.refused(t, api.BindingRuleApply.Name, rule(b), catalog.Invalid, says)
	}
	got := s.do(t, api.ACLLogin.Name, &api.Login{AuthMethod: "corp", BearerToken: "web:sesame", Meta: map[string]string{"pod": "p1"}}).(*catalog.Token)
	if !got.Local || got.AuthMethod != "corp" || got.ExpirationTime == nil || got.Description != `token created via login: {"pod":"p1"}` ||
		got.ServiceIdentities[0].ServiceName != "web" || got.NodeIdentities[0].NodeName != "node-web" || got.Roles[0].Name != "role-web" ||
		got.Policies[0].Name != "app" || got.TemplatedPolicies[0].TemplateVariables.Name != "api-web" {
		t.Errorf("got %#v", got)
	}
	other := s.do(t, api.ACLLogin.Name, &api.Login{AuthMethod: "corp", BearerToken: "db"}).(*catalog.Token)
	if len(other.Policies)+len(other.NodeIdentities)+len(other.Roles) != 0 || other.ServiceIdentities[0].ServiceName != "db" {
		t.Errorf("got %#v", other)
	}
	for _, entry := range s.proposed {
		if strings.Contains(string(entry), "sesame") {
			t.Error("a bearer token stands in the log")
		}
	}
	s.refused(t, api.ACLLogin.Name, &api.Login{AuthMethod: "corp", BearerToken: "stranger"}, catalog.Denied, "stranger")
	s.refused(t, api.ACLLogin.Name, &api.Login{AuthMethod: "none", BearerToken: "web"}, catalog.Denied, "does not exist")
	s.refused(t, api.ACLLogin.Name, &api.Login{AuthMethod: "corp", BearerToken: `x" {} node "y`}, catalog.Invalid, "service identity")
	s.refused(t, api.TokenApply.Name, &api.TokenWrite{Op: api.ACLClone, Token: catalog.Token{AccessorID: got.AccessorID}}, catalog.Invalid, "cannot be cloned")
	s.do(t, api.ACLLogout.Name, &api.SecretQuery{Secret: got.SecretID})
	s.refused(t, api.ACLLogout.Name, &api.SecretQuery{Secret: got.SecretID}, catalog.Denied, "not found")
	s.refused(t, api.ACLLogout.Name, &api.SecretQuery{}, catalog.Denied, "does not come from a login")
	s.do(t, api.AuthMethodRemove.Name, &api.Named{Name: "CORP"})
	if left, _ := state.Token(s.store.Read(), nil, other.AccessorID); left != nil {
		t.Error("a token of a deleted auth method is there still")
	}
}

// TestHiddenSettings: who may only read an auth method does not see its secrets, and writing back the mark that stands for one leaves
// it as it is.
func TestHiddenSettings(t *testing.T) {
	s := secured(t)
	method := catalog.AuthMethod{Name: "corp", Type: catalog.AuthOIDC, Config: map[string]any{"OIDCClientSecret": "shh", "OIDCClientID": "id"}}
	s.do(t, api.AuthMethodApply.Name, &api.AuthMethodWrite{Op: api.ACLCreate, Method: method})
	s.allowed = []string{"acl:read "}
	seen := (*s.do(t, api.AuthMethodRead.Name, &api.Named{Name: "corp"}).(*[]*catalog.AuthMethod))[0]
	if seen.Config["OIDCClientSecret"] != catalog.HiddenSetting || seen.Config["OIDCClientID"] != "id" {
		t.Errorf("seen %v", seen.Config)
	}
	s.allowed = nil
	seen.Description = "changed"
	s.do(t, api.AuthMethodApply.Name, &api.AuthMethodWrite{Op: api.ACLUpdate, Method: *seen})
	if now, _ := state.AuthMethod(s.store.Read(), nil, "corp"); now.Config["OIDCClientSecret"] != "shh" || now.Description != "changed" {
		t.Errorf("stored %v", now)
	}
}
