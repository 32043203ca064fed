package connect

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/canon"
)

// Caller is who wants to reach a service, as its certificate says.
type Caller struct {
	Service string
	Peer    string // the cluster peering it comes over, empty for this cluster's own
}

// Request is what permissions look at, in canonical form: whoever decides about one forwards the same.
type Request struct {
	Method string
	Path   string // without the query
	Header http.Header
	// Tokens are those that the request carries; nil for none. They are looked at only where an intention asks for one.
	Tokens Tokens
}

// Tokens are the tokens of one request.
type Tokens interface {
	// Claims are those of the token of a provider, named as its entry is. An error says why there is none that counts:
	// ErrNoToken, or what is wrong with the one there is. It blocks while the provider's keys are fetched.
	Claims(provider string) (map[string]any, error)
}

// ErrNoToken means that a request carries no token of a provider.
var ErrNoToken = errors.New("the request carries no token")

// Verdict is what a policy says.
type Verdict uint8

// The verdicts. Each request of a connection that is ByRequest has to be decided by itself.
const (
	Deny Verdict = iota
	Allow
	ByRequest
)

// String implements fmt.Stringer.
func (v Verdict) String() string { return [...]string{"deny", "allow", "by request"}[v] }

// Decision is a verdict and why.
type Decision struct {
	Verdict Verdict
	// Destination and Source name the intention that decided; nil when the default did.
	Destination *catalog.ServiceIntentions
	Source      *catalog.SourceIntention
	// Permission is the place of the one that matched, -1 when none did or the intention has none.
	Permission int
	// Unproven means that the request would be allowed with a token. Token is why it has none that counts; nil when it
	// has one, which lacks the claims that the intention asks for.
	Unproven bool
	Token    error
	// Audited means that what is allowed would be denied, were it not only tried out.
	Audited bool
}

// String says which intention decided, for logs and answers.
func (d Decision) String() string {
	if d.Source == nil {
		return d.Verdict.String() + " by default"
	}
	from := d.Source.Name
	if d.Source.Peer != "" {
		from += " of peer " + d.Source.Peer
	}
	verdict := d.Verdict.String()
	if d.Audited {
		verdict = "audit"
	}
	text := fmt.Sprintf("%s by intention %s => %s, precedence %d", verdict, from, d.Destination.Name, d.Source.Precedence)
	if len(d.Source.Permissions) > 0 {
		if d.Permission < 0 {
			return text + ", no permission matches"
		}
		text += fmt.Sprintf(", permission %d", d.Permission+1)
	}
	switch {
	case d.Unproven && d.Token == ErrNoToken:
		text += ", without the token that it requires"
	case d.Unproven && d.Token != nil:
		text += ", without the token that it requires: " + d.Token.Error()
	case d.Unproven:
		text += ", whose token lacks the claims that it requires"
	}
	return text
}

// Policy decides who may reach one service. It is immutable and safe for many goroutines; a decision does
// not allocate.
type Policy struct {
	rules    map[Caller]*rule // the one that counts for each caller that is named; Wildcard for the others
	others   *rule            // for the others of this cluster
	shadows  map[Caller]*rule // by folded caller: that refuses other spellings of one that is refused something
	fallback Verdict
	headers  []string
}

// rule is one intention, ready to be asked.
type rule struct {
	destination *catalog.ServiceIntentions
	source      *catalog.SourceIntention
	verdict     Verdict // without permissions and token
	audit       bool
	permissions []permission
	jwt         *catalog.JWTRequirement
}

type permission struct {
	verdict Verdict
	audit   bool
	path    func(string) bool // nil for all
	methods []string
	headers []headerFilter
	jwt     *catalog.JWTRequirement
}

type headerFilter struct {
	name   string // canonical
	match  func(string) bool
	invert bool
}

// NewPolicy compiles the intentions that name a service and those for all services; either may be nil. What
// no intention speaks of is allowed or not by defaultAllow. members lists the peers of a sameness group,
// with an empty name for this cluster.
func NewPolicy(named, all *catalog.ServiceIntentions, defaultAllow bool, members func(group string) []string) (*Policy, error) {
	p := &Policy{rules: map[Caller]*rule{}, shadows: map[Caller]*rule{}}
	if defaultAllow {
		p.fallback = Allow
	}
	for _, entry := range []*catalog.ServiceIntentions{named, all} {
		if entry == nil {
			continue
		}
		for _, source := range entry.Sources {
			r, err := newRule(entry, source)
			if err != nil {
				return nil, err
			}
			p.note(r)
			peers := []string{source.Peer}
			if source.SamenessGroup != "" && members != nil {
				peers = members(source.SamenessGroup)
			}
			for _, peer := range peers {
				who := Caller{source.Name, peer}
				if old := p.rules[who]; old == nil || source.Precedence > old.source.Precedence {
					p.rules[who] = r
				}
				p.shadow(who.folded(), r)
			}
		}
	}
	p.others = p.rules[Caller{Service: catalog.Wildcard}]
	return p, nil
}

