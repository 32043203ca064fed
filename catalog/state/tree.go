package state

import (
	"slices"
	"sort"
)

// An index is a radix tree from keys to rows (Morrison, "PATRICIA", 1968). A published version of it
// never changes: an edit copies the nodes on the way to what it changes, and shares the others. Whoever
// reads can ask for a cell that fires when what was read changes; a cell costs nothing until somebody
// waits for it.

// node is a place in the tree: the end of a key, a fork, or both.
type node[T any] struct {
	changed cell       // fires when the row, or anything below, changes
	row     *T         // nil at mere forks
	prefix  string     // the part of the key between the parent and here
	below   *branch[T] // nil at leaves
}

// branch is what a node has below it.
type branch[T any] struct {
	owner uint64 // serial of the edit that may change the branch, and its node, in place
	grown *cell  // fires when a key may have come below that was missing
	own   *cell  // fires when the node's own row changes, whatever happens below
	edges []edge[T]
}

// edge leads to a child, whose prefix begins with the label. Edges are sorted by label.
type edge[T any] struct {
	label byte
	to    *node[T]
}

// edit is a transaction's right to make new versions of trees. Cells that have to fire when it is
// published wait in dead.
type edit struct {
	serial uint64
	dead   []*cell
}

// publish fires the cells of what the edit replaced.
func (e *edit) publish() {
	for _, c := range e.dead {
		c.fire()
	}
	e.dead = nil
}

func newRoot[T any]() *node[T] { return &node[T]{below: newBranch[T](0)} }

func newBranch[T any](owner uint64, edges ...edge[T]) *branch[T] {
	return &branch[T]{owner: owner, grown: new(cell), own: new(cell), edges: edges}
}

// find returns the place of the edge with the label, or the place where it belongs.
func (b *branch[T]) find(label byte) (at int, ok bool) {
	if len(b.edges) <= 4 {
		for at = range b.edges {
			if b.edges[at].label >= label {
				return at, b.edges[at].label == label
			}
		}
		return len(b.edges), false
	}
	at = sort.Search(len(b.edges), func(i int) bool { return b.edges[i].label >= label })
	return at, at < len(b.edges) && b.edges[at].label == label
}

// get returns the row with the key, and the cell that fires when it changes, comes or goes.
func (n *node[T]) get(key []byte) (*T, *cell) {
	for len(key) > 0 {
		if n.below == nil {
			return nil, &n.changed
		}
		at, ok := n.below.find(key[0])
		if !ok {
			return nil, n.below.grown
		}
		child := n.below.edges[at].to
		if len(key) < len(child.prefix) || string(key[:len(child.prefix)]) != child.prefix {
			return nil, n.below.grown
		}
		key, n = key[len(child.prefix):], child
	}
	if n.below == nil {
		return n.row, &n.changed
	}
	return n.row, n.below.own
}

// seek returns the node that all keys with the prefix are at or under, nil when there are none, and the
// cell that fires when any of them changes, comes or goes.
func (n *node[T]) seek(prefix []byte) (*node[T], *cell) {
	for len(prefix) > 0 {
		if n.below == nil {
			return nil, &n.changed
		}
		at, ok := n.below.find(prefix[0])
		if !ok {
			return nil, n.below.grown
		}
		child := n.below.edges[at].to
		shared := common(child.prefix, prefix)
		if shared < len(child.prefix) && shared < len(prefix) {
			return nil, n.below.grown
		}
		prefix, n = prefix[shared:], child
	}
	return n, &n.changed
}

// each yields the rows at and under n in order of their keys, until yield says false.
func (n *node[T]) each(yield func(*T) bool) bool {
	if n.row != nil && !yield(n.row) {
		return false
	}
	if n.below == nil {
		return true
	}
	for i := range n.below.edges {
		if !n.below.edges[i].to.each(yield) {
			return false
		}
	}
	return true
}

// eachAfter is each of those whose keys come after one; key is what that has behind n's own.
func (n *node[T]) eachAfter(key []byte, yield func(*T) bool) bool {
	if n.below == nil {
		return true
	}
	for i := range n.below.edges {
		child := n.below.edges[i].to
		shared := common(child.prefix, key)
		goOn := true
		switch {
		case shared == len(child.prefix):
			goOn = child.eachAfter(key[shared:], yield)
		case shared == len(key) || child.prefix[shared] > key[shared]:
			goOn = child.each(yield)
		}
		if !goOn {
			return false
		}
	}
	return true
}

// writable returns n, or a copy in its place, with a branch that the edit may change.
func (n *node[T]) writable(e *edit) *node[T] {
	if n.below != nil && n.below.owner == e.serial {
		return n
	}
	e.dead = append(e.dead, &n.changed)
	next := &node[T]{row: n.row, prefix: n.prefix}
	if n.below == nil {
		next.below = newBranch[T](e.serial)
		return next
	}
	next.below = &branch[T]{owner: e.serial, grown: n.below.grown, own: n.below.own, edges: slices.Clone(n.below.edges)}
	return next
}

