package state

import (
	"encoding/binary"
	"encoding/json"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Primacy returns which datacenter was promoted, nil when none was.
func Primacy(tx *Txn, w *Watch) *catalog.Primacy {
	return setting(tx, w, primacySetting).Primacy
}

// SetPrimacy stores which datacenter was promoted, unless a later promotion is known, and reports whether it did.
func SetPrimacy(tx *Txn, p *catalog.Primacy) bool {
	if old := Primacy(tx, nil); old != nil && old.Epoch >= p.Epoch {
		return false
	}
	row := *p
	row.ModifyIndex = tx.Index
	settings.put(tx, &settingRow{Name: primacySetting, Primacy: &row})
	return true
}

// Ruler returns the primary datacenter that this one copies from, nil while it copies from none.
func Ruler(tx *Txn, w *Watch) *catalog.Ruler {
	return setting(tx, w, rulerSetting).Ruler
}

// SetRuler stores the primary datacenter that this one copies from; one without a name is none.
func SetRuler(tx *Txn, r *catalog.Ruler) {
	if r.Datacenter == "" {
		if row := settings.get(tx, nil, primary, tx.key(rulerSetting)); row != nil {
			settings.remove(tx, row)
		}
		return
	}
	row := *r
	row.ModifyIndex = tx.Index
	settings.put(tx, &settingRow{Name: rulerSetting, Ruler: &row})
}

// replica is how rows of one kind are listed, handed out and removed.
type replica struct {
	// keys lists what there is, in the order of its keys, with the index of its last change.
	keys func(tx *Txn, w *Watch) ([]catalog.ReplicaKey, uint64)
	// add puts the row of a key into out, if there is one, and returns about how many bytes it has beside what all have.
	add  func(tx *Txn, out *catalog.ReplicaRows, key string) int
	drop func(tx *Txn, key string)
}

// replicas are all kinds. What belongs to this datacenter alone is in none of them: local tokens, and what servers make by
// themselves.
var replicas = map[catalog.ReplicaKind]replica{
	catalog.ReplicaPolicies: {
		keys: func(tx *Txn, w *Watch) (keys []catalog.ReplicaKey, _ uint64) {
			all, index := Policies(tx, w)
			for _, p := range all {
				keys = append(keys, catalog.ReplicaKey{Key: p.ID, Hash: p.Hash})
			}
			return keys, index
		},
		add: func(tx *Txn, out *catalog.ReplicaRows, key string) int {
			p, _ := Policy(tx, nil, key)
			if p == nil {
				return 0
			}
			out.Policies = append(out.Policies, p)
			return len(p.Rules)
		},
		drop: func(tx *Txn, key string) { DeletePolicy(tx, key) },
	},
	catalog.ReplicaRoles: {
		keys: func(tx *Txn, w *Watch) (keys []catalog.ReplicaKey, _ uint64) {
			all, index := Roles(tx, w)
			for _, r := range all {
				keys = append(keys, catalog.ReplicaKey{Key: r.ID, Hash: r.Hash})
			}
			return keys, index
		},
		add: func(tx *Txn, out *catalog.ReplicaRows, key string) int {
			if r, _ := Role(tx, nil, key); r != nil {
				out.Roles = append(out.Roles, r)
			}
			return 0
		},
		drop: func(tx *Txn, key string) { DeleteRole(tx, key) },
	},
	catalog.ReplicaTokens: {
		keys: func(tx *Txn, w *Watch) (keys []catalog.ReplicaKey, _ uint64) {
			all, index := Tokens(tx, w)
			for _, t := range all {
				if !t.Local {
					keys = append(keys, catalog.ReplicaKey{Key: t.AccessorID, Hash: t.Hash})
				}
			}
			return keys, index
		},
		add: func(tx *Txn, out *catalog.ReplicaRows, key string) int {
			if t, _ := Token(tx, nil, key); t != nil && !t.Local {
				out.Tokens = append(out.Tokens, t)
			}
			return 0
		},
		drop: func(tx *Txn, key string) {
			if t, _ := Token(tx, nil, key); t != nil && !t.Local {
				DeleteToken(tx, key)
			}
		},
	},
	catalog.ReplicaEntries: {
		keys: func(tx *Txn, w *Watch) (keys []catalog.ReplicaKey, _ uint64) {
			all, index := ConfigEntries(tx, w, "")
			for _, e := range all {
				if h := e.Head(); h.Kind != catalog.EntryBoundAPIGateway {
					keys = append(keys, catalog.ReplicaKey{Key: entryKey(h), Hash: binary.BigEndian.AppendUint64(nil, h.Hash)})
				}
			}
			return keys, index
		},
		add: func(tx *Txn, out *catalog.ReplicaRows, key string) int {
			kind, name, _ := strings.Cut(key, "/")
			e, _ := ConfigEntry(tx, nil, catalog.EntryKind(kind), name)
			if e == nil {
				return 0
			}
			out.Entries = append(out.Entries, catalog.AnyOf(e))
			text, _ := json.Marshal(e) // what is stored can be written
			return len(text)
		},
		drop: func(tx *Txn, key string) {
			kind, name, _ := strings.Cut(key, "/")
			EntryDelete(tx, catalog.EntryKind(kind), name)
		},
	},
	catalog.ReplicaFederations: {
		keys: func(tx *Txn, w *Watch) (keys []catalog.ReplicaKey, _ uint64) {
			all, index := Federations(tx, w)
			for _, f := range all {
				keys = append(keys, catalog.ReplicaKey{Key: f.Datacenter, Hash: binary.BigEndian.AppendUint64(nil, f.PrimaryModifyIndex)})
			}
			return keys, index
		},
		add: func(tx *Txn, out *catalog.ReplicaRows, key string) int {
			if f, _ := Federation(tx, nil, key); f != nil {
				out.Federations = append(out.Federations, f)
			}
			return 0
		},
		drop: func(tx *Txn, key string) {
			if f, _ := Federation(tx, nil, key); f != nil {
				federations.remove(tx, f)
			}
		},
	},
}

// entryKey is the key of a config entry among those of all kinds.
func entryKey(h *catalog.EntryHead) string { return string(h.Kind) + "/" + fold(h.Key()) }

// ReplicaKeys returns what there is of a kind, in the order of its keys, and the index of its last change.
func ReplicaKeys(tx *Txn, w *Watch, kind catalog.ReplicaKind) (keys []catalog.ReplicaKey, index uint64) {
	if r, known := replicas[kind]; known {
		return r.keys(tx, w)
	}
	return nil, 1
}

// maxRows is about how many bytes of rows are handed out at once: they are one entry of a log then.
const maxRows = 1 << 20

// ReplicaRows returns the rows of a kind with these keys, and at least one of them. Keys that are not there any more are
// left out.
func ReplicaRows(tx *Txn, kind catalog.ReplicaKind, keys []string) *catalog.ReplicaRows {
	out, size := &catalog.ReplicaRows{}, 0
	r, known := replicas[kind]
	if !known {
		return out
	}
	for i, key := range keys {
		if size > maxRows {
			out.Rest = len(keys) - i
			break
		}
		size += 1<<10 + r.add(tx, out, key)
	}
	return out
}

// DropRows removes what the primary datacenter does not have.
func DropRows(tx *Txn, kind catalog.ReplicaKind, keys []string) {
	if r, known := replicas[kind]; known {
		for _, key := range keys {
			r.drop(tx, key)
		}
	}
}

// CopyRows stores rows of the primary datacenter, and returns why some of them could not be: what they lead to is not here
// yet, or another row of this datacenter is in their way.
func CopyRows(tx *Txn, rows *catalog.ReplicaRows) (refused []string) {
	refused = append(refused, copied(rows.Policies,
		func(p *catalog.Policy) error { _, err := PutPolicy(tx, p); return err },
		func(p *catalog.Policy) *catalog.Policy { aside := *p; aside.Name = p.ID; return &aside })...)
	refused = append(refused, copied(rows.Roles,
		func(r *catalog.Role) error { _, err := PutRole(tx, r); return err },
		func(r *catalog.Role) *catalog.Role { aside := *r; aside.Name = r.ID; return &aside })...)
	for _, t := range rows.Tokens {
		if err := copyToken(tx, t); err != nil {
			refused = append(refused, err.Error())
		}
	}
	for _, a := range rows.Entries {
		e := a.Entry().Clone()
		if s := catalog.StatusOf(e); s != nil {
			*s = catalog.EntryStatus{}
			if old, _ := ConfigEntry(tx, nil, e.Head().Kind, e.Head().Key()); old != nil {
				*s = *catalog.StatusOf(old)
			}
		}
		e.Normalize() // what is derived does not travel
		EntrySet(tx, e)
	}
	for _, f := range rows.Federations {
		putFederation(tx, f, f.PrimaryModifyIndex)
	}
	return refused
}

// copied stores rows that have unique names. Where they have changed names among one another, no order will do: one of
// them is put aside under another name until the others are stored.
func copied[T any](rows []*T, put func(*T) error, aside func(*T) *T) (refused []string) {
	for again := false; len(rows) > 0; {
		var left []*T
		refused = nil
		for _, row := range rows {
			if err := put(row); err != nil {
				left = append(left, row)
				refused = append(refused, err.Error())
			}
		}
		if len(left) == len(rows) {
			if again {
				return refused
			}
			again = true
			for _, row := range left {
				_ = put(aside(row)) // what cannot be stored under this name either stays refused
			}
			continue
		}
		rows, again = left, false
	}
	return nil
}

// copyToken stores a global token of the primary datacenter. Its auth method need not be here.
func copyToken(tx *Txn, t *catalog.Token) error {
	if old, _ := Token(tx, nil, t.AccessorID); old != nil && old.Local {
		return catalog.Errorf(catalog.Conflict, "token %s: a local token has this accessor here: delete it, or make another one in the primary", t.AccessorID)
	}
	_, err := putToken(tx, t)
	return err
}
