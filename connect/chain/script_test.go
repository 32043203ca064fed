package chain_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/chain"
)

var update = flag.Bool("update", false, "write what came out into the scripts, to be read before it is committed")

// TestScripts plays testdata/*.txt. A script is made of lines:
//
//	== TITLE                      begins a case, without entries
//	KIND/NAME JSON                an entry
//	compile SERVICE [dc=DC] [protocol=P] [gateway=MODE] [timeout=SPAN]
//	write KIND/NAME JSON          is refused, or is an entry from then on
//	delete KIND/NAME              is refused, or takes an entry away
//
// What is to come of the last three follows in indented lines, graphs as draw draws them.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file) })
	}
}

func play(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var entries []catalog.ConfigEntry
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for n := 0; n < len(lines); n++ {
		line := lines[n]
		out.WriteString(line + "\n")
		if strings.HasPrefix(line, "==") {
			entries = nil
		}
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "==") {
			continue
		}
		at, verb := n+1, strings.Fields(line)[0]
		var want []string
		for ; n+1 < len(lines) && strings.HasPrefix(lines[n+1], "  "); n++ {
			want = append(want, lines[n+1][2:])
		}
		var got string
		switch verb {
		case "compile":
			got = compile(t, parseAsk(t, line), entries)
		case "write", "delete":
			entries, got = change(t, line, entries)
		default:
			entries = append(entries, parseEntry(t, line))
			continue
		}
		if got != strings.Join(want, "\n") && !*update {
			t.Errorf("%s:%d: %s\ngot:\n%s\nwant:\n%s", file, at, line, got, strings.Join(want, "\n"))
		}
		out.WriteString("  " + strings.ReplaceAll(got, "\n", "\n  ") + "\n")
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func parseEntry(t testing.TB, line string) catalog.ConfigEntry {
	head, body, _ := strings.Cut(line, " ")
	kind, name, ok := strings.Cut(head, "/")
	e := catalog.NewEntry(catalog.EntryKind(kind))
	if !ok || e == nil {
		t.Fatalf("%s: no such kind", line)
	}
	if body != "" {
		d := json.NewDecoder(strings.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	e.Head().Kind, e.Head().Name = catalog.EntryKind(kind), name
	return e
}

func parseAsk(t testing.TB, line string) chain.Request {
	fields := strings.Fields(line)
	r := chain.Request{Service: fields[1], Datacenter: "dc1", TrustDomain: "trust.consul"}
	for _, f := range fields[2:] {
		switch option, value, _ := strings.Cut(f, "="); option {
		case "dc":
			r.Datacenter = value
		case "protocol":
			r.Protocol = value
		case "gateway":
			r.MeshGateway.Mode = value
		case "timeout":
			span, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			r.ConnectTimeout = span
		default:
			t.Fatalf("%s: no such option", f)
		}
	}
	return r
}

// compile draws a chain, or says why there is none. The order of entries makes no difference, nor does it
// that they were compiled before.
func compile(t testing.TB, r chain.Request, entries []catalog.ConfigEntry) string {
	var first string
	for range 3 {
		made, err := chain.Compile(r, chain.SetOf(entries...))
		got := draw(made, err)
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("%s: two graphs of the same entries:\n%s\n%s", r.Service, first, got)
		}
		if err == nil {
			sound(t, made)
		} else if catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%s: %v has code %s", r.Service, err, catalog.CodeOf(err))
		}
		entries = slices.Clone(entries)
		rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	}
	return first
}

// change judges a write or a removal, and returns the entries after it.
func change(t testing.TB, line string, entries []catalog.ConfigEntry) ([]catalog.ConfigEntry, string) {
	verb, rest, _ := strings.Cut(line, " ")
	e := parseEntry(t, rest)
	h := e.Head()
	var before catalog.ConfigEntry
	var after []catalog.ConfigEntry
	for _, old := range entries {
		if strings.EqualFold(old.Head().String(), h.String()) {
			before = old
		} else {
			after = append(after, old)
		}
	}
	if verb == "write" {
		after = append(after, e)
	}
	if err := chain.Judge(chain.SetOf(after...), h.Kind, h.Name, before); err != nil {
		return entries, "refused: " + err.Error()
	}
	return after, "ok"
}

// draw draws a chain as text: its head, and each node where a walk from the start first comes to it, with
// the targets behind resolvers.
func draw(c *catalog.DiscoveryChain, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", c.Protocol, short(c.StartNode))
	flagged(&b, c.Default, "default")
	flagged(&b, c.CustomizationHash != "", "hash "+c.CustomizationHash)
	flagged(&b, len(c.ServiceMeta) > 0, fmt.Sprint(c.ServiceMeta))
	seen := map[string]bool{}
	for walk := []string{c.StartNode}; len(walk) > 0; walk = walk[1:] {
		if seen[walk[0]] {
			continue
		}
		seen[walk[0]] = true
		walk = append(walk, drawNode(&b, c, c.Nodes[walk[0]])...)
	}
	return b.String()
}

func drawNode(b *strings.Builder, c *catalog.DiscoveryChain, n *catalog.ChainNode) (next []string) {
	fmt.Fprintf(b, "\n%s %s", n.Type, short(n.Name))
	flagged(b, n.LoadBalancer != nil, "balance "+text(n.LoadBalancer))
	for _, r := range n.Routes {
		next = append(next, r.NextNode)
		fmt.Fprintf(b, "\n  %s → %s", text(r.Definition), short(r.NextNode))
		if r.MirrorNode != "" {
			next = append(next, r.MirrorNode)
			fmt.Fprintf(b, ", copies → %s", short(r.MirrorNode))
		}
	}
	for _, s := range n.Splits {
		next = append(next, s.NextNode)
		fmt.Fprintf(b, "\n  %v%% → %s", s.Weight, short(s.NextNode))
		for _, h := range []struct {
			of   string
			mods *catalog.HeaderModifiers
		}{{"request", s.Definition.RequestHeaders}, {"response", s.Definition.ResponseHeaders}} {
			flagged(b, h.mods != nil, h.of+" "+text(h.mods))
		}
	}
	if r := n.Resolver; r != nil {
		flagged(b, r.Default, "default")
		flagged(b, r.RequestTimeout != 0, "requests "+r.RequestTimeout.String())
		b.WriteString("\n  " + drawTarget(c.Targets[r.Target]))
		if r.Failover != nil {
			for _, id := range r.Failover.Targets {
				b.WriteString("\n  else " + drawTarget(c.Targets[id]))
			}
			flagged(b, r.Failover.Policy != nil, text(r.Failover.Policy))
		}
	}
	return next
}

func drawTarget(t *catalog.ChainTarget) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s", short(t.ID), t.ConnectTimeout)
	flagged(&b, t.Subset != (catalog.ServiceSubset{}), text(t.Subset))
	flagged(&b, t.MeshGateway.Mode != "", "gateway "+t.MeshGateway.Mode)
	flagged(&b, t.TransparentProxy != (catalog.TransparentProxy{}), text(t.TransparentProxy))
	flagged(&b, t.External, "external "+t.SNI)
	flagged(&b, t.PrioritizeByLocality != nil, text(t.PrioritizeByLocality))
	return b.String()
}

