package catalog

import (
	"cmp"
	"fmt"
	"regexp"
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

// Normalize implements ConfigEntry. It ranks the sources and puts the most specific first.
func (e *ServiceIntentions) Normalize() {
	for _, s := range e.Sources {
		if s == nil {
			continue // refused by Validate
		}
		s.Type = cmp.Or(s.Type, SourceConsul)
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
		return cmp.Or(cmp.Compare(b.Precedence, a.Precedence), strings.Compare(a.Name, b.Name),
			strings.Compare(a.Peer, b.Peer), strings.Compare(a.SamenessGroup, b.SamenessGroup))
	})
	e.Hash = EntryHash(e)
}

// IntentionPrecedence ranks an intention by how specific it is: 9 with both names said, 8 when only the
// destination is, 6 when only the source is, 5 when neither is. 7 and 4 to 1 belong to namespaces, of
// which there is one.
// Source: https://developer.hashicorp.com/consul/docs/secure-mesh/intention#precedence-and-match-order
func IntentionPrecedence(source, destination string) int {
	rank := 9
	if destination == Wildcard {
		rank = 6
	}
	if source == Wildcard {
		rank--
	}
	return rank
}

// maxDescription is how long an intention's description may be, in bytes.
const maxDescription = 512

// Validate implements ConfigEntry.
func (e *ServiceIntentions) Validate() error {
	if err := e.check().err(); err != nil {
		return err
	}
	wrong := func(format string, args ...any) error {
		return Errorf(Invalid, "%s: %w", e.Head(), fmt.Errorf(format, args...))
	}
	if err := intentionName(e.Name); err != nil {
		return wrong("Name: %w", err)
	}
	if len(e.Sources) == 0 {
		return wrong("Sources is empty: name at least one, %q for all", Wildcard)
	}
	if err := e.JWT.validate(); err != nil {
		return wrong("JWT: %w", err)
	}
	for i, s := range e.Sources {
		if s == nil {
			return wrong("Sources[%d] is null", i)
		}
		if err := s.validate(e.Name == Wildcard); err != nil {
			return wrong("Sources[%d] %q: %w", i, s.Name, err)
		}
		if first := e.Find(s.Name, s.Peer, s.SamenessGroup); first != i {
			return wrong("Sources[%d] %q is there already, at Sources[%d]: one source has one intention", i, s.Name, first)
		}
	}
	return nil
}

// intentionName checks the name of a source or destination.
func intentionName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("is missing: name a service, or %q for all", Wildcard)
	case name != Wildcard && strings.Contains(name, Wildcard):
		return fmt.Errorf("%q holds a wildcard: it has to stand alone", name)
	case name == ServersService:
		return fmt.Errorf("%q is reserved: the servers are no part of the mesh", name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%q is no name of a service", name)
	}
	return nil
}

func (s *SourceIntention) validate(everywhere bool) error {
	if err := intentionName(s.Name); err != nil {
		return fmt.Errorf("Name %w", err)
	}
	switch {
	case s.Type != SourceConsul:
		return fmt.Errorf("Type %q is not supported: leave it out or set it to %q", s.Type, SourceConsul)
	case s.Peer != "" && s.SamenessGroup != "":
		return fmt.Errorf("Peer and SamenessGroup exclude each other")
	case strings.Contains(s.Peer+s.SamenessGroup, Wildcard):
		return fmt.Errorf("Peer and SamenessGroup have no wildcard")
	case len(s.Description) > maxDescription:
		return fmt.Errorf("Description has %d bytes: at most %d are allowed", len(s.Description), maxDescription)
	case s.Action == "" && len(s.Permissions) == 0:
		return fmt.Errorf("set Action to %q or %q, or set Permissions", IntentionAllow, IntentionDeny)
	case s.Action != "" && len(s.Permissions) > 0:
		return fmt.Errorf("Action and Permissions exclude each other")
	case len(s.Permissions) > 0 && everywhere:
		return fmt.Errorf("Permissions cannot be set for all destinations at once: services speak different protocols")
	case len(s.Permissions) == 0:
		return s.Action.validate()
	}
	for i, p := range s.Permissions {
		if p == nil {
			return fmt.Errorf("Permissions[%d] is null", i)
		}
		if err := p.validate(); err != nil {
			return fmt.Errorf("Permissions[%d]: %w", i, err)
		}
	}
	return nil
}

