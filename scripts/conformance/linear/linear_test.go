package linear

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// at is a call of object "o" from one moment to another one.
func at(from, to time.Duration, c Call, a Answer) *Entry {
	c.Object = "o"
	return &Entry{Call: c, Answer: a, From: from, To: to, done: true}
}

func put(slot int, value string) Call { return Call{Verb: Write, Set: []Cell{{slot, value}}} }

func cas(slot int, old, value string) Call {
	return Call{Verb: Write, Expect: []Cell{{slot, old}}, Set: []Cell{{slot, value}}}
}

func get(from, to time.Duration, values ...string) *Entry {
	return at(from, to, Call{Verb: Read, Read: []int{0, 1, 2}[:len(values)]}, Answer{Values: values})
}

func lock(v Verb, session string) Call { return Call{Verb: v, Session: session} }

func holder(from, to time.Duration, session string, index uint64) *Entry {
	return at(from, to, Call{Verb: Holder}, Answer{Holder: session, LockIndex: index})
}

var (
	yes  = Answer{OK: true}
	no   = Answer{}
	lost = Answer{Unknown: true}
)

// Histories that could have happened, and, with one thing changed, those that a broken server would show. The judge has
// to tell them apart: one that always says yes would be worth nothing.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		what    string
		history []*Entry
		ok      bool
	}{
		{"a value is read", []*Entry{at(0, 1, put(0, "a"), yes), get(2, 3, "a")}, true},
		{"an acknowledged write is lost", []*Entry{at(0, 1, put(0, "a"), yes), get(2, 3, "")}, false},
		{"a read is stale", []*Entry{at(0, 1, put(0, "a"), yes), at(2, 3, put(0, "b"), yes), get(4, 5, "a")}, false},
		{"a read beside a write sees either", []*Entry{at(0, 1, put(0, "a"), yes), at(2, 9, put(0, "b"), yes), get(3, 4, "a"), get(5, 6, "b")}, true},
		{"reads beside a write go back", []*Entry{at(0, 1, put(0, "a"), yes), at(2, 9, put(0, "b"), yes), get(3, 4, "b"), get(5, 6, "a")}, false},
		{"a value nobody wrote", []*Entry{get(0, 1, "x")}, false},
		{"a write without an answer is seen late", []*Entry{at(0, 1, put(0, "a"), lost), get(2, 3, ""), get(4, 5, "a")}, true},
		{"and never", []*Entry{at(0, 1, put(0, "a"), lost), get(2, 3, "")}, true},
		{"but not before it was sent", []*Entry{get(0, 1, "a"), at(2, 3, put(0, "a"), lost)}, false},
		{"it is applied twice", []*Entry{at(0, 1, put(0, "a"), lost), get(2, 3, "a"), at(4, 5, put(0, "b"), yes), get(6, 7, "a")}, false},
		{"a delete", []*Entry{at(0, 1, put(0, "a"), yes), at(2, 3, put(0, ""), yes), get(4, 5, "")}, true},
		{"a delete comes back", []*Entry{at(0, 1, put(0, "a"), yes), at(2, 3, put(0, ""), yes), get(4, 5, "a")}, false},

		{"one of two check-and-sets wins", []*Entry{at(0, 5, cas(0, "", "a"), yes), at(0, 5, cas(0, "", "b"), no), get(6, 7, "a")}, true},
		{"both win", []*Entry{at(0, 5, cas(0, "", "a"), yes), at(0, 5, cas(0, "", "b"), yes)}, false},
		{"none wins", []*Entry{at(0, 1, cas(0, "", "a"), no)}, false},
		{"a refused one is applied", []*Entry{at(0, 1, put(0, "a"), yes), at(2, 3, cas(0, "x", "b"), no), get(4, 5, "b")}, false},
		{"one without an answer may have won", []*Entry{at(0, 1, cas(0, "", "a"), lost), at(2, 3, cas(0, "", "b"), no)}, true},

		{"a transaction is seen whole", []*Entry{
			at(0, 5, Call{Verb: Write, Set: []Cell{{0, "a"}, {1, "b"}}}, yes), get(1, 2, "", ""), get(3, 4, "a", "b")}, true},
		{"half of it is seen", []*Entry{
			at(0, 5, Call{Verb: Write, Set: []Cell{{0, "a"}, {1, "b"}}}, yes), get(1, 2, "a", "")}, false},
		{"half of it is kept", []*Entry{
			at(0, 1, Call{Verb: Write, Expect: []Cell{{0, ""}}, Set: []Cell{{0, "a"}, {1, "b"}}}, yes), get(2, 3, "a", "")}, false},

		{"a lock goes from one to the other", []*Entry{at(0, 1, lock(Acquire, "s"), yes), at(2, 3, lock(Acquire, "t"), no), at(4, 5, lock(Release, "s"), yes),
			at(6, 7, lock(Acquire, "t"), yes), holder(8, 9, "t", 2)}, true},
		{"two hold it", []*Entry{at(0, 1, lock(Acquire, "s"), yes), at(2, 3, lock(Acquire, "t"), yes)}, false},
		{"a stranger releases it", []*Entry{at(0, 1, lock(Acquire, "s"), yes), at(2, 3, lock(Release, "t"), yes)}, false},
		{"again by its holder", []*Entry{at(0, 1, lock(Acquire, "s"), yes), at(2, 3, lock(Acquire, "s"), yes), holder(4, 5, "s", 1)}, true},
		{"the fencing token stands still", []*Entry{at(0, 1, lock(Acquire, "s"), yes), at(2, 3, lock(Release, "s"), yes),
			at(4, 5, lock(Acquire, "t"), yes), holder(6, 7, "t", 1)}, false},
		{"the fencing token may grow by more", []*Entry{at(0, 1, lock(Acquire, "s"), yes), holder(2, 3, "s", 7), at(4, 5, lock(Release, "s"), yes),
			at(6, 7, lock(Acquire, "t"), yes), holder(8, 9, "t", 8)}, true},
		{"but not without a new holder", []*Entry{at(0, 1, lock(Acquire, "s"), yes), holder(2, 3, "s", 7), holder(4, 5, "s", 8)}, false},
		{"the fencing token goes back", []*Entry{at(0, 1, lock(Acquire, "s"), yes), holder(2, 3, "s", 7), at(4, 5, lock(Release, "s"), yes),
			at(6, 7, lock(Acquire, "t"), yes), holder(8, 9, "t", 2)}, false},
		{"the lock is forgotten", []*Entry{at(0, 1, lock(Acquire, "s"), yes), holder(2, 3, "", 1)}, false},
	} {
		dir := t.TempDir()
		h := &History{entries: c.history}
		v, err := h.Check(10*time.Second, dir)
		if err != nil || len(v.Undecided) > 0 || (len(v.Wrong) == 0) != c.ok || v.Objects != 1 {
			t.Errorf("%s: %+v %v, want ok %t", c.what, v, err, c.ok)
		}
		kept, err := os.ReadFile(filepath.Join(dir, "o.json"))
		if c.ok == (err == nil) || !c.ok && strings.Count(string(kept), "\n") != len(c.history) {
			t.Errorf("%s: kept %q, %v", c.what, kept, err)
		}
	}
}