// note takes note of the headers that a rule looks at.
func (p *Policy) note(r *rule) {
	for i := range r.permissions {
		for _, h := range r.permissions[i].headers {
			if !slices.Contains(p.headers, h.name) {
				p.headers = append(p.headers, h.name)
			}
		}
	}
}

// Headers are the names, in canonical form, of all that Request looks at in the header of a request.
func (p *Policy) Headers() []string { return p.headers }

func newRule(entry *catalog.ServiceIntentions, source *catalog.SourceIntention) (*rule, error) {
	r := &rule{destination: entry, source: source, verdict: verdictOf(source.Action), audit: source.Action == catalog.IntentionAudit, jwt: entry.JWT}
	if r.audit {
		r.jwt = nil // what would be denied is not asked for more
	}
	for i, from := range source.Permissions {
		compiled, err := newPermission(from)
		if err != nil {
			return nil, fmt.Errorf("%s: Sources %q: Permissions[%d]: %w", entry.Head(), source.Name, i, err)
		}
		r.permissions = append(r.permissions, compiled)
	}
	return r, nil
}

func verdictOf(a catalog.IntentionAction) Verdict {
	if a == catalog.IntentionAllow || a == catalog.IntentionAudit {
		return Allow
	}
	return Deny
}

func newPermission(from *catalog.IntentionPermission) (permission, error) {
	p := permission{verdict: verdictOf(from.Action), audit: from.Action == catalog.IntentionAudit, jwt: from.JWT}
	if from.HTTP == nil {
		return p, nil
	}
	p.methods = from.HTTP.Methods
	switch h := from.HTTP; {
	case h.PathExact != "":
		want := canon.Exact(h.PathExact)
		p.path = func(path string) bool { return path == want }
	case h.PathPrefix != "":
		want := canon.Prefix(h.PathPrefix)
		p.path = func(path string) bool { return strings.HasPrefix(path, want) }
	case h.PathRegex != "":
		re, err := whole(h.PathRegex)
		if err != nil {
			return p, fmt.Errorf("PathRegex: %w", err)
		}
		p.path = re.MatchString
	}
	for _, h := range from.HTTP.Header {
		match, err := headerMatch(h)
		if err != nil {
			return p, fmt.Errorf("header %s: %w", h.Name, err)
		}
		p.headers = append(p.headers, headerFilter{http.CanonicalHeaderKey(h.Name), match, h.Invert})
	}
	return p, nil
}

// whole compiles a regular expression that has to match all of a text.
func whole(expr string) (*regexp.Regexp, error) { return regexp.Compile("^(?:" + expr + ")$") }

