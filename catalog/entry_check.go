package catalog

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fault is what is wrong with an entry: the field, as JSON names it, and why.
type fault struct{ field, why string }

// checker collects the first fault of an entry.
type checker struct {
	head  *EntryHead
	first *fault
}

// check begins to check an entry by what all kinds need.
func (h *EntryHead) check() *checker {
	c := &checker{head: h}
	name := h.Key()
	switch {
	case name == "":
		c.fail("Name", "is missing")
	case len(name) > maxEntryName:
		c.fail("Name", "has %d bytes: at most %d are allowed", len(name), maxEntryName)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		c.fail("Name", "%q holds characters that cannot be shown", name)
	case strings.Contains(name, Wildcard) && (name != Wildcard || h.Kind != EntryServiceIntentions):
		c.fail("Name", "%q: wildcards are not allowed here", name)
	}
	if err := ValidateMeta(h.Meta, true); err != nil {
		c.fail("Meta:", "%v", err)
	}
	return c
}

const maxEntryName = 512

// fail notes a fault unless there is one already.
func (c *checker) fail(field, format string, args ...any) {
	if c.first == nil {
		c.first = &fault{field, fmt.Sprintf(format, args...)}
	}
}

// err is the first fault as an error.
func (c *checker) err() error {
	if c.first == nil {
		return nil
	}
	name := c.head.Key()
	if shown := strconv.Quote(name); len(name) > maxEntryName || len(shown) != len(name)+2 {
		name = fmt.Sprintf("%.64q", name) // it may be meant for the reader's terminal, or to fill a log
	}
	return Errorf(Invalid, "%s/%s: %s %s", c.head.Kind, name, c.first.field, c.first.why)
}

// oneOf checks a word.
func (c *checker) oneOf(field, value string, words ...string) {
	if slices.Contains(words, value) {
		return
	}
	shown := make([]string, 0, len(words))
	for _, w := range words {
		if w != "" {
			shown = append(shown, w)
		}
	}
	c.fail(field, "%.64q is none of %s", value, strings.Join(shown, ", "))
}

// atLeast0 checks that a number or time span is not negative.
func atLeast0[T ~int | ~int64 | ~float64](c *checker, field string, value T) {
	if !(value >= 0) { // NaN neither
		c.fail(field, "%v is negative", value)
	}
}

func (c *checker) percent(field string, value *uint32) {
	if value != nil && *value > 100 {
		c.fail(field, "%d is more than 100 percent", *value)
	}
}

// share checks a percentage of what is to be done at all.
func (c *checker) share(field string, percent float32) {
	if !(percent > 0 && percent <= 100) {
		c.fail(field, "%v is not above 0 and at most 100", percent)
	}
}

func (c *checker) port(field string, port, least int) {
	if port < least || port > 65535 {
		c.fail(field, "%d is not between %d and 65535", port, least)
	}
}

// regex checks an expression, which is one of RE2 (https://github.com/google/re2/wiki/Syntax): those can
// be matched in linear time.
func (c *checker) regex(field, expression string) {
	if expression == "" {
		return
	}
	if len(expression) > maxRegex {
		c.fail(field, "has %d bytes: at most %d are allowed", len(expression), maxRegex)
		return
	}
	if _, err := regexp.Compile(expression); err != nil {
		c.fail(field, "is no regular expression of RE2: %v", err)
	}
}

const maxRegex = 4096

// path checks that a path is absolute.
func (c *checker) path(field, path string) {
	if path != "" && path[0] != '/' {
		c.fail(field, "%.64q must begin with a slash", path)
	}
}

// resolved refuses a path with dot segments: requests are compared when theirs are resolved (RFC 3986, 5.2.4), so that
// it would match none, and what it is to deny would be let in.
func (c *checker) resolved(field, path string) {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			c.fail(field, "%.64q has the segment %q, which no request has that is compared: write the path that it stands for", path, segment)
			return
		}
	}
}

// onePath checks the three ways to match a path.
func (c *checker) onePath(field, exact, prefix, regex string) {
	if count(exact != "", prefix != "", regex != "") > 1 {
		c.fail(field, "has more than one of PathExact, PathPrefix and PathRegex: set one")
	}
	c.path(field+".PathExact", exact)
	c.path(field+".PathPrefix", prefix)
	c.regex(field+".PathRegex", regex)
}

func count(set ...bool) (n int) {
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}

// methods checks HTTP methods.
func (c *checker) methods(field string, methods []string) {
	for i, m := range methods {
		if !isToken(m) {
			c.fail(field, "%.64q is no HTTP method", m)
		}
		if slices.Contains(methods[:i], m) {
			c.fail(field, "names %s twice", m)
		}
	}
}

// isToken reports whether s is a token of HTTP, as names of headers and methods are (RFC 9110 section
// 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		b := s[i]
		if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0) {
			return false
		}
	}
	return s != ""
}

// header checks the name of a header.
func (c *checker) header(field, name string) {
	switch {
	case name == "":
		c.fail(field, "is missing")
	case !isToken(name):
		c.fail(field, "%.64q is no name of a header", name)
	}
}

// modifiers checks changes of headers.
func (c *checker) modifiers(field string, m *HeaderModifiers) {
	if m == nil {
		return
	}
	c.headerValues(field+".Add", m.Add)
	c.headerValues(field+".Set", m.Set)
	for _, name := range m.Remove {
		c.header(field+".Remove", name)
	}
}

func (c *checker) headerValues(field string, values map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		c.header(field, name)
		if strings.ContainsAny(values[name], "\r\n\x00") {
			c.fail(field, "%s: a header's value must be one line", name)
		}
	}
}