func flagged(b *strings.Builder, is bool, what string) {
	if is {
		b.WriteString(", " + what)
	}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// short leaves the one namespace and partition out of a name.
func short(name string) string {
	name = strings.TrimPrefix(name, "resolver:")
	if name = strings.Replace(name, ".default.default.external.", "@peer ", 1); strings.Contains(name, "@") {
		return name
	}
	return strings.Replace(strings.Replace(name, ".default.default.", "@", 1), ".default.default", "", 1)
}

// sound reports what is wrong with a graph, whatever it was made of.
func sound(t testing.TB, c *catalog.DiscoveryChain) {
	t.Helper()
	if err := unsound(c); err != nil {
		t.Errorf("%s: %v", c.ServiceName, err)
	}
}

// unsound is what is wrong with a graph: every path has to end at a target, without a detour; what no path
// leads to is not there.
func unsound(c *catalog.DiscoveryChain) error {
	nodes, targets := map[string]bool{}, map[string]bool{}
	var walk func(name string, after catalog.ChainNodeType) error
	walk = func(name string, after catalog.ChainNodeType) error {
		n := c.Nodes[name]
		if n == nil {
			return fmt.Errorf("there is no node %q", name)
		}
		if n.Type == catalog.ChainRouter && after != "" || n.Type == catalog.ChainSplitter && after != "" && after != catalog.ChainRouter {
			return fmt.Errorf("%s comes after a %s", name, after)
		}
		if nodes[name] {
			return nil
		}
		nodes[name] = true
		switch n.Type {
		case catalog.ChainRouter:
			for _, r := range n.Routes {
				for _, to := range []string{r.NextNode, r.MirrorNode} {
					if to == "" && to != r.NextNode {
						continue
					}
					if err := walk(to, n.Type); err != nil {
						return err
					}
				}
			}
			return catchesAll(n)
		case catalog.ChainSplitter:
			units := 0.0
			for _, s := range n.Splits {
				units += float64(s.Weight)
				if err := walk(s.NextNode, n.Type); err != nil {
					return err
				}
			}
			if units < 100-1e-3 || units > 100+1e-3 {
				return fmt.Errorf("%s: the splits make %v", name, units)
			}
			return nil
		case catalog.ChainResolver:
			targets[n.Resolver.Target] = true
			if f := n.Resolver.Failover; f != nil {
				for _, id := range f.Targets {
					if id == n.Resolver.Target {
						return fmt.Errorf("%s fails over to itself", name)
					}
					targets[id] = true
				}
			}
			return nil
		}
		return fmt.Errorf("%s is of type %q", name, n.Type)
	}
	if err := walk(c.StartNode, ""); err != nil {
		return err
	}
	for name := range c.Nodes {
		if !nodes[name] {
			return fmt.Errorf("nothing leads to node %s", name)
		}
	}
	for id, target := range c.Targets {
		if !targets[id] || target.ID != id {
			return fmt.Errorf("nothing leads to target %s", id)
		}
	}
	if len(targets) != len(c.Targets) {
		return errors.New("there are nodes without their target")
	}
	return nil
}

// catchesAll checks that the last route of a router takes what no other took.
func catchesAll(n *catalog.ChainNode) error {
	last := n.Routes[len(n.Routes)-1].Definition
	if m := last.Match.HTTP; m.PathPrefix != "/" || len(m.Header) > 0 || len(m.QueryParam) > 0 || len(m.Methods) > 0 {
		return fmt.Errorf("%s: its last route matches only %s", n.Name, text(m))
	}
	return nil
}
