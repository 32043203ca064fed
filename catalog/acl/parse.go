package acl

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/hcl"
)

const (
	// MaxRules is how many bytes the text of a policy's rules may have.
	MaxRules = 512 << 10
	// MaxName is how many bytes the name in a rule may have.
	MaxName = 4096
)

// Parse reads the rules of a policy, written in HCL or JSON. What it does not know is an error, so that no rule is
// left out by a slip of the pen. Only a resource with a name unlike all that there are has no effect, as with Consul,
// whose policies may speak of what is not there; Unknown tells of it. A rule that stands twice is one, unless the two contradict each other. Errors
// have code invalid and name the line and the rule.
// Source: https://developer.hashicorp.com/consul/docs/reference/acl/rule
func Parse(text string) (*Rules, error) {
	if len(text) > MaxRules {
		return nil, catalog.Errorf(catalog.Invalid, "rules have %d bytes, at most %d are allowed", len(text), MaxRules)
	}
	data := bytes.TrimSpace([]byte(text))
	p := parser{at: map[place]int{}}
	read := readHCL
	if bytes.HasPrefix(data, []byte("{")) {
		read = readJSON
	}
	if err := read([]byte(text), &p); err != nil {
		var syntax *hcl.Error
		if errors.As(err, &syntax) {
			return nil, catalog.Errorf(catalog.Invalid, "rules: %s", syntax.Msg)
		}
		return nil, catalog.Errorf(catalog.Invalid, "rules: %w", err)
	}
	slices.SortFunc(p.rules, func(a, b rule) int { return a.place.compare(b.place) })
	return &Rules{list: p.rules, unknown: p.unknown}, nil
}

// parser collects rules from the keys and values of a document.
type parser struct {
	rules []rule
	at    map[place]int // where in rules
	// unknown says of each resource that does not exist where it stands.
	unknown []string
}

// member is a key of a document with its value: a text or an object. Lists of objects are one member for each.
type member struct {
	key    string
	line   int
	kind   kind
	text   string
	object []member
}

type kind uint8

const (
	isObject kind = iota
	isText
	isOther
)

func (m *member) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{m.line}, args...)...)
}

// single are the resources of which there is only one.
var single = []Resource{ACL, Keyring, Mesh, Operator, Peering}

// many are the resources with names.
var many = []Resource{Agent, Event, Identity, Key, Node, Query, Service, Session}

// resources are the names of all.
var resources = func() (names []string) {
	for _, r := range slices.Concat(single, many) {
		names = append(names, string(r))
	}
	return names
}()

// paid are the resources of Consul Enterprise, which has several tenants.
var paid = []string{"namespace", "namespace_prefix", "partition", "partition_prefix"}

// rule reads one key of the document.
func (p *parser) rule(m *member) error {
	if resource := Resource(m.key); slices.Contains(single, resource) {
		l, err := m.level(string(resource), false)
		if err != nil {
			return err
		}
		return p.add(m, rule{place: place{resource: resource}, level: l})
	}
	name, prefix := strings.CutSuffix(m.key, "_prefix")
	resource := Resource(name)
	if !slices.Contains(many, resource) {
		return p.strange(m, resource)
	}
	if m.kind != isObject {
		return m.errorf("%s: want a name and a policy, as in %s \"web\" { policy = \"read\" }", m.key, m.key)
	}
	for i := range m.object {
		if err := p.named(&m.object[i], place{resource: resource, prefix: prefix, name: m.object[i].key}); err != nil {
			return err
		}
	}
	return nil
}

// strange reads a resource that there is none of.
func (p *parser) strange(m *member, resource Resource) error {
	near := catalog.Nearest(string(resource), resources)
	switch {
	case slices.Contains(paid, m.key):
		return m.errorf("%s: there are no namespaces and partitions: write its rules at the top", m.key)
	case resource == "intention" || resource == "intentions":
		return m.errorf("unknown resource %s: intentions are a field of the rules of service", quote(m.key))
	case slices.Contains(single, resource):
		return m.errorf("unknown resource %s: there is only one %s, without a name", quote(m.key), resource)
	case near != "":
		return m.errorf("unknown resource %s: did you mean %s?", quote(m.key), near)
	}
	p.unknown = append(p.unknown, m.errorf("there is no resource %s: what is said of it has no effect", quote(m.key)).Error())
	return nil
}

// named reads the block of one name.
func (p *parser) named(m *member, at place) error {
	what := quote(m.key)
	switch {
	case len(m.key) > MaxName:
		return m.errorf("%s: a name of %d bytes, at most %d are allowed", at.resource, len(m.key), MaxName)
	case !utf8.ValidString(m.key):
		return m.errorf("%s: a name that is not UTF-8", at.resource)
	case m.kind != isObject:
		return m.errorf("%s %s: want a block with a policy", at.resource, what)
	}
	r := rule{place: at}
	for i := range m.object {
		field := &m.object[i]
		into := &r.level
		switch {
		case field.key == "policy":
		case field.key == "intentions" && (at.resource == Service || at.resource == Identity):
			into = &r.intentions
		case field.key == "sentinel":
			return field.errorf("%s %s: there is no Sentinel: leave it out", at.resource, what)
		default:
			return field.errorf("%s %s: unknown field %s: want policy", at.resource, what, quote(field.key))
		}
		l, err := field.level(string(at.resource)+" "+what, at.resource == Key)
		if err != nil {
			return err
		}
		if *into != unset && *into != l {
			return field.errorf("%s %s: %s is %s and %s: keep one", at.resource, what, field.key, *into, l)
		}
		*into = l
	}
	if r.level == unset {
		return m.errorf("%s %s: has no policy: want read, write or deny", at.resource, what)
	}
	return p.add(m, r)
}

func (p *parser) add(m *member, r rule) error {
	at, again := p.at[r.place]
	if !again {
		p.at[r.place] = len(p.rules)
		p.rules = append(p.rules, r)
		return nil
	}
	if before := p.rules[at]; before != r {
		return m.errorf("%s stands twice and contradicts itself: keep one", r.place)
	}
	return nil
}

// level is a member's value as that of a policy.
func (m *member) level(of string, lists bool) (level, error) {
	l, ok := levels[m.text]
	switch {
	case m.kind != isText:
		return unset, m.errorf("%s: want read, write or deny in quotes", of)
	case l == levelList && !lists:
		return unset, m.errorf("%s: list is for keys only: want read, write or deny", of)
	case !ok:
		want := "want read, write or deny"
		if lists {
			want = "want read, list, write or deny"
		}
		return unset, m.errorf("%s: unknown policy %s: %s", of, quote(m.text), want)
	}
	return l, nil
}

// quote shows text of the document, not too much of it.
func quote(text string) string {
	const most = 64
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return fmt.Sprintf("%q", text)
}
