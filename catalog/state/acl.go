package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

var (
	tokens = &table[catalog.Token]{
		name: "acl-tokens",
		of:   func(v *version) *rows[catalog.Token] { return &v.tokens },
		keys: []func([]byte, *catalog.Token) []byte{
			primary:       func(key []byte, t *catalog.Token) []byte { return joined(key, t.AccessorID) },
			tokenBySecret: func(key []byte, t *catalog.Token) []byte { return secretKey(key, t.SecretID) },
			tokenByExpiry: func(key []byte, t *catalog.Token) []byte {
				if t.ExpirationTime == nil {
					return nil
				}
				return joined(expiryKey(key, *t.ExpirationTime), t.AccessorID)
			},
			tokenByMethod: func(key []byte, t *catalog.Token) []byte {
				if t.AuthMethod == "" {
					return nil
				}
				return joined(key, fold(t.AuthMethod), t.AccessorID)
			},
		},
	}
	policies = &table[catalog.Policy]{
		name: "acl-policies",
		of:   func(v *version) *rows[catalog.Policy] { return &v.policies },
		keys: []func([]byte, *catalog.Policy) []byte{
			primary: func(key []byte, p *catalog.Policy) []byte { return joined(key, p.ID) },
			byName:  func(key []byte, p *catalog.Policy) []byte { return joined(key, fold(p.Name)) },
		},
	}
	roles = &table[catalog.Role]{
		name: "acl-roles",
		of:   func(v *version) *rows[catalog.Role] { return &v.roles },
		keys: []func([]byte, *catalog.Role) []byte{
			primary: func(key []byte, r *catalog.Role) []byte { return joined(key, r.ID) },
			byName:  func(key []byte, r *catalog.Role) []byte { return joined(key, fold(r.Name)) },
		},
	}
)

// Indexes of tokens beside the one by accessor, and the one of policies and roles beside that by id.
const (
	tokenBySecret = iota + 1
	tokenByExpiry // of those that end, the first to end first
	tokenByMethod // of logins
	byName        = 1
)

// secretKey is the hash of a secret: how long it takes to look one up tells nothing of how those begin that there are.
func secretKey(key []byte, secret catalog.SecretID) []byte {
	sum := sha256.Sum256([]byte(secret))
	return append(key, sum[:]...)
}

// expiryKey is a time in an order that is that of bytes; before 1970 there is none.
func expiryKey(key []byte, at time.Time) []byte {
	return binary.BigEndian.AppendUint64(key, uint64(max(at.UnixNano(), 0)))
}

// Token returns the token with an accessor, nil when there is none.
func Token(tx *Txn, w *Watch, accessor string) (*catalog.Token, uint64) {
	if t := tokens.get(tx, w, primary, tx.key(strings.ToLower(accessor))); t != nil {
		return t, t.ModifyIndex
	}
	return nil, max(1, indexOf(tx, tokensIndex))
}

// TokenOf returns the token with a secret, nil when there is none.
func TokenOf(tx *Txn, w *Watch, secret catalog.SecretID) *catalog.Token {
	return tokens.get(tx, w, tokenBySecret, secretKey(nil, secret))
}

// Tokens returns all tokens by accessor.
func Tokens(tx *Txn, w *Watch) ([]*catalog.Token, uint64) {
	return listed(tx, tokens.scan(tx, w, primary, nil), tokensIndex)
}

// TokensOfMethod returns the tokens of an auth method's logins.
func TokensOfMethod(tx *Txn, w *Watch, method string) ([]*catalog.Token, uint64) {
	return listed(tx, tokens.scan(tx, w, tokenByMethod, tx.key(fold(method))), tokensIndex)
}

// listed collects rows, with the index at which any row of their table last changed.
func listed[T any](tx *Txn, rows iter.Seq[*T], changed string) ([]*T, uint64) {
	found := []*T{}
	for row := range rows {
		found = append(found, row)
	}
	return found, max(1, indexOf(tx, changed))
}

// ExpiredTokens returns the accessors of at most limit tokens whose time was over at now, and when the next one's is
// after these, nil when none follows; with local of those alone that are of this datacenter.
func ExpiredTokens(tx *Txn, now time.Time, limit int, local bool) (accessors []string, next *time.Time) {
	for t := range tokens.scan(tx, nil, tokenByExpiry, nil) {
		if local && !t.Local {
			continue
		}
		if !t.Expired(now) || len(accessors) == limit {
			return accessors, t.ExpirationTime
		}
		accessors = append(accessors, t.AccessorID)
	}
	return accessors, nil
}

