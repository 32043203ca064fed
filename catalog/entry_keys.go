package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// KVReplication says which keys come from another datacenter, and what then holds for those who write them where they
// come to.
type KVReplication struct {
	EntryHead
	Source string // the datacenter that the keys come from
	// Prefixes and Exclude are which keys: those under a prefix, without those under an excluded one.
	Prefixes []string
	Exclude  []string `json:",omitempty"`
	// Targets are the datacenters that the keys come to, all others when there are none.
	Targets []string `json:",omitempty"`
	// Conflict is what happens to keys that were written where they come to.
	Conflict KVConflict
	// Deletions is what happens there to keys that the source does not have.
	Deletions KVDeletions
	// MaxDeletions is how many keys may be deleted in one go; 0 is half of them, or AlwaysDeleted if that is more.
	MaxDeletions int `json:",omitempty"`
}

// KVConflict says whose word counts.
type KVConflict string

// With ConflictKeep a key that somebody has written where it comes to is theirs; with ConflictSource it is soon again as in
// the source.
const (
	ConflictKeep   KVConflict = "keep"
	ConflictSource KVConflict = "source"
)

// KVDeletions says whether keys go when the source has them no longer.
type KVDeletions string

// The two ways.
const (
	DeletionsCopy KVDeletions = "copy"
	DeletionsKeep KVDeletions = "keep"
)

// AlwaysDeleted is how many keys may be deleted in one go however few there are.
const AlwaysDeleted = 10

const (
	maxKeyPrefixes = 64
	maxKeyExcludes = 256
	maxKeyTargets  = 256
	maxKeyPrefix   = 512 // bytes
)

// Normalize implements ConfigEntry.
func (e *KVReplication) Normalize() {
	e.Source = strings.ToLower(e.Source)
	for i, dc := range e.Targets {
		e.Targets[i] = strings.ToLower(dc)
	}
	e.Conflict, e.Deletions = KVConflict(strings.ToLower(string(e.Conflict))), KVDeletions(strings.ToLower(string(e.Deletions)))
	if e.Conflict == "" {
		e.Conflict = ConflictKeep
	}
	if e.Deletions == "" {
		e.Deletions = DeletionsCopy
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *KVReplication) Validate() error {
	c := e.check()
	c.datacenter("Source", e.Source)
	e.checkKeys(c)
	if len(e.Targets) > maxKeyTargets {
		c.fail("Targets", "has %d datacenters: at most %d are allowed; leave it out for all", len(e.Targets), maxKeyTargets)
	}
	for i, dc := range e.Targets {
		at := fmt.Sprintf("Targets[%d]", i)
		c.datacenter(at, dc)
		switch {
		case dc == e.Source:
			c.fail(at, "%q is the Source: a datacenter copies no keys from itself", dc)
		case slices.Contains(e.Targets[:i], dc):
			c.fail(at, "%q is there twice", dc)
		}
	}
	c.oneOf("Conflict", string(e.Conflict), string(ConflictKeep), string(ConflictSource))
	c.oneOf("Deletions", string(e.Deletions), string(DeletionsCopy), string(DeletionsKeep))
	atLeast0(c, "MaxDeletions", e.MaxDeletions)
	return c.err()
}

// checkKeys checks which keys are meant.
func (e *KVReplication) checkKeys(c *checker) {
	switch {
	case len(e.Prefixes) == 0:
		c.fail("Prefixes", `is empty: name what is copied, such as "config/"; "" is every key`)
	case len(e.Prefixes) > maxKeyPrefixes:
		c.fail("Prefixes", "has %d prefixes: at most %d are allowed", len(e.Prefixes), maxKeyPrefixes)
	case len(e.Exclude) > maxKeyExcludes:
		c.fail("Exclude", "has %d prefixes: at most %d are allowed", len(e.Exclude), maxKeyExcludes)
	}
	if c.first != nil {
		return
	}
	prefix := func(at, prefix string) {
		switch {
		case len(prefix) > maxKeyPrefix:
			c.fail(at, "has %d bytes: at most %d are allowed", len(prefix), maxKeyPrefix)
		case strings.HasPrefix(prefix, "/"):
			c.fail(at, "%.64q must not begin with a slash: no key does", prefix)
		}
	}
	for i, p := range e.Prefixes {
		at := fmt.Sprintf("Prefixes[%d]", i)
		prefix(at, p)
		for _, other := range e.Prefixes[:i] {
			if strings.HasPrefix(p, other) || strings.HasPrefix(other, p) {
				c.fail(at, "%.64q and the prefix %.64q overlap: the shorter one is enough", p, other)
			}
		}
	}
	for i, x := range e.Exclude {
		at := fmt.Sprintf("Exclude[%d]", i)
		prefix(at, x)
		if slices.ContainsFunc(e.Prefixes, func(p string) bool { return strings.HasPrefix(p, x) }) {
			c.fail(at, "%.64q leaves nothing of a prefix that is copied", x)
		}
		if !slices.ContainsFunc(e.Prefixes, func(p string) bool { return strings.HasPrefix(x, p) }) {
			c.fail(at, "%.64q is under none of the Prefixes, so that it excludes nothing", x)
		}
	}
}

// datacenter checks the name of one.
func (c *checker) datacenter(field, name string) {
	switch {
	case name == "":
		c.fail(field, "is missing: want the name of a datacenter")
	case len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}):
		c.fail(field, "%.64q is no name of a datacenter: want letters, digits, - and _ only", name)
	}
}