func TestHistory(t *testing.T) {
	h := NewHistory()
	h.End(h.Begin(1, Call{Object: "o", Verb: Write, Set: []Cell{{0, "a"}}}), yes)
	h.Forget(h.Begin(1, Call{Object: "o", Verb: Write, Set: []Cell{{0, "b"}}}))
	h.End(h.Begin(2, Call{Object: "o", Verb: Read, Read: []int{0}}), Answer{Unknown: true})
	h.Begin(3, Call{Object: "p", Verb: Write, Set: []Cell{{0, "c"}}}) // never ends
	h.End(h.Begin(1, Call{Object: "o", Verb: Read, Read: []int{0}}), Answer{Values: []string{"a"}})
	h.End(h.Begin(1, Call{Object: "p", Verb: Read, Read: []int{0}}), Answer{Values: []string{"c"}})
	v, err := h.Check(10*time.Second, t.TempDir())
	if n := h.Answered(); n != 3 || v.Objects != 2 || v.Calls != 4 || len(v.Wrong)+len(v.Undecided) != 0 || err != nil {
		t.Errorf("%d answered, %+v %v", n, v, err)
	}
	h.End(h.Begin(1, Call{Object: "o", Verb: Read, Read: []int{0}}), Answer{Values: []string{"b"}})
	if v, err := h.Check(10*time.Second, t.TempDir()); !slices.Equal(v.Wrong, []string{"o"}) || err != nil {
		t.Errorf("what was never sent is read: %+v %v", v, err)
	}
	h.Begin(1, Call{Object: "o", Verb: Read, Read: []int{slots}})
	if _, err := h.Check(time.Second, t.TempDir()); err == nil {
		t.Error("a slot that is not there was judged")
	}
}