// growing notes that what was missing below may be there now.
func (b *branch[T]) growing(e *edit) {
	e.dead = append(e.dead, b.grown)
	b.grown = new(cell)
}

// turned notes that the node's own row changes.
func (b *branch[T]) turned(e *edit) {
	e.dead = append(e.dead, b.own)
	b.own = new(cell)
}

// insert returns the node in n's place with the row at key, and the row that was there.
func (n *node[T]) insert(e *edit, key []byte, row *T) (next *node[T], old *T) {
	if len(key) == 0 {
		old = n.row
		if n.below == nil {
			e.dead = append(e.dead, &n.changed)
			return &node[T]{row: row, prefix: n.prefix}, old
		}
		next = n.writable(e)
		next.below.turned(e)
		next.row = row
		return next, old
	}
	at, ok := 0, false
	if n.below != nil {
		at, ok = n.below.find(key[0])
	}
	if !ok {
		next = n.writable(e)
		next.below.growing(e)
		next.below.add(at, edge[T]{key[0], &node[T]{row: row, prefix: string(key)}})
		return next, nil
	}
	child := n.below.edges[at].to
	shared := common(child.prefix, key)
	if shared == len(child.prefix) {
		child, old = child.insert(e, key[shared:], row)
		next = n.writable(e)
	} else {
		next = n.writable(e)
		next.below.growing(e)
		child = child.split(e, shared, key[shared:], row)
	}
	next.below.edges[at].to = child
	return next, old
}

// split returns a fork in n's place that has n below the first at bytes of its prefix, beside or under
// the row with the rest of a key.
func (n *node[T]) split(e *edit, at int, rest []byte, row *T) *node[T] {
	e.dead = append(e.dead, &n.changed)
	lower := edge[T]{n.prefix[at], &node[T]{row: n.row, prefix: n.prefix[at:], below: n.below}}
	fork := &node[T]{prefix: n.prefix[:at], below: newBranch(e.serial, lower)}
	if len(rest) == 0 {
		fork.row = row
		return fork
	}
	place, _ := fork.below.find(rest[0])
	fork.below.add(place, edge[T]{rest[0], &node[T]{row: row, prefix: string(rest)}})
	return fork
}

// add puts an edge at its place. Small branches have no room to spare, for most never grow again.
func (b *branch[T]) add(at int, added edge[T]) {
	if n := len(b.edges); n == cap(b.edges) {
		edges := make([]edge[T], n, n+1+n/8*2)
		copy(edges, b.edges)
		b.edges = edges
	}
	b.edges = slices.Insert(b.edges, at, added)
}

// remove returns the node in n's place without the row at key, nil when nothing is left of it, and the
// row that was there.
func (n *node[T]) remove(e *edit, key []byte) (next *node[T], old *T) {
	if len(key) == 0 {
		if n.row == nil {
			return n, nil
		}
		if old = n.row; n.below == nil {
			e.dead = append(e.dead, &n.changed)
			return nil, old
		}
		next = n.writable(e)
		next.below.turned(e)
		next.row = nil
		return next.tidied(e), old
	}
	if n.below == nil {
		return n, nil
	}
	at, ok := n.below.find(key[0])
	if !ok {
		return n, nil
	}
	child := n.below.edges[at].to
	if len(key) < len(child.prefix) || string(key[:len(child.prefix)]) != child.prefix {
		return n, nil
	}
	child, old = child.remove(e, key[len(child.prefix):])
	if old == nil {
		return n, nil
	}
	next = n.writable(e)
	if child == nil {
		next.below.edges = slices.Delete(next.below.edges, at, at+1)
	} else {
		next.below.edges[at].to = child
	}
	return next.tidied(e), old
}

// tidied returns what stands for a writable node after a removal: a fork with one way to go is joined
// with its child, a row with nothing below is a leaf. The root stays as it is.
func (n *node[T]) tidied(e *edit) *node[T] {
	if n.prefix == "" || len(n.below.edges) > 1 || len(n.below.edges) == 1 && n.row != nil {
		return n
	}
	e.dead = append(e.dead, n.below.grown, n.below.own)
	if n.row != nil {
		return &node[T]{row: n.row, prefix: n.prefix}
	}
	child := n.below.edges[0].to
	e.dead = append(e.dead, &child.changed)
	return &node[T]{row: child.row, prefix: n.prefix + child.prefix, below: child.below}
}

// common is how many bytes a and b begin with alike.
func common(a string, b []byte) int {
	n := min(len(a), len(b))
	if n > 0 && string(b[:n]) == a[:n] {
		return n
	}
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