// Clone implements ConfigEntry.
func (e *KVReplication) Clone() ConfigEntry { return clone(e) }

// Scope is which keys are meant.
func (e *KVReplication) Scope() *KVScope {
	s := &KVScope{Prefixes: slices.Clone(e.Prefixes), Exclude: slices.Clone(e.Exclude)}
	slices.Sort(s.Prefixes)
	return s
}

// ComesTo reports whether the keys are copied to a datacenter.
func (e *KVReplication) ComesTo(datacenter string) bool {
	return datacenter != e.Source && (len(e.Targets) == 0 || slices.Contains(e.Targets, datacenter))
}

// Clash says why two entries cannot be both: a key comes from one datacenter at most, and to each by one entry at most, so
// that nothing goes in circles, and no two rules hold for one key. Nil is that they can.
func (e *KVReplication) Clash(other *KVReplication) error {
	if e.Source == other.Source && !e.sharesTarget(other) {
		return nil
	}
	for _, p := range e.Prefixes {
		for _, q := range other.Prefixes {
			longer := p
			if len(q) > len(p) {
				longer = q
			}
			if !strings.HasPrefix(longer, p) || !strings.HasPrefix(longer, q) || under(e.Exclude, longer) || under(other.Exclude, longer) {
				continue
			}
			why := fmt.Sprintf("which brings it from %s", other.Source)
			if e.Source == other.Source {
				why = "which brings it from there too"
			}
			return Errorf(Invalid, "%s: the prefix %q, from %s, overlaps with %q of %s, %s: each key has one source: make a prefix narrower, or add %q to Exclude in one of them",
				e.Head(), p, e.Source, q, other.Head(), why, longer)
		}
	}
	return nil
}

func (e *KVReplication) sharesTarget(other *KVReplication) bool {
	return len(e.Targets) == 0 || len(other.Targets) == 0 ||
		slices.ContainsFunc(e.Targets, func(dc string) bool { return slices.Contains(other.Targets, dc) })
}

// Counts reports whether a pair, where the keys come to, is the source's to change.
func (e *KVReplication) Counts(p *KVPair) bool { return e.Conflict == ConflictSource || p.Origin != "" }

// DeletionsAllowed is how many of some keys may be deleted in one go.
func (e *KVReplication) DeletionsAllowed(keys int) int {
	if e.MaxDeletions > 0 {
		return e.MaxDeletions
	}
	return max(AlwaysDeleted, keys/2)
}

// KVScope is a set of keys: those under a prefix, without those under an excluded one. The prefixes are in order, and none
// is under another.
type KVScope struct {
	Prefixes []string
	Exclude  []string `codec:",omitempty"`
}

// Covers reports whether a key is in the set.
func (s *KVScope) Covers(key string) bool { return under(s.Prefixes, key) && !under(s.Exclude, key) }

// Validate checks a set that comes from elsewhere.
func (s *KVScope) Validate() error {
	if len(s.Prefixes) == 0 || len(s.Prefixes) > maxKeyPrefixes || len(s.Exclude) > maxKeyExcludes {
		return Errorf(Invalid, "keys: %d prefixes and %d excludes, want 1 to %d and at most %d", len(s.Prefixes), len(s.Exclude), maxKeyPrefixes, maxKeyExcludes)
	}
	for i, p := range s.Prefixes[1:] {
		if before := s.Prefixes[i]; p < before || strings.HasPrefix(p, before) {
			return Errorf(Invalid, "keys: the prefixes %.64q and %.64q overlap, or are not in order", before, p)
		}
	}
	return nil
}

// under reports whether a key is under one of the prefixes.
func under(prefixes []string, key string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// KVSpan is a stretch of keys: those after one, up to and with another. An empty To is the end of all keys.
type KVSpan struct {
	After, To string
	// Digest is that of the pairs of the span, where it is asked whether they are the same elsewhere.
	Digest []byte `codec:",omitempty"`
}

// Has reports whether a key is in the span.
func (s *KVSpan) Has(key string) bool { return key > s.After && (s.To == "" || key <= s.To) }