func headerMatch(h catalog.IntentionHeaderFilter) (func(string) bool, error) {
	fold := func(s string) string { return s }
	if h.IgnoreCase {
		fold = strings.ToLower
	}
	switch {
	case h.Exact != "":
		want := fold(h.Exact)
		return func(v string) bool { return fold(v) == want }, nil
	case h.Prefix != "":
		want := fold(h.Prefix)
		return func(v string) bool { return strings.HasPrefix(fold(v), want) }, nil
	case h.Suffix != "":
		want := fold(h.Suffix)
		return func(v string) bool { return strings.HasSuffix(fold(v), want) }, nil
	case h.Contains != "":
		want := fold(h.Contains)
		return func(v string) bool { return strings.Contains(fold(v), want) }, nil
	case h.Regex != "":
		re, err := whole(h.Regex)
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	return nil, nil // its presence is enough
}

// folded is the caller without the case of its name.
func (c Caller) folded() Caller { return Caller{strings.ToLower(c.Service), c.Peer} }

// shadow has what a rule refuses refused to other spellings of its caller too.
func (p *Policy) shadow(who Caller, r *rule) {
	if r.verdict == Allow && len(r.permissions) == 0 && r.jwt == nil {
		return // what it allows, it allows to its caller alone
	}
	if old := p.shadows[who]; old == nil || r.source.Precedence > old.source.Precedence {
		p.shadows[who] = &rule{destination: r.destination, source: r.source, verdict: Deny}
	}
}

// rule is the one that counts for a caller: of those that name it and those for every service the one with
// the highest precedence; nil when there is none.
func (p *Policy) rule(who Caller) *rule {
	named, any := p.rules[who], p.others
	if who.Peer != "" {
		any = p.rules[Caller{catalog.Wildcard, who.Peer}]
	}
	if named == nil {
		named = p.shadows[who.folded()]
	}
	if named == nil || any != nil && any.source.Precedence > named.source.Precedence {
		return any
	}
	return named
}

// Connection decides about a connection before anything was sent over it.
func (p *Policy) Connection(who Caller) Decision {
	r := p.rule(who)
	if r == nil {
		return Decision{Verdict: p.fallback, Permission: -1}
	}
	d := Decision{Verdict: r.verdict, Destination: r.destination, Source: r.source, Permission: -1, Audited: r.audit}
	if len(r.permissions) > 0 || r.verdict == Allow && r.jwt != nil {
		d.Verdict = ByRequest
	}
	return d
}

// Request decides about one HTTP request. Of an intention's permissions the first that matches counts; when
// none does, what is the default for callers without an intention counts, and no other intention.
func (p *Policy) Request(who Caller, req *Request) Decision {
	r := p.rule(who)
	if r == nil {
		return Decision{Verdict: p.fallback, Permission: -1}
	}
	d := Decision{Verdict: r.verdict, Destination: r.destination, Source: r.source, Permission: -1, Audited: r.audit}
	if len(r.permissions) > 0 {
		d.Verdict = p.fallback
		for i := range r.permissions {
			if perm := &r.permissions[i]; perm.matches(req) {
				d.Verdict, d.Permission = perm.verdict, i
				if d.Audited = perm.audit; d.Audited {
					return d
				}
				d.prove(perm.jwt, req)
				break
			}
		}
	}
	d.prove(r.jwt, req)
	return d
}

func (p *permission) matches(req *Request) bool {
	if p.path != nil && !p.path(req.Path) {
		return false
	}
	if len(p.methods) > 0 && !slices.Contains(p.methods, req.Method) {
		return false
	}
	for i := range p.headers {
		if !p.headers[i].matches(req.Header[p.headers[i].name], p.verdict == Deny || p.audit) {
			return false
		}
	}
	return true
}

// matches reports whether the values of a header are as asked. A header may come several times, each time
// with several values behind commas, and applications differ in which of these they believe. So that
// nobody gets around a rule with one value beside another, one that matches is enough for a rule that
// denies, and for one that allows all have to. A header that is missing has nothing that matches.
func (f *headerFilter) matches(lines []string, deny bool) bool {
	if len(lines) == 0 {
		return f.invert
	}
	if f.match == nil {
		return !f.invert
	}
	for _, line := range lines {
		whole := f.accepts(line)
		some, all := whole, whole
		if strings.Contains(line, ",") {
			some, all = f.parts(line)
		}
		good := whole || all // a list of good ones, or a value that has commas
		if f.invert {
			good = whole && all
		}
		if deny && (whole || some) {
			return true
		}
		if !deny && !good {
			return false
		}
	}
	return !deny
}

// parts reports whether some and whether all values of a list are accepted.
func (f *headerFilter) parts(list string) (some, all bool) {
	all = true
	for value := range strings.SplitSeq(list, ",") {
		ok := f.accepts(value)
		some, all = some || ok, all && ok
	}
	return some, all
}

func (f *headerFilter) accepts(value string) bool {
	return f.match(strings.TrimSpace(value)) != f.invert
}

// prove denies what would be allowed but lacks a token that is needed: one of a provider that the need names, with all its
// claims.
func (d *Decision) prove(need *catalog.JWTRequirement, req *Request) {
	if need == nil || d.Verdict != Allow {
		return
	}
	why := ErrNoToken
	for _, p := range need.Providers {
		err := ErrNoToken
		if req.Tokens != nil {
			var claims map[string]any
			if claims, err = req.Tokens.Claims(p.Name); err == nil && !slices.ContainsFunc(p.VerifyClaims, func(c *catalog.JWTClaim) bool { return !claimed(claims, c) }) {
				return
			}
		}
		if err == nil || why == ErrNoToken { // a good token tells more than a bad one, and that more than none
			why = err
		}
		if why == nil {
			break
		}
	}
	d.Verdict, d.Unproven, d.Token = Deny, true, why
}

// claimed reports whether the value at a path of claims is the one asked for, or a list with it.
func claimed(claims map[string]any, c *catalog.JWTClaim) bool {
	var at any = claims
	for _, key := range c.Path {
		object, ok := at.(map[string]any)
		if !ok {
			return false
		}
		at = object[key]
	}
	switch at := at.(type) {
	case string:
		return at == c.Value
	case []any:
		return slices.Contains(at, any(c.Value))
	}
	return false
}
