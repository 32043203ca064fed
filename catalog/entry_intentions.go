package catalog

import "time"

// ServiceIntentions says who may reach a service.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-intentions
type ServiceIntentions struct {
	EntryHead                    // Name is the destination, Wildcard for every service
	Sources   []*SourceIntention // the most specific first
	JWT       *JWTRequirement    `json:",omitempty"`
}

// IntentionAction is what happens to a connection or request.
type IntentionAction string

// The actions of intentions.
const (
	IntentionAllow IntentionAction = "allow"
	IntentionDeny  IntentionAction = "deny"
)

// SourceConsul is the type of all sources.
const SourceConsul = "consul"

// SourceIntention says what one source may do: Action for all it does, or Permissions by request.
type SourceIntention struct {
	Name             string
	Action           IntentionAction        `json:",omitempty"`
	Permissions      []*IntentionPermission `json:",omitempty"`
	Precedence       int                    // computed: 9 to 1, the higher counts
	Type             string                 // computed: SourceConsul
	Description      string                 `json:",omitempty"`
	Peer             string                 `json:",omitempty"`
	SamenessGroup    string                 `json:",omitempty"`
	LegacyID         string                 `json:",omitempty"`
	LegacyMeta       map[string]string      `json:",omitempty"`
	LegacyCreateTime *time.Time             `json:",omitempty"`
	LegacyUpdateTime *time.Time             `json:",omitempty"`
}

// IntentionPermission says what happens to some requests. The first that matches counts.
type IntentionPermission struct {
	Action IntentionAction
	HTTP   *IntentionHTTPPermission `json:",omitempty"`
	JWT    *JWTRequirement          `json:",omitempty"`
}

// IntentionHTTPPermission is what an HTTP request has to be: all that is set.
type IntentionHTTPPermission struct {
	PathExact  string                  `json:",omitempty"`
	PathPrefix string                  `json:",omitempty"`
	PathRegex  string                  `json:",omitempty"` // of the whole path, RE2
	Header     []IntentionHeaderFilter `json:",omitempty"`
	Methods    []string                `json:",omitempty"`
}

// IntentionHeaderFilter is what a header has to be: exactly one of the ways to match is set.
type IntentionHeaderFilter struct {
	Name       string
	Present    bool   `json:",omitempty"`
	Exact      string `json:",omitempty"`
	Prefix     string `json:",omitempty"`
	Suffix     string `json:",omitempty"`
	Contains   string `json:",omitempty"`
	Regex      string `json:",omitempty"`
	Invert     bool   `json:",omitempty"`
	IgnoreCase bool   `json:",omitempty"`
}

// JWTRequirement asks for a token of one of the providers.
type JWTRequirement struct {
	Providers []*JWTRequirementProvider `json:",omitempty"`
}

// JWTRequirementProvider names an entry of kind jwt-provider, and what its tokens have to claim.
type JWTRequirementProvider struct {
	Name         string      `json:",omitempty"`
	VerifyClaims []*JWTClaim `json:",omitempty"`
}

// JWTClaim is a value that has to be at a path of a token's payload, or in the list there.
type JWTClaim struct {
	Path  []string `json:",omitempty"`
	Value string   `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *ServiceIntentions) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *ServiceIntentions) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *ServiceIntentions) Clone() ConfigEntry { return clone(e) }
