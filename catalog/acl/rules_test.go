package acl_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/catalog/acl"
)

// said is a rule as a test writes it.
type said struct {
	resource, name, policy, intentions string
	prefix                             bool
}

func (s said) String() string {
	resource := s.resource
	if s.prefix {
		resource += "_prefix"
	}
	if s.intentions != "" {
		return fmt.Sprintf("%s %q { policy = %q intentions = %q }\n", resource, s.name, s.policy, s.intentions)
	}
	return fmt.Sprintf("%s %q { policy = %q }\n", resource, s.name, s.policy)
}

// strictness orders what two policies say of one place.
var strictness = []string{"", "read", "list", "write", "deny"}

func stricter(a, b string) string {
	if slices.Index(strictness, b) > slices.Index(strictness, a) {
		return b
	}
	return a
}

// slow answers as the documentation describes, looking at every rule for every question.
type slow struct {
	allow bool
	rules []said
}

// on merges what is said of one place.
func (m slow) on(resource, name string, prefix bool) (policy, intentions string, found bool) {
	for _, r := range m.rules {
		if r.resource == resource && r.name == name && r.prefix == prefix {
			found, policy, intentions = true, stricter(policy, r.policy), stricter(intentions, r.intentions)
		}
	}
	if intentions == "" {
		if intentions = policy; policy != "deny" {
			intentions = "read"
		}
	}
	return policy, intentions, found
}

func (m slow) level(resource, name string, exact bool) string {
	of, intention := resource, resource == "intention"
	if intention {
		of = "service"
	}
	pick := func(policy, intentions string) string {
		if intention {
			return intentions
		}
		return policy
	}
	if policy, intentions, found := m.on(of, name, false); found && exact {
		return pick(policy, intentions)
	}
	for n := len(name); n >= 0; n-- {
		if policy, intentions, found := m.on(of, name[:n], true); found {
			return pick(policy, intentions)
		}
	}
	return ""
}

func (m slow) enough(level, access string) bool {
	switch level {
	case "":
		return m.allow
	case "deny":
		return false
	case "write":
		return true
	case "list":
		return access != "write"
	}
	return access == "read"
}

func (m slow) allows(n acl.Need) bool {
	resource, access := string(n.Resource), string(n.Access)
	if n.Resource != acl.Key {
		n.Name = strings.ToLower(n.Name)
	}
	if part, prefix := strings.CutSuffix(access, "-prefix"); prefix {
		if !m.enough(m.level(resource, n.Name, false), part) {
			return false
		}
		for _, r := range m.rules {
			if r.resource == resource && strings.HasPrefix(r.name, n.Name) {
				if policy, _, _ := m.on(resource, r.name, r.prefix); !m.enough(policy, part) {
					return false
				}
			}
		}
		return true
	}
	if resource == "intention" && n.Name == "*" {
		root := m.enough(m.level(resource, "", false), access)
		some, all := root, root
		for _, r := range m.rules {
			if r.resource == "service" {
				_, intentions, _ := m.on("service", r.name, r.prefix)
				some, all = some || m.enough(intentions, access), all && m.enough(intentions, access)
			}
		}
		if access == "write" {
			return all
		}
		return some
	}
	return m.enough(m.level(resource, n.Name, true), access)
}

// TestCompile holds compiled authorizers to a slow reading of the same rules. Names are short and of few letters, so
// that they are often equal and often prefixes of one another.
func TestCompile(t *testing.T) {
	name := rapid.StringMatching(`[aAb*]{0,4}`)
	resource := rapid.SampledFrom([]string{"key", "service"})
	policy := rapid.Custom(func(t *rapid.T) []said {
		at := map[said]said{}
		for range rapid.IntRange(0, 8).Draw(t, "rules") {
			s := said{resource: resource.Draw(t, "resource"), name: name.Draw(t, "name"), prefix: rapid.Bool().Draw(t, "prefix")}
			place := s
			s.policy = rapid.SampledFrom([]string{"read", "write", "deny"}).Draw(t, "policy")
			if s.resource == "service" {
				s.intentions = rapid.SampledFrom([]string{"", "read", "write", "deny"}).Draw(t, "intentions")
			} else if rapid.Bool().Draw(t, "list") {
				s.policy = "list"
			}
			at[place] = s
		}
		return slices.Collect(maps.Values(at))
	})
	rapid.Check(t, func(t *rapid.T) {
		model := slow{allow: rapid.Bool().Draw(t, "allow")}
		var sets []*acl.Rules
		for range rapid.IntRange(0, 3).Draw(t, "policies") {
			var text strings.Builder
			all := policy.Draw(t, "policy")
			for _, s := range all {
				text.WriteString(s.String())
			}
			set, err := acl.Parse(text.String())
			if err != nil {
				t.Fatalf("%s: %v", &text, err)
			}
			again, err := acl.Parse(set.String())
			if err != nil || again.String() != set.String() {
				t.Fatalf("%s became %s: %v", set, again, err)
			}
			for i, s := range all {
				if s.resource == "service" {
					all[i].name = strings.ToLower(s.name)
				}
			}
			model.rules, sets = append(model.rules, all...), append(sets, set)
		}
		def := acl.Deny
		if model.allow {
			def = acl.Allow
		}
		az := acl.Compile(def, sets...)
		for range 20 {
			n := acl.Need{
				Resource: rapid.SampledFrom([]acl.Resource{acl.Key, acl.Service, acl.Intention}).Draw(t, "of"),
				Name:     name.Draw(t, "name"),
				Access:   rapid.SampledFrom([]acl.Access{acl.Read, acl.List, acl.Write, acl.ReadPrefix, acl.WritePrefix}).Draw(t, "access"),
			}
			if n.Access == acl.ReadPrefix || n.Access == acl.WritePrefix || n.Access == acl.List {
				n.Resource = acl.Key
			}
			if got, want := az.Allows(n), model.allows(n); got != want {
				t.Fatalf("%v: %v, want %v (%s)\nrules %v", n, got, want, acl.Explain(az, n), model.rules)
			}
		}
		slices.Reverse(sets)
		if acl.Compile(def, sets...).View() != az.View() {
			t.Fatal("the order of policies changes the view")
		}
	})
}

