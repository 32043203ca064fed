package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTreeModel compares a tree with a map under random edits. Every cell handed out must have
// fired when what it stands for reads differently, and old versions must not change.
func TestTreeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[ab\x00]{0,5}`)
		root, model := newRoot[string](), map[string]string{}
		type watched struct {
			key    string
			prefix bool
			was    string
			cell   *cell
		}
		look := func(key string, prefix bool) watched {
			w := watched{key: key, prefix: prefix}
			if prefix {
				var top *node[string]
				if top, w.cell = root.seek([]byte(key)); top != nil {
					top.each(func(row *string) bool { w.was += *row + ";"; return true })
				}
				return w
			}
			row, c := root.get([]byte(key))
			if w.cell = c; row != nil {
				w.was = *row
			}
			return w
		}
		read := func(root *node[string]) (all []string) {
			root.each(func(row *string) bool { all = append(all, *row); return true })
			return all
		}
		var watching []watched
		for serial := uint64(1); serial < 8; serial++ {
			for range 12 {
				w := look(key.Draw(t, "watch"), rapid.Bool().Draw(t, "prefix"))
				if rapid.Bool().Draw(t, "waits") {
					w.cell.channel()
				}
				watching = append(watching, w)
			}
			old, before := root, read(root)
			e := &edit{serial: serial}
			for range rapid.IntRange(1, 6).Draw(t, "edits") {
				k := key.Draw(t, "key")
				if rapid.Bool().Draw(t, "remove") {
					next, was := root.remove(e, []byte(k))
					if (was != nil) != (model[k] != "") || was != nil && *was != model[k] {
						t.Fatalf("remove %q returned %v, want %q", k, was, model[k])
					}
					delete(model, k)
					root = next
					continue
				}
				row := fmt.Sprintf("%q=%d", k, rapid.IntRange(0, 1000).Draw(t, "value"))
				root, _ = root.insert(e, []byte(k), &row)
				model[k] = row
			}
			e.publish()
			if got := read(old); !slices.Equal(got, before) {
				t.Fatalf("the old version changed from %q to %q", before, got)
			}
			watching = slices.DeleteFunc(watching, func(w watched) bool { return w.cell.fired() })
			for _, w := range watching {
				if now := look(w.key, w.prefix); now.was != w.was {
					t.Fatalf("%q (prefix %v) went from %q to %q unnoticed", w.key, w.prefix, w.was, now.was)
				}
			}
			var want []string
			for k := range model {
				want = append(want, k)
			}
			slices.Sort(want)
			after, from := key.Draw(t, "after"), len(want)
			for i, k := range want {
				if k > after {
					from = min(from, i)
				}
				want[i] = model[k]
			}
			var behind []string
			root.eachAfter([]byte(after), func(row *string) bool { behind = append(behind, *row); return true })
			if !slices.Equal(behind, want[from:]) {
				t.Fatalf("behind %q are %q, want %q", after, behind, want[from:])
			}
			if got := read(root); !slices.Equal(got, want) {
				t.Fatalf("holds %q, want %q", got, want)
			}
			tidy(t, root, true)
		}
	})
}

// tidy checks the form of a tree: forks fork, edges are sorted and lead where they say.
func tidy(t *rapid.T, n *node[string], root bool) {
	if n.below == nil {
		if n.row == nil {
			t.Fatal("a leaf without a row")
		}
		return
	}
	if !root && (len(n.below.edges) == 0 || len(n.below.edges) == 1 && n.row == nil) {
		t.Fatalf("a fork %q with %d edges, row %v", n.prefix, len(n.below.edges), n.row)
	}
	last := -1
	for _, e := range n.below.edges {
		if int(e.label) <= last || e.to.prefix == "" || e.to.prefix[0] != e.label {
			t.Fatalf("edge %q behind %q leads to %q", e.label, rune(last), e.to.prefix)
		}
		last = int(e.label)
		tidy(t, e.to, false)
	}
}

// TestTreePrecision counts how often cells fire for nothing while 10,000 keys come, change and go.
func TestTreePrecision(t *testing.T) {
	root, serial := newRoot[string](), uint64(0)
	edited := func(f func(e *edit)) {
		serial++
		e := &edit{serial: serial}
		f(e)
		e.publish()
	}
	put := func(k string) {
		edited(func(e *edit) { root, _ = root.insert(e, []byte(k), &k) })
	}
	for _, k := range []string{"app", "app/config/a", "app/config/b", "lock/7", "zoo"} {
		put(k)
	}
	looks := []string{"app", "app/config/a", "app/config/missing", "lock/77", "missing", "app/config", "zoo/x"}
	fired := 0
	cells := map[string]*cell{}
	rearm := func() {
		for _, k := range looks {
			for _, kind := range []string{"get ", "seek "} {
				c := cells[kind+k]
				if c != nil && !c.fired() {
					continue
				}
				if c != nil {
					fired++
				}
				if kind == "get " {
					_, cells[kind+k] = root.get([]byte(k))
				} else if strings.HasPrefix(k, "app/") || k == "missing" || k == "lock/77" || k == "zoo/x" {
					_, cells[kind+k] = root.seek([]byte(k))
				}
			}
		}
	}
	rearm()
	for i := range 10_000 {
		put(fmt.Sprintf("%s/%d", []string{"other", "app/data", "lock/1", "net"}[i%4], i*7919%10_000))
		rearm()
	}
	if fired > 30 {
		t.Errorf("10,000 unrelated writes fired %d of %d cells for nothing", fired, len(cells))
	}
}
