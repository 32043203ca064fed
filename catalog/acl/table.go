package acl

import (
	"sort"
	"strings"
)

// table holds the rules of one resource by name. Its columns are in order of the names.
type table struct {
	names    []string
	exact    []level
	prefixed []level
	// above is where the longest shorter prefix of a name is that has a rule, -1 where there is none.
	above []int32
}

// newTable makes a table of rules in order of their places.
func newTable(rules []rule) (t table) {
	for _, r := range rules {
		last := len(t.names) - 1
		if last < 0 || t.names[last] != r.name {
			t.names, t.exact, t.prefixed = append(t.names, r.name), append(t.exact, unset), append(t.prefixed, unset)
			t.above = append(t.above, t.climb(last, r.name))
			last++
		}
		if r.prefix {
			t.prefixed[last] = r.level
		} else {
			t.exact[last] = r.level
		}
	}
	return t
}

// climb returns the longest prefix of a name with a rule, from the place i on upwards, -1 when there is none. i is
// that of the last name that comes before name or is it. Whatever is a prefix of name comes before it, and is a prefix
// of all names that come between the two.
func (t *table) climb(i int, name string) int32 {
	at := int32(i)
	for at >= 0 && (t.prefixed[at] == unset || !strings.HasPrefix(name, t.names[at])) {
		at = t.above[at]
	}
	return at
}

// last returns the place of the last name that comes before name or is it, -1 when there is none.
func (t *table) last(name string) int {
	low, high := 0, len(t.names)
	for low < high {
		if mid := int(uint(low+high) >> 1); t.names[mid] <= name {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low - 1
}

// find returns the level of a name, and the place of the prefix that gives it, -1 where it is the name itself.
func (t *table) find(name string) (l level, prefix int) {
	i := t.last(name)
	if i >= 0 && t.exact[i] != unset && t.names[i] == name {
		return t.exact[i], -1
	}
	at := t.climb(i, name)
	if at < 0 {
		return unset, -1
	}
	return t.prefixed[at], int(at)
}

// cover returns the level of the longest prefix of a name, and its place.
func (t *table) cover(name string) (l level, prefix int) {
	at := t.climb(t.last(name), name)
	if at < 0 {
		return unset, -1
	}
	return t.prefixed[at], int(at)
}

// under reports whether all rules of names that begin with prefix are as wanted.
func (t *table) under(prefix string, wanted func(exact, prefixed level) bool) bool {
	for i := sort.SearchStrings(t.names, prefix); i < len(t.names) && strings.HasPrefix(t.names[i], prefix); i++ {
		if !wanted(t.exact[i], t.prefixed[i]) {
			return false
		}
	}
	return true
}