// statusCodes checks HTTP status codes.
func (c *checker) statusCodes(field string, codes []uint32) {
	for _, code := range codes {
		if code < 100 || code > 599 {
			c.fail(field, "%d is no HTTP status: want 100 to 599", code)
		}
	}
}

// retryOn checks conditions on which a request is sent again.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-router
func (c *checker) retryOn(field string, conditions []string) {
	for _, on := range conditions {
		c.oneOf(field, on, "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
			"refused-stream", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
	}
}

// host checks a host name, of which the first label may be a wildcard.
func (c *checker) host(field, host string) {
	rest, wild := strings.CutPrefix(host, "*.")
	if host != Wildcard && (rest == "" || !isHostname(rest)) {
		if wild {
			c.fail(field, "%.64q: behind *. must stand a host name", host)
			return
		}
		c.fail(field, "%.64q is no host name", host)
	}
}

// isHostname reports whether s is a name of a host (RFC 1123 section 2.1), underscores included.
func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !IsDNSLabel(strings.ReplaceAll(label, "_", "x")) {
			return false
		}
	}
	return true
}

// target checks the name of a service that something leads to.
func (c *checker) target(field, name string) {
	if strings.Contains(name, Wildcard) {
		c.fail(field, "%.64q: wildcards are not allowed here", name)
	}
	c.shown(field, name)
}

// required is target for one that must be there.
func (c *checker) required(field, name string) {
	if name == "" {
		c.fail(field, "is missing")
	}
	c.target(field, name)
}

// wild checks a name that may be Wildcard.
func (c *checker) wild(field, name string) {
	if name != Wildcard {
		c.required(field, name)
	}
}

func (c *checker) shown(field, text string) {
	if len(text) > maxEntryName || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.fail(field, "%.64q is too long or holds characters that cannot be shown", text)
	}
}

// tls checks bounds of TLS.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/mesh
func (c *checker) tls(field, minimum, maximum string, ciphers []string) {
	versions := []string{"", "TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"}
	c.oneOf(field+".TLSMinVersion", minimum, versions...)
	c.oneOf(field+".TLSMaxVersion", maximum, versions...)
	low, high := slices.Index(versions, minimum), slices.Index(versions, maximum)
	if low > 1 && high > 1 && low > high {
		c.fail(field, "TLSMinVersion %s is above TLSMaxVersion %s", minimum, maximum)
	}
	if len(ciphers) > 0 && minimum == "TLSv1_3" {
		c.fail(field+".CipherSuites", "cannot be chosen with TLSv1_3: leave them out or lower TLSMinVersion")
	}
	for _, name := range ciphers {
		c.oneOf(field+".CipherSuites", name, tlsCiphers...)
	}
}

var tlsCiphers = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
	"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
}

// gatewayTLS checks the TLS of a gateway's listeners.
func (c *checker) gatewayTLS(field string, t *GatewayTLS) {
	if t == nil {
		return
	}
	c.tls(field, t.TLSMinVersion, t.TLSMaxVersion, t.CipherSuites)
	c.sds(field, t.SDS)
}

func (c *checker) sds(field string, s *GatewaySDS) {
	if s != nil && s.CertResource == "" && s.ClusterName == "" {
		c.fail(field+".SDS", "is empty: set CertResource and ClusterName")
	}
}

// jwt checks what is asked of tokens.
func (c *checker) jwt(field string, providers []*JWTRequirementProvider) {
	if len(providers) == 0 {
		c.fail(field+".Providers", "is empty: name at least one entry of kind %s", EntryJWTProvider)
	}
	for i, p := range providers {
		at := fmt.Sprintf("%s.Providers[%d]", field, i)
		if p == nil || p.Name == "" {
			c.fail(at+".Name", "is missing")
			continue
		}
		for k, claim := range p.VerifyClaims {
			if claim == nil || len(claim.Path) == 0 || slices.Contains(claim.Path, "") || claim.Value == "" {
				c.fail(fmt.Sprintf("%s.VerifyClaims[%d]", at, k), "must have Path and Value")
			}
		}
	}
}

// passive checks when instances are left out.
func (c *checker) passive(field string, p *PassiveHealthCheck) {
	if p == nil {
		return
	}
	atLeast0(c, field+".Interval", p.Interval)
	c.percent(field+".EnforcingConsecutive5xx", p.EnforcingConsecutive5xx)
	c.percent(field+".EnforcingConsecutiveGatewayFailure", p.EnforcingConsecutiveGatewayFailure)
	c.percent(field+".MaxEjectionPercent", p.MaxEjectionPercent)
	if p.BaseEjectionTime != nil && *p.BaseEjectionTime < time.Duration(0) {
		c.fail(field+".BaseEjectionTime", "%v is negative", *p.BaseEjectionTime)
	}
}

// limits checks bounds on one upstream.
func (c *checker) limits(field string, l *UpstreamLimits) {
	if l == nil {
		return
	}
	for _, bound := range []struct {
		name  string
		value *int
	}{{".MaxConnections", l.MaxConnections}, {".MaxPendingRequests", l.MaxPendingRequests}, {".MaxConcurrentRequests", l.MaxConcurrentRequests}} {
		if bound.value != nil {
			atLeast0(c, field+bound.name, *bound.value)
		}
	}
	c.passive(field+".PassiveHealthCheck", l.PassiveHealthCheck)
}

// address checks where something outside of the catalog is.
func (c *checker) address(field, address string) {
	if _, err := netip.ParseAddr(address); err != nil && !isHostname(address) {
		c.fail(field, "%.64q is neither an IP address nor a host name", address)
	}
}