// PutToken adds a token or changes the one with its accessor, and returns the stored row. Its links must lead
// somewhere, and its secret be nobody else's.
func PutToken(tx *Txn, t *catalog.Token) (*catalog.Token, error) {
	if t.AuthMethod != "" && methods.get(tx, nil, primary, tx.key(fold(t.AuthMethod))) == nil {
		return nil, catalog.Errorf(catalog.Invalid, "token %s: auth method %q does not exist any more", t.AccessorID, t.AuthMethod)
	}
	return putToken(tx, t)
}

func putToken(tx *Txn, t *catalog.Token) (*catalog.Token, error) {
	row := *t
	var err error
	if row.Policies, err = policyLinks(tx, t.Policies); err != nil {
		return nil, err
	}
	if row.Roles, err = roleLinks(tx, t.Roles); err != nil {
		return nil, err
	}
	if same := TokenOf(tx, nil, t.SecretID); same != nil && same.AccessorID != t.AccessorID {
		return nil, catalog.Errorf(catalog.Invalid, "token %s: its secret is that of another token", t.AccessorID)
	}
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old, _ := Token(tx, nil, t.AccessorID); old != nil {
		row.CreateIndex = old.CreateIndex
	}
	row.Hash = row.Digest()
	tokens.put(tx, &row)
	setIndex(tx, tokensIndex)
	return &row, nil
}

// DeleteToken removes a token and reports whether it was there.
func DeleteToken(tx *Txn, accessor string) bool {
	t, _ := Token(tx, nil, accessor)
	if t == nil {
		return false
	}
	tokens.remove(tx, t)
	setIndex(tx, tokensIndex)
	return true
}

// Policy returns the policy with an id, nil when there is none.
func Policy(tx *Txn, w *Watch, id string) (*catalog.Policy, uint64) {
	if p := policies.get(tx, w, primary, tx.key(strings.ToLower(id))); p != nil {
		return p, p.ModifyIndex
	}
	return nil, max(1, indexOf(tx, policiesIndex))
}

// PolicyNamed returns the policy with a name, nil when there is none.
func PolicyNamed(tx *Txn, w *Watch, name string) (*catalog.Policy, uint64) {
	if p := policies.get(tx, w, byName, tx.key(fold(name))); p != nil {
		return p, p.ModifyIndex
	}
	return nil, max(1, indexOf(tx, policiesIndex))
}

// Policies returns all policies by id.
func Policies(tx *Txn, w *Watch) ([]*catalog.Policy, uint64) {
	return listed(tx, policies.scan(tx, w, primary, nil), policiesIndex)
}

// PutPolicy adds a policy or changes the one with its id, and returns the stored row. Links to it follow its name.
func PutPolicy(tx *Txn, p *catalog.Policy) (*catalog.Policy, error) {
	if same, _ := PolicyNamed(tx, nil, p.Name); same != nil && same.ID != p.ID {
		return nil, catalog.Errorf(catalog.Invalid, "policy %q: the name is taken by policy %s: change that one, or choose another name", p.Name, same.ID)
	}
	row := *p
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	old, _ := Policy(tx, nil, p.ID)
	if old != nil {
		row.CreateIndex = old.CreateIndex
	}
	row.Hash = row.Digest()
	policies.put(tx, &row)
	setIndex(tx, policiesIndex)
	if old != nil && old.Name != row.Name {
		relinkPolicy(tx, catalog.Link{ID: row.ID, Name: row.Name})
	}
	return &row, nil
}

// DeletePolicy removes a policy with the links to it, and reports whether it was there.
func DeletePolicy(tx *Txn, id string) bool {
	p, _ := Policy(tx, nil, id)
	if p == nil {
		return false
	}
	policies.remove(tx, p)
	setIndex(tx, policiesIndex)
	relinkPolicy(tx, catalog.Link{ID: p.ID})
	return true
}

// Role returns the role with an id, nil when there is none.
func Role(tx *Txn, w *Watch, id string) (*catalog.Role, uint64) {
	if r := roles.get(tx, w, primary, tx.key(strings.ToLower(id))); r != nil {
		return r, r.ModifyIndex
	}
	return nil, max(1, indexOf(tx, rolesIndex))
}

// RoleNamed returns the role with a name, nil when there is none.
func RoleNamed(tx *Txn, w *Watch, name string) (*catalog.Role, uint64) {
	if r := roles.get(tx, w, byName, tx.key(fold(name))); r != nil {
		return r, r.ModifyIndex
	}
	return nil, max(1, indexOf(tx, rolesIndex))
}

// Roles returns all roles by id.
func Roles(tx *Txn, w *Watch) ([]*catalog.Role, uint64) {
	return listed(tx, roles.scan(tx, w, primary, nil), rolesIndex)
}

