package catalog

import (
	"fmt"
	"log/slog"
	"time"
)

// SecretID is what somebody shows to be taken for a token. Answers to those who may read it carry it; formatted or
// logged it is a mark that there is one.
type SecretID string

// Format implements fmt.Formatter, for every verb.
func (s SecretID) Format(f fmt.State, _ rune) { f.Write([]byte(s.mark())) }

// LogValue implements slog.LogValuer.
func (s SecretID) LogValue() slog.Value { return slog.StringValue(s.mark()) }

// Reveal returns the text, for whoever has to use it.
func (s SecretID) Reveal() string { return string(s) }

func (s SecretID) mark() string {
	if s == "" {
		return ""
	}
	return hidden
}

// The anonymous token is that of requests which show none. It is always there.
const (
	AnonymousAccessor = "00000000-0000-0000-0000-000000000002"
	AnonymousSecret   = SecretID("anonymous")
)

// Bounds of the life of a token that ends.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/tokens (ExpirationTTL)
const (
	MinTokenTTL = time.Minute
	MaxTokenTTL = 24 * time.Hour
)

// Link names a policy or a role. Who writes gives its ID or its Name; what is stored has both.
type Link struct {
	ID   string
	Name string
}

// Token is what somebody may do: what its policies, its roles and the identities say together.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/tokens
type Token struct {
	AccessorID        string
	SecretID          SecretID
	Description       string
	Policies          []Link             `json:",omitempty"`
	Roles             []Link             `json:",omitempty"`
	ServiceIdentities []*ServiceIdentity `json:",omitempty"`
	NodeIdentities    []*NodeIdentity    `json:",omitempty"`
	TemplatedPolicies []*TemplatedPolicy `json:",omitempty"`
	Local             bool
	// AuthMethod of the login that made it, empty for others.
	AuthMethod string `json:",omitempty"`
	// ExpirationTTL says ExpirationTime when the token is made. It is not stored.
	ExpirationTTL  Duration   `json:",omitempty"`
	ExpirationTime *time.Time `json:",omitempty"`
	CreateTime     time.Time
	Hash           []byte
	CreateIndex    uint64
	ModifyIndex    uint64
}

// String implements fmt.Stringer: a token is shown by its accessor.
func (t *Token) String() string { return "token " + t.AccessorID }

// LogValue implements slog.LogValuer.
func (t *Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Expired reports whether the token's time is over.
func (t *Token) Expired(now time.Time) bool {
	return t.ExpirationTime != nil && !now.Before(*t.ExpirationTime)
}

// Grants are what the token gives by itself.
func (t *Token) Grants() *Grants {
	return &Grants{t.Policies, t.ServiceIdentities, t.NodeIdentities, t.TemplatedPolicies}
}

// HasService reports whether the token has the identity of a service.
func (t *Token) HasService(name string) bool { return t.Grants().hasService(name) }

// Normalize fills what a client may leave out, and writes things one way.
func (t *Token) Normalize() error {
	t.AccessorID = lowerUUID(t.AccessorID)
	t.SecretID = SecretID(lowerUUID(t.SecretID.Reveal()))
	t.Roles = uniqueLinks(t.Roles)
	g := t.Grants()
	if err := g.normalize(); err != nil {
		return Errorf(Invalid, "token %s: %w", t.AccessorID, err)
	}
	t.Policies, t.ServiceIdentities, t.NodeIdentities, t.TemplatedPolicies = g.Policies, g.Services, g.Nodes, g.Templated
	return nil
}

// Validate checks a normalized token.
func (t *Token) Validate() error {
	where := "token " + t.AccessorID
	switch {
	case !IsUUID(t.AccessorID):
		return Errorf(Invalid, "token: AccessorID %.64q is no UUID: want 8-4-4-4-12 hexadecimal digits", t.AccessorID)
	case reserved(t.AccessorID) && t.AccessorID != AnonymousAccessor:
		return Errorf(Invalid, "%s: ids that begin with %s are kept for what is built in", where, reservedPrefix)
	}
	if err := validateLinks(where, "role", t.Roles); err != nil {
		return err
	}
	if err := validateDescription(where, t.Description); err != nil {
		return err
	}
	return t.Grants().validate(where)
}

// Validate checks the secret of a new token. That of the configuration's management token may be any text.
func (s SecretID) Validate() error {
	switch {
	case !IsUUID(s.Reveal()):
		return Errorf(Invalid, "token: its SecretID is no UUID: want 8-4-4-4-12 hexadecimal digits")
	case reserved(s.Reveal()):
		return Errorf(Invalid, "token: its SecretID begins with %s, which is kept for what is built in", reservedPrefix)
	}
	return nil
}

// Digest returns a hash of what the token says, its indexes and times left aside.
func (t *Token) Digest() []byte {
	d := newDigest()
	d.add(t.AccessorID, t.SecretID.Reveal(), t.Description, t.AuthMethod, fmt.Sprint(t.Local))
	d.links(t.Roles)
	d.grants(t.Grants())
	return d.sum()
}
