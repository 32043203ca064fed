package api

import (
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// ACLOp is what a write does to a noun of the ACL system.
type ACLOp string

// The operations. Create and Update refuse when the thing is, or is not, there; Set does either.
const (
	ACLCreate ACLOp = "create"
	ACLUpdate ACLOp = "update"
	ACLSet    ACLOp = "set"
	ACLClone  ACLOp = "clone" // of tokens: Token names the one to copy, and a description if it is to have its own
)

// TokenWrite changes a token. The leader fills what is left out before it is stored.
type TokenWrite struct {
	Op    ACLOp
	Token catalog.Token
}

// TokenDelete removes a token.
type TokenDelete struct{ AccessorID string }

// TokenQuery asks for one token, with what it links to when Expanded.
type TokenQuery struct {
	AccessorID string
	Expanded   bool
}

// AppendKey implements endpoint.Keyed.
func (q *TokenQuery) AppendKey(key []byte) []byte {
	return appendBool(appendString(key, q.AccessorID), q.Expanded)
}

// SecretQuery asks with a secret, which is all that it takes.
type SecretQuery struct {
	Secret   catalog.SecretID
	Expanded bool
	// Datacenter is the one in which what it stands for is to count; empty is the one that answers.
	Datacenter string `json:"-" codec:",omitempty"`
}

// TokenFilter selects tokens: by one of these at most.
type TokenFilter struct {
	Policy, Role, AuthMethod, Service string
}

// AppendKey implements endpoint.Keyed.
func (q *TokenFilter) AppendKey(key []byte) []byte {
	for _, s := range []string{q.Policy, q.Role, q.AuthMethod, q.Service} {
		key = appendString(key, s)
	}
	return key
}

// TokenAnswer is a token, nil when there is none, and when it is asked for what it links to.
type TokenAnswer struct {
	Token    *catalog.Token
	Policies []*catalog.Policy
	Roles    []*catalog.Role
}

// PolicyWrite changes a policy.
type PolicyWrite struct {
	Op     ACLOp
	Policy catalog.Policy
}

// RoleWrite changes a role.
type RoleWrite struct {
	Op   ACLOp
	Role catalog.Role
}

// AuthMethodWrite changes an auth method.
type AuthMethodWrite struct {
	Op     ACLOp
	Method catalog.AuthMethod
}

// BindingRuleWrite changes a binding rule.
type BindingRuleWrite struct {
	Op   ACLOp
	Rule catalog.BindingRule
}

// ACLQuery asks for a policy, role or binding rule by its id or its name.
type ACLQuery struct{ ID, Name string }

// AppendKey implements endpoint.Keyed.
func (q *ACLQuery) AppendKey(key []byte) []byte { return appendString(appendString(key, q.ID), q.Name) }

// Bootstrap makes the first management token, with the secret if there is one.
type Bootstrap struct {
	Secret catalog.SecretID
	// Token is made by the leader. Reset is the index of the last bootstrap that the operator takes back.
	Token catalog.Token
	Reset uint64
}

// ACLSeed is what a leader sees to that it is there: what is built in, and the management token of the
// configuration.
type ACLSeed struct {
	Policies   []*catalog.Policy
	Tokens     []*catalog.Token
	Management bool // one of the tokens is the first management token
}

// TokensExpire removes those of the tokens whose time was over at At.
type TokensExpire struct {
	Accessors []string
	At        time.Time
}

// Login trades a bearer token for a token of ours, which the leader makes.
type Login struct {
	AuthMethod  string
	BearerToken string            `json:",omitempty"`
	Meta        map[string]string `json:",omitempty"`
	Token       catalog.Token     `json:"-" codec:"Token"`
}

// OIDCLogin is one of the two steps of a login with a browser: the first asks for the address to send the user to,
// the second brings what the provider sent back.
type OIDCLogin struct {
	AuthMethod  string
	RedirectURI string
	ClientNonce string
	Meta        map[string]string `json:",omitempty"`
	State       string
	Code        string
	Token       catalog.Token `json:"-" codec:"Token"`
}

// AccessQuery asks whether the token of the request may do something.
type AccessQuery struct {
	Resource string
	Segment  string `json:",omitempty"`
	Access   string
}

// AccessAnswer is the question with its answer.
type AccessAnswer struct {
	AccessQuery
	Allow bool
}

// AccessQueries are questions about one token.
type AccessQueries struct{ Queries []AccessQuery }

// Resolved is what a secret stands for: enough for an agent to decide by itself for a while.
type Resolved struct {
	// Disabled is whether the servers check no tokens.
	Disabled   bool
	AccessorID string
	// Management tokens may do everything.
	Management bool
	// Rules are those of the policies that count in this datacenter, one text for each.
	Rules []string
	// DefaultPolicy is what becomes of what no rule speaks of: allow or deny.
	DefaultPolicy string
	// ExpirationTime is when the token's time is over; nil is never.
	ExpirationTime *time.Time
	// TTL is how long the servers would remember it.
	TTL time.Duration
}

// ACLReplication is how far the copy of another datacenter's ACLs has come.
// Source: https://developer.hashicorp.com/consul/api-docs/acl#check-acl-replication
type ACLReplication struct {
	Enabled              bool
	Running              bool
	SourceDatacenter     string
	ReplicationType      string
	ReplicatedIndex      uint64
	ReplicatedRoleIndex  uint64
	ReplicatedTokenIndex uint64
	LastSuccess          time.Time
	LastError            time.Time
	LastErrorMessage     string
}

// Verbs of the ACL system. What asks with a secret needs no other right.
var (
	ACLBootstrap = rpc.Method[Bootstrap, catalog.Token]{Name: "ACL.Bootstrap", From: rpc.FromAgents}
	ACLSeedApply = rpc.Method[ACLSeed, Nothing]{Name: "ACL.Seed", From: rpc.FromServers}
	ACLStatus    = rpc.Method[Nothing, ACLReplication]{Name: "ACL.ReplicationStatus", From: rpc.FromAgents}
	ACLResolve   = rpc.Method[SecretQuery, Resolved]{Name: "ACL.Resolve", From: rpc.FromAgents}
	ACLAuthorize = rpc.Method[AccessQueries, []AccessAnswer]{Name: "ACL.Authorize", From: rpc.FromAgents}

	TokenApply  = rpc.Method[TokenWrite, catalog.Token]{Name: "ACL.TokenApply", From: rpc.FromAgents}
	TokenRemove = rpc.Method[TokenDelete, Nothing]{Name: "ACL.TokenDelete", From: rpc.FromAgents}
	TokenRead   = rpc.Method[TokenQuery, TokenAnswer]{Name: "ACL.TokenRead", From: rpc.FromAgents}
	TokenSelf   = rpc.Method[SecretQuery, TokenAnswer]{Name: "ACL.TokenSelf", From: rpc.FromAgents}
	TokenList   = rpc.Method[TokenFilter, []*catalog.Token]{Name: "ACL.TokenList", From: rpc.FromAgents}
	TokensReap  = rpc.Method[TokensExpire, Nothing]{Name: "ACL.TokensExpire", From: rpc.FromServers}

	PolicyApply  = rpc.Method[PolicyWrite, catalog.Policy]{Name: "ACL.PolicyApply", From: rpc.FromAgents}
	PolicyRemove = rpc.Method[ACLQuery, Nothing]{Name: "ACL.PolicyDelete", From: rpc.FromAgents}
	PolicyRead   = rpc.Method[ACLQuery, []*catalog.Policy]{Name: "ACL.PolicyRead", From: rpc.FromAgents}
	PolicyList   = rpc.Method[Nothing, []*catalog.PolicySummary]{Name: "ACL.PolicyList", From: rpc.FromAgents}

	RoleApply  = rpc.Method[RoleWrite, catalog.Role]{Name: "ACL.RoleApply", From: rpc.FromAgents}
	RoleRemove = rpc.Method[ACLQuery, Nothing]{Name: "ACL.RoleDelete", From: rpc.FromAgents}
	RoleRead   = rpc.Method[ACLQuery, []*catalog.Role]{Name: "ACL.RoleRead", From: rpc.FromAgents}
	RoleList   = rpc.Method[ACLQuery, []*catalog.Role]{Name: "ACL.RoleList", From: rpc.FromAgents} // by a policy's id, or all

	AuthMethodApply  = rpc.Method[AuthMethodWrite, catalog.AuthMethod]{Name: "ACL.AuthMethodApply", From: rpc.FromAgents}
	AuthMethodRemove = rpc.Method[Named, Nothing]{Name: "ACL.AuthMethodDelete", From: rpc.FromAgents}
	AuthMethodRead   = rpc.Method[Named, []*catalog.AuthMethod]{Name: "ACL.AuthMethodRead", From: rpc.FromAgents}
	AuthMethodList   = rpc.Method[Nothing, []*catalog.AuthMethodSummary]{Name: "ACL.AuthMethodList", From: rpc.FromAgents}

	BindingRuleApply  = rpc.Method[BindingRuleWrite, catalog.BindingRule]{Name: "ACL.BindingRuleApply", From: rpc.FromAgents}
	BindingRuleRemove = rpc.Method[ACLQuery, Nothing]{Name: "ACL.BindingRuleDelete", From: rpc.FromAgents}
	BindingRuleRead   = rpc.Method[ACLQuery, []*catalog.BindingRule]{Name: "ACL.BindingRuleRead", From: rpc.FromAgents}
	BindingRuleList   = rpc.Method[Named, []*catalog.BindingRule]{Name: "ACL.BindingRuleList", From: rpc.FromAgents} // of an auth method, or all

	TemplateList    = rpc.Method[Nothing, []*catalog.PolicyTemplate]{Name: "ACL.TemplatedPolicyList", From: rpc.FromAgents}
	TemplatePreview = rpc.Method[catalog.TemplatedPolicy, catalog.Policy]{Name: "ACL.TemplatedPolicyPreview", From: rpc.FromAgents}

	ACLLogin    = rpc.Method[Login, catalog.Token]{Name: "ACL.Login", From: rpc.FromAgents}
	ACLLogout   = rpc.Method[SecretQuery, Nothing]{Name: "ACL.Logout", From: rpc.FromAgents}
	OIDCAuthURL = rpc.Method[OIDCLogin, string]{Name: "ACL.OIDCAuthURL", From: rpc.FromAgents}
	OIDCDone    = rpc.Method[OIDCLogin, catalog.Token]{Name: "ACL.OIDCCallback", From: rpc.FromAgents}
)