// PutRole adds a role or changes the one with its id, and returns the stored row. Links to it follow its name.
func PutRole(tx *Txn, r *catalog.Role) (*catalog.Role, error) {
	if same, _ := RoleNamed(tx, nil, r.Name); same != nil && same.ID != r.ID {
		return nil, catalog.Errorf(catalog.Invalid, "role %q: the name is taken by role %s: change that one, or choose another name", r.Name, same.ID)
	}
	row := *r
	var err error
	if row.Policies, err = policyLinks(tx, r.Policies); err != nil {
		return nil, err
	}
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	old, _ := Role(tx, nil, r.ID)
	if old != nil {
		row.CreateIndex = old.CreateIndex
	}
	row.Hash = row.Digest()
	roles.put(tx, &row)
	setIndex(tx, rolesIndex)
	if old != nil && old.Name != row.Name {
		relinkRole(tx, catalog.Link{ID: row.ID, Name: row.Name})
	}
	return &row, nil
}

// DeleteRole removes a role with the links to it, and reports whether it was there.
func DeleteRole(tx *Txn, id string) bool {
	r, _ := Role(tx, nil, id)
	if r == nil {
		return false
	}
	roles.remove(tx, r)
	setIndex(tx, rolesIndex)
	relinkRole(tx, catalog.Link{ID: r.ID})
	return true
}

// policyLinks returns links to policies with their ids and names, each once.
func policyLinks(tx *Txn, links []catalog.Link) ([]catalog.Link, error) {
	return linked(links, "policy", func(l catalog.Link) (catalog.Link, bool) {
		var p *catalog.Policy
		if l.ID != "" {
			p, _ = Policy(tx, nil, l.ID)
		} else {
			p, _ = PolicyNamed(tx, nil, l.Name)
		}
		if p == nil {
			return l, false
		}
		return catalog.Link{ID: p.ID, Name: p.Name}, true
	})
}

// roleLinks returns links to roles with their ids and names, each once.
func roleLinks(tx *Txn, links []catalog.Link) ([]catalog.Link, error) {
	return linked(links, "role", func(l catalog.Link) (catalog.Link, bool) {
		var r *catalog.Role
		if l.ID != "" {
			r, _ = Role(tx, nil, l.ID)
		} else {
			r, _ = RoleNamed(tx, nil, l.Name)
		}
		if r == nil {
			return l, false
		}
		return catalog.Link{ID: r.ID, Name: r.Name}, true
	})
}

func linked(links []catalog.Link, what string, find func(catalog.Link) (catalog.Link, bool)) ([]catalog.Link, error) {
	var out []catalog.Link
	for _, l := range links {
		whole, ok := find(l)
		if !ok {
			return nil, catalog.Errorf(catalog.Invalid, "%s %q does not exist: create it first, or link another one", what, cmp.Or(l.Name, l.ID))
		}
		if !slices.Contains(out, whole) {
			out = append(out, whole)
		}
	}
	return out, nil
}

// relinkPolicy gives links to a policy its name, or removes them when that is empty.
func relinkPolicy(tx *Txn, to catalog.Link) {
	for _, r := range roles.all(tx, primary, nil) {
		if links, changed := relinked(r.Policies, to); changed {
			row := *r
			row.Policies, row.ModifyIndex = links, tx.Index
			row.Hash = row.Digest()
			roles.put(tx, &row)
			setIndex(tx, rolesIndex)
		}
	}
	relinkTokens(tx, to, func(t *catalog.Token) *[]catalog.Link { return &t.Policies })
}

// relinkRole does the same for a role.
func relinkRole(tx *Txn, to catalog.Link) {
	relinkTokens(tx, to, func(t *catalog.Token) *[]catalog.Link { return &t.Roles })
}

func relinkTokens(tx *Txn, to catalog.Link, of func(*catalog.Token) *[]catalog.Link) {
	var changed []*catalog.Token
	for t := range tokens.scan(tx, nil, primary, nil) {
		if links, ok := relinked(*of(t), to); ok {
			row := *t
			*of(&row), row.ModifyIndex = links, tx.Index
			row.Hash = row.Digest()
			changed = append(changed, &row)
		}
	}
	for _, row := range changed {
		tokens.put(tx, row)
		setIndex(tx, tokensIndex)
	}
}

func relinked(links []catalog.Link, to catalog.Link) (out []catalog.Link, changed bool) {
	i := slices.IndexFunc(links, func(l catalog.Link) bool { return l.ID == to.ID })
	if i < 0 {
		return links, false
	}
	out = slices.Clone(links)
	if to.Name != "" {
		out[i] = to
		return out, true
	}
	if out = slices.Delete(out, i, i+1); len(out) == 0 {
		out = nil
	}
	return out, true
}

// ACLBootstrapped returns the index at which the first management token was made, 0 when there was none yet.
func ACLBootstrapped(tx *Txn) uint64 { return indexOf(tx, aclBootIndex) }

// SetACLBootstrapped remembers that the first management token is made.
func SetACLBootstrapped(tx *Txn) { setIndex(tx, aclBootIndex) }
