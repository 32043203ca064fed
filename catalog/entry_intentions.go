package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

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
	// IntentionAudit allows, and has taken down that it would be denied.
	IntentionAudit IntentionAction = "audit"
)

var intentionActions = []string{string(IntentionAllow), string(IntentionDeny), string(IntentionAudit)}

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
func (e *ServiceIntentions) Normalize() {
	for _, s := range e.Sources {
		if s == nil {
			continue
		}
		if s.Type == "" {
			s.Type = SourceConsul
		}
		s.Precedence = IntentionPrecedence(s.Name, e.Name)
		for _, p := range s.Permissions {
			if p != nil && p.HTTP != nil {
				upper(p.HTTP.Methods)
			}
		}
	}
	slices.SortStableFunc(e.Sources, func(a, b *SourceIntention) int {
		if a == nil || b == nil {
			return 0
		}
		return cmp.Or(b.Precedence-a.Precedence, strings.Compare(a.Name, b.Name), strings.Compare(a.Peer, b.Peer), strings.Compare(a.SamenessGroup, b.SamenessGroup))
	})
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *ServiceIntentions) Validate() error {
	c := e.check()
	c.meshed("Name", e.Name)
	if len(e.Sources) == 0 {
		c.fail("Sources", "is empty: delete the entry to remove its intentions")
	}
	seen := map[[3]string]bool{}
	for i, s := range e.Sources {
		at := fmt.Sprintf("Sources[%d]", i)
		if s == nil {
			c.fail(at, "is empty")
			continue
		}
		s.validate(c, at)
		if len(s.Permissions) > 0 && e.Name == Wildcard {
			c.fail(at+".Permissions", "are not allowed for the destination %s: they need one service, whose protocol is known", Wildcard)
		}
		key := [3]string{strings.ToLower(s.Name), s.Peer, s.SamenessGroup}
		if seen[key] {
			c.fail(at, "is a second one for %q", s.Name)
		}
		seen[key] = true
	}
	if e.JWT != nil {
		c.jwt("JWT", e.JWT.Providers)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *ServiceIntentions) Clone() ConfigEntry { return clone(e) }

// IntentionPrecedence says how specific an intention is: 9 to 1, of several that apply the highest counts.
// Source: https://developer.hashicorp.com/consul/docs/secure-mesh/intention/create#precedence-and-match-order
func IntentionPrecedence(source, destination string) int {
	precedence := 9
	if destination == Wildcard {
		precedence = 6
	}
	if source == Wildcard {
		precedence--
	}
	return precedence
}

const maxDescription = 512

// meshed refuses the servers' own service: it is not in the mesh, so an intention about it would never bite.
func (c *checker) meshed(field, name string) {
	if name == ServersService {
		c.fail(field, "%q is reserved: the servers are not part of the mesh", name)
	}
}

func (s *SourceIntention) validate(c *checker, at string) {
	c.wild(at+".Name", s.Name)
	c.meshed(at+".Name", s.Name)
	c.target(at+".Peer", s.Peer)
	c.target(at+".SamenessGroup", s.SamenessGroup)
	c.oneOf(at+".Type", s.Type, SourceConsul)
	if s.Peer != "" && s.SamenessGroup != "" {
		c.fail(at+".Peer", "and SamenessGroup exclude each other")
	}
	if len(s.Description) > maxDescription {
		c.fail(at+".Description", "has %d bytes: at most %d are allowed", len(s.Description), maxDescription)
	}
	switch {
	case s.Action != "" && len(s.Permissions) > 0:
		c.fail(at+".Action", "and Permissions exclude each other")
	case s.Action == "" && len(s.Permissions) == 0:
		c.fail(at+".Action", "is missing: set it or Permissions")
	case s.Action != "":
		c.oneOf(at+".Action", string(s.Action), intentionActions...)
	}
	for i, p := range s.Permissions {
		p.validate(c, fmt.Sprintf("%s.Permissions[%d]", at, i))
	}
}

func (p *IntentionPermission) validate(c *checker, at string) {
	if p == nil {
		c.fail(at, "is empty")
		return
	}
	c.oneOf(at+".Action", string(p.Action), intentionActions...)
	if p.HTTP == nil && p.JWT == nil {
		c.fail(at+".HTTP", "is missing")
	}
	if p.JWT != nil {
		c.jwt(at+".JWT", p.JWT.Providers)
	}
	if h := p.HTTP; h != nil {
		if p.JWT == nil && h.PathExact == "" && h.PathPrefix == "" && h.PathRegex == "" && len(h.Header) == 0 && len(h.Methods) == 0 {
			c.fail(at+".HTTP", "is empty: set a path, Header or Methods")
		}
		h.validate(c, at+".HTTP")
	}
}

func (h *IntentionHTTPPermission) validate(c *checker, at string) {
	c.onePath(at, h.PathExact, h.PathPrefix, h.PathRegex)
	c.resolved(at+".PathExact", h.PathExact)
	c.resolved(at+".PathPrefix", h.PathPrefix)
	c.methods(at+".Methods", h.Methods)
	for i, f := range h.Header {
		at := fmt.Sprintf("%s.Header[%d]", at, i)
		c.header(at+".Name", f.Name)
		if count(f.Present, f.Exact != "", f.Prefix != "", f.Suffix != "", f.Contains != "", f.Regex != "") != 1 {
			c.fail(at, "must have exactly one of Present, Exact, Prefix, Suffix, Contains and Regex")
		}
		if f.IgnoreCase && (f.Present || f.Regex != "") {
			c.fail(at+".IgnoreCase", "is only for Exact, Prefix, Suffix and Contains")
		}
		c.regex(at+".Regex", f.Regex)
	}
}