func (a IntentionAction) validate() error {
	if a != IntentionAllow && a != IntentionDeny {
		return fmt.Errorf("Action %q is unknown: set it to %q or %q", a, IntentionAllow, IntentionDeny)
	}
	return nil
}

func (p *IntentionPermission) validate() error {
	if err := p.Action.validate(); err != nil {
		return err
	}
	if p.HTTP == nil && p.JWT == nil {
		return fmt.Errorf("set HTTP, or JWT")
	}
	if err := p.JWT.validate(); err != nil {
		return fmt.Errorf("JWT: %w", err)
	}
	if p.HTTP == nil {
		return nil
	}
	if err := p.HTTP.validate(); err != nil {
		return fmt.Errorf("HTTP: %w", err)
	}
	return nil
}

func (h *IntentionHTTPPermission) validate() error {
	paths := 0
	for _, set := range []struct{ field, value string }{{"PathExact", h.PathExact}, {"PathPrefix", h.PathPrefix}, {"PathRegex", h.PathRegex}} {
		if set.value == "" {
			continue
		}
		if paths++; paths > 1 {
			return fmt.Errorf("PathExact, PathPrefix and PathRegex exclude each other")
		}
		if set.field != "PathRegex" && !strings.HasPrefix(set.value, "/") {
			return fmt.Errorf("%s %q has to begin with a slash", set.field, set.value)
		}
	}
	if _, err := regexp.Compile(h.PathRegex); err != nil {
		return fmt.Errorf("PathRegex: %w", err)
	}
	if paths == 0 && len(h.Header) == 0 && len(h.Methods) == 0 {
		return fmt.Errorf("set a path, Header or Methods")
	}
	for i, m := range h.Methods {
		if m == "" || strings.ContainsFunc(m, func(r rune) bool { return r < '!' || r > '~' }) {
			return fmt.Errorf("Methods: %q is no method", m)
		}
		if slices.Index(h.Methods, m) != i {
			return fmt.Errorf("Methods: %s is there twice", m)
		}
	}
	for i, f := range h.Header {
		if err := f.validate(); err != nil {
			return fmt.Errorf("Header[%d]: %w", i, err)
		}
	}
	return nil
}

func (f *IntentionHeaderFilter) validate() error {
	if f.Name == "" {
		return fmt.Errorf("Name is missing")
	}
	ways := 0
	for _, set := range []bool{f.Present, f.Exact != "", f.Prefix != "", f.Suffix != "", f.Contains != "", f.Regex != ""} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		return fmt.Errorf("%s: set exactly one of Present, Exact, Prefix, Suffix, Contains and Regex", f.Name)
	}
	if f.Present && f.IgnoreCase {
		return fmt.Errorf("%s: IgnoreCase says nothing with Present", f.Name)
	}
	if _, err := regexp.Compile(f.Regex); err != nil {
		return fmt.Errorf("%s: Regex: %w", f.Name, err)
	}
	return nil
}

// validate checks a requirement; nil requires nothing.
func (j *JWTRequirement) validate() error {
	if j == nil {
		return nil
	}
	if len(j.Providers) == 0 {
		return fmt.Errorf("Providers is empty: name at least one entry of kind %s", EntryJWTProvider)
	}
	for i, p := range j.Providers {
		if p == nil || p.Name == "" {
			return fmt.Errorf("Providers[%d]: Name is missing", i)
		}
		for k, c := range p.VerifyClaims {
			if c == nil || len(c.Path) == 0 || slices.Contains(c.Path, "") || c.Value == "" {
				return fmt.Errorf("Providers[%d] %q: VerifyClaims[%d]: set Path and Value", i, p.Name, k)
			}
		}
	}
	return nil
}

// Clone implements ConfigEntry.
func (e *ServiceIntentions) Clone() ConfigEntry { return clone(e) }