// TestView: authorizers that see the same share answers, others must not.
func TestView(t *testing.T) {
	compile := func(def acl.Effect, texts ...string) string {
		var sets []*acl.Rules
		for _, text := range texts {
			r, err := acl.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			sets = append(sets, r)
		}
		return acl.Compile(def, sets...).View()
	}
	a, b := `key "a" { policy = "read" }`, `service "b" { policy = "write" }`
	same := compile(acl.Deny, a, b)
	for _, texts := range [][]string{{b, a}, {a + "\n" + b}, {`{"service":{"b":{"policy":"write"}},"key":{"a":{"policy":"read"}}}`}, {a, b, a}} {
		if compile(acl.Deny, texts...) != same {
			t.Errorf("%q has another view", texts)
		}
	}
	seen := map[string]bool{same: true, "": true}
	for _, view := range []string{
		compile(acl.Allow, a, b), compile(acl.Deny), compile(acl.Allow), compile(acl.Deny, a), compile(acl.Deny, strings.Replace(a, "key", "key_prefix", 1)),
		compile(acl.Deny, `key "a\" { policy = \"read\" }" { policy = "read" }`), compile(acl.Deny, `service "b" { policy = "write" intentions = "write" }`),
		acl.DenyAll().View(),
	} {
		if seen[view] {
			t.Errorf("view %q stands for two", view)
		}
		seen[view] = true
	}
	if acl.As("x", acl.ManageAll()).View() != "" {
		t.Error("management does not see everything")
	}
}

// FuzzParse: no text panics, and what is accepted means the same when it is written in the plain way.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `acl = "read"`, `key "a" { policy = "list" } service_prefix "" { policy = "read" intentions = "write" }`,
		`{"key":[{"a":[{"policy":"read"}]}],"operator":"write"}`, "key \"a\" {\n policy = <<E\nread\nE\n}", `key = [{a = {policy = "read"}}, 1]`,
		`key "\u00e9\n" { policy = "deny" } # remark`, `{"key":{"a":{"policy":"read"},"a":{"policy":"deny"}}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := acl.Parse(text)
		if err != nil {
			return
		}
		again, err := acl.Parse(rules.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", text, rules, err)
		}
		if again.String() != rules.String() || acl.Compile(acl.Deny, again, rules).View() != acl.Compile(acl.Deny, rules).View() {
			t.Fatalf("%q became %q and then %q", text, rules, again)
		}
	})
}

func BenchmarkAllows(b *testing.B) {
	var text strings.Builder
	text.WriteString(`key_prefix "" { policy = "read" } service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }` + "\n")
	for i := range 100 {
		fmt.Fprintf(&text, "key_prefix \"app/%d/\" { policy = \"write\" }\nservice \"web-%d\" { policy = \"write\" }\n", i, i)
	}
	rules, err := acl.Parse(text.String())
	if err != nil {
		b.Fatal(err)
	}
	small, err := acl.Parse(`key_prefix "" { policy = "read" } service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	if err != nil {
		b.Fatal(err)
	}
	for _, az := range []struct {
		name string
		acl.Authorizer
	}{{"3 rules", acl.As("x", acl.Compile(acl.Deny, small))}, {"203 rules", acl.As("x", acl.Compile(acl.Deny, rules))}} {
		for _, need := range []acl.Need{{Resource: acl.Key, Name: "app/42/settings/x", Access: acl.Read}, {Resource: acl.Service, Name: "web-7", Access: acl.Read}, {Resource: acl.Operator, Access: acl.Read}} {
			b.Run(az.name+"/"+string(need.Resource), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					az.Allows(need)
				}
			})
		}
	}
}
