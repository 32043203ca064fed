package state

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

var (
	methods = &table[catalog.AuthMethod]{
		name: "acl-auth-methods",
		of:   func(v *version) *rows[catalog.AuthMethod] { return &v.methods },
		keys: []func([]byte, *catalog.AuthMethod) []byte{
			primary: func(key []byte, m *catalog.AuthMethod) []byte { return joined(key, fold(m.Name)) },
		},
	}
	bindings = &table[catalog.BindingRule]{
		name: "acl-binding-rules",
		of:   func(v *version) *rows[catalog.BindingRule] { return &v.bindings },
		keys: []func([]byte, *catalog.BindingRule) []byte{
			primary:         func(key []byte, b *catalog.BindingRule) []byte { return joined(key, b.ID) },
			bindingByMethod: func(key []byte, b *catalog.BindingRule) []byte { return joined(key, fold(b.AuthMethod), b.ID) },
		},
	}
)

const bindingByMethod = 1

// AuthMethod returns the auth method with a name, nil when there is none.
func AuthMethod(tx *Txn, w *Watch, name string) (*catalog.AuthMethod, uint64) {
	if m := methods.get(tx, w, primary, tx.key(fold(name))); m != nil {
		return m, m.ModifyIndex
	}
	return nil, max(1, indexOf(tx, methodsIndex))
}

// AuthMethods returns all auth methods by name.
func AuthMethods(tx *Txn, w *Watch) ([]*catalog.AuthMethod, uint64) {
	return listed(tx, methods.scan(tx, w, primary, nil), methodsIndex)
}

// PutAuthMethod adds an auth method or changes the one with its name, and returns the stored row.
func PutAuthMethod(tx *Txn, m *catalog.AuthMethod) (*catalog.AuthMethod, error) {
	row := *m
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old, _ := AuthMethod(tx, nil, m.Name); old != nil {
		if old.Type != m.Type {
			return nil, catalog.Errorf(catalog.Invalid, "auth method %s: its type is %s and cannot change: delete it first", old.Name, old.Type)
		}
		row.CreateIndex, row.Name = old.CreateIndex, old.Name
	}
	methods.put(tx, &row)
	setIndex(tx, methodsIndex)
	return &row, nil
}

// DeleteAuthMethod removes an auth method with its binding rules and the tokens of its logins, and reports whether it
// was there.
func DeleteAuthMethod(tx *Txn, name string) bool {
	m, _ := AuthMethod(tx, nil, name)
	if m == nil {
		return false
	}
	for _, b := range bindings.all(tx, bindingByMethod, tx.key(fold(name))) {
		bindings.remove(tx, b)
		setIndex(tx, bindingsIndex)
	}
	for _, t := range tokens.all(tx, tokenByMethod, tx.key(fold(name))) {
		if !t.Local && Ruler(tx, nil) != nil {
			continue // it is the primary datacenter's
		}
		tokens.remove(tx, t)
		setIndex(tx, tokensIndex)
	}
	methods.remove(tx, m)
	setIndex(tx, methodsIndex)
	return true
}

// BindingRule returns the binding rule with an id, nil when there is none.
func BindingRule(tx *Txn, w *Watch, id string) (*catalog.BindingRule, uint64) {
	if b := bindings.get(tx, w, primary, tx.key(strings.ToLower(id))); b != nil {
		return b, b.ModifyIndex
	}
	return nil, max(1, indexOf(tx, bindingsIndex))
}

// BindingRules returns the binding rules of an auth method, or with an empty name all.
func BindingRules(tx *Txn, w *Watch, method string) ([]*catalog.BindingRule, uint64) {
	if method == "" {
		return listed(tx, bindings.scan(tx, w, primary, nil), bindingsIndex)
	}
	return listed(tx, bindings.scan(tx, w, bindingByMethod, tx.key(fold(method))), bindingsIndex)
}

// PutBindingRule adds a binding rule or changes the one with its id, and returns the stored row. Its auth method must
// exist.
func PutBindingRule(tx *Txn, b *catalog.BindingRule) (*catalog.BindingRule, error) {
	row := *b
	m, _ := AuthMethod(tx, nil, b.AuthMethod)
	if m == nil {
		return nil, catalog.Errorf(catalog.Invalid, "binding rule: auth method %q does not exist", b.AuthMethod)
	}
	row.AuthMethod = m.Name
	row.CreateIndex, row.ModifyIndex = tx.Index, tx.Index
	if old, _ := BindingRule(tx, nil, b.ID); old != nil {
		if fold(old.AuthMethod) != fold(b.AuthMethod) {
			return nil, catalog.Errorf(catalog.Invalid, "binding rule %s: its auth method is %s and cannot change", b.ID, old.AuthMethod)
		}
		row.CreateIndex = old.CreateIndex
	}
	bindings.put(tx, &row)
	setIndex(tx, bindingsIndex)
	return &row, nil
}

// DeleteBindingRule removes a binding rule and reports whether it was there.
func DeleteBindingRule(tx *Txn, id string) bool {
	b, _ := BindingRule(tx, nil, id)
	if b == nil {
		return false
	}
	bindings.remove(tx, b)
	setIndex(tx, bindingsIndex)
	return true
}
