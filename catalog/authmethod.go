package catalog

import (
	"maps"
	"strings"
	"time"
)

// AuthMethodType says whose tokens a login shows.
type AuthMethodType string

// The types of auth methods.
const (
	AuthKubernetes AuthMethodType = "kubernetes"
	AuthJWT        AuthMethodType = "jwt"
	AuthOIDC       AuthMethodType = "oidc"
	AuthAWS        AuthMethodType = "aws-iam"
)

// AuthMethod lets those whom somebody else vouches for log in.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/auth-methods
type AuthMethod struct {
	Name        string
	Type        AuthMethodType
	DisplayName string `json:",omitempty"`
	Description string `json:",omitempty"`
	// MaxTokenTTL is the life of its tokens; 0 is for ever.
	MaxTokenTTL Duration `json:",omitempty"`
	// TokenLocality is "local" or "global"; empty is local.
	TokenLocality string `json:",omitempty"`
	// TokenNameFormat describes its tokens; variables as in binding rules.
	TokenNameFormat string `json:",omitempty"`
	// Config is what its type makes of it; see package authmethod.
	Config      map[string]any
	CreateIndex uint64
	ModifyIndex uint64
}

// AuthMethodSummary is an auth method as lists show it.
type AuthMethodSummary struct {
	Name          string
	Type          AuthMethodType
	DisplayName   string   `json:",omitempty"`
	Description   string   `json:",omitempty"`
	MaxTokenTTL   Duration `json:",omitempty"`
	TokenLocality string   `json:",omitempty"`
	CreateIndex   uint64
	ModifyIndex   uint64
}

// Summary returns the auth method as lists show it.
func (m *AuthMethod) Summary() *AuthMethodSummary {
	return &AuthMethodSummary{m.Name, m.Type, m.DisplayName, m.Description, m.MaxTokenTTL, m.TokenLocality, m.CreateIndex, m.ModifyIndex}
}

// LocalTokens reports whether its tokens are of one datacenter only.
func (m *AuthMethod) LocalTokens() bool { return m.TokenLocality != "global" }

// secretSettings are the settings of auth methods that only those see who may change them.
var secretSettings = []string{"OIDCClientSecret", "ServiceAccountJWT", "OIDCClientAssertion"}

// HiddenSetting takes the place of a setting for those who may not see it. In a write it leaves the setting as it is.
const HiddenSetting = "<hidden>"

// Hidden returns the auth method without the secrets of its settings.
func (m *AuthMethod) Hidden() *AuthMethod {
	out := *m
	out.Config = maps.Clone(m.Config)
	for key := range out.Config {
		for _, secret := range secretSettings {
			if strings.EqualFold(key, secret) {
				out.Config[key] = HiddenSetting
			}
		}
	}
	return &out
}

// Keep takes over from the stored method the settings that are only marked as being there.
func (m *AuthMethod) Keep(stored *AuthMethod) {
	config := maps.Clone(m.Config)
	for key, value := range config {
		if value == HiddenSetting && stored != nil {
			if was, ok := stored.Config[key]; ok {
				config[key] = was
			}
		}
	}
	m.Config = config
}

// Validate checks the method but for its Config.
func (m *AuthMethod) Validate() error {
	where := "auth method " + m.Name
	switch {
	case !ruleName(m.Name, 128):
		return Errorf(Invalid, "auth method: name %.64q: want 1 to 128 letters, digits, - and _", m.Name)
	case m.Type != AuthKubernetes && m.Type != AuthJWT && m.Type != AuthOIDC && m.Type != AuthAWS:
		return Errorf(Invalid, "%s: type %.64q: want kubernetes, jwt, oidc or aws-iam", where, m.Type)
	case m.MaxTokenTTL != 0 && (time.Duration(m.MaxTokenTTL) < MinTokenTTL || time.Duration(m.MaxTokenTTL) > MaxTokenTTL):
		return Errorf(Invalid, "%s: MaxTokenTTL %s is not between %s and %s", where, m.MaxTokenTTL, MinTokenTTL, MaxTokenTTL)
	case m.TokenLocality != "" && m.TokenLocality != "local" && m.TokenLocality != "global":
		return Errorf(Invalid, "%s: TokenLocality %.64q: want local or global", where, m.TokenLocality)
	case len(m.DisplayName) > 256:
		return Errorf(Invalid, "%s: its display name has %d bytes: at most 256 are allowed", where, len(m.DisplayName))
	}
	return validateDescription(where, m.Description)
}

// BindType says what a binding rule gives.
type BindType string

// The types of binding rules.
const (
	BindService   BindType = "service"
	BindNode      BindType = "node"
	BindRole      BindType = "role"
	BindPolicy    BindType = "policy"
	BindTemplated BindType = "templated-policy"
)

// BindingRule gives something to those who log in by an auth method.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/binding-rules
type BindingRule struct {
	ID          string
	Description string
	AuthMethod  string
	// Selector is an expression over what the auth method knows of who logs in; empty selects all.
	Selector string
	BindType BindType
	// BindName may hold variables, such as ${value.name}.
	BindName    string
	BindVars    *TemplateVariables `json:",omitempty"`
	CreateIndex uint64
	ModifyIndex uint64
}

// Normalize writes things one way.
func (b *BindingRule) Normalize() { b.ID = lowerUUID(b.ID) }

// maxBind is how long the texts of a binding rule may be, in bytes.
const maxBind = 1024

// Validate checks a rule but for its selector and variables.
func (b *BindingRule) Validate() error {
	where := "binding rule of auth method " + b.AuthMethod
	switch {
	case b.AuthMethod == "":
		return Errorf(Invalid, "binding rule: it names no AuthMethod")
	case b.BindName == "":
		return Errorf(Invalid, "%s: it has no BindName", where)
	case len(b.BindName) > maxBind || len(b.BindVars.name()) > maxBind:
		return Errorf(Invalid, "%s: its BindName or a variable has more than %d bytes", where, maxBind)
	case b.BindVars.name() != "" && b.BindType != BindTemplated:
		return Errorf(Invalid, "%s: BindVars are for the BindType templated-policy", where)
	}
	switch b.BindType {
	case BindService, BindNode, BindRole, BindPolicy:
	case BindTemplated:
		if FindPolicyTemplate(b.BindName) == nil {
			return noTemplate(b.BindName)
		}
	default:
		return Errorf(Invalid, "%s: BindType %.64q: want service, node, role, policy or templated-policy", where, b.BindType)
	}
	return validateDescription(where, b.Description)
}

// Interpolate puts values in place of variables: ${value.name} is what values holds under value.name, and $${ is a
// plain ${.
func Interpolate(text string, values map[string]string) (string, error) {
	return expand(text, func(name string) (string, error) {
		if value, ok := values[name]; ok {
			return value, nil
		}
		return "", Errorf(Invalid, "unknown variable ${%s}", name)
	})
}
