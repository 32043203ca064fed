package decode

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

type kind uint8

const (
	kindAny kind = iota // anything, copied as it is
	kindOwn             // decodes itself
	kindStruct
	kindMap
	kindList
	kindString
	kindBytes
	kindBool
	kindInt
	kindFloat
	kindSpan     // time.Duration: encoding/json wants a number
	kindDuration // catalog.Duration
)

// plan is the shape of a type, as far as the walk over a document needs it.
type plan struct {
	kind   kind
	typ    reflect.Type
	elem   *plan             // of a list or map
	exact  map[string]*field // of a struct, by the name that encoding/json knows
	loose  map[string]*field // of a struct, by normal(name); aliases too
	label  string            // the field that takes a block's label, "" if none does
	body   *plan             // what a label stands before: the same without a label
	fields []*field          // of a struct, in order, without the aliases
}

type field struct {
	name  string // that encoding/json knows
	plan  *plan
	alias bool
}

// aliases are the other names that Consul documents for fields of the nouns.
// Source: https://developer.hashicorp.com/consul/docs/reference/service and .../health-check
func aliases(t reflect.Type) map[string]string {
	switch t {
	case reflect.TypeFor[catalog.AgentCheck]():
		return map[string]string{"id": "CheckID", "args": "ScriptArgs"}
	case reflect.TypeFor[catalog.Check]():
		return map[string]string{"id": "CheckID"}
	case reflect.TypeFor[catalog.CheckDefinition]():
		return map[string]string{
			"args": "ScriptArgs", "intervalduration": "Interval", "timeoutduration": "Timeout",
			"deregistercriticalserviceafterduration": "DeregisterCriticalServiceAfter",
		}
	case reflect.TypeFor[catalog.ServiceDefinition]():
		return map[string]string{"service": "Name"}
	case reflect.TypeFor[catalog.Service]():
		return map[string]string{"name": "Service"}
	}
	return nil
}

// labels are the fields that a block's label fills: service "web" {} is service { name = "web" }.
func label(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[catalog.AgentCheck](), reflect.TypeFor[catalog.ServiceDefinition]():
		return "Name"
	}
	return ""
}

// plans holds the plan of each type that was decoded into, as encoding/json does for itself.
var plans sync.Map // reflect.Type to *plan

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	b := builder{}
	p, _ := plans.LoadOrStore(t, b.plan(t))
	return p.(*plan)
}

// builder makes the plans of a type and of those inside it; a type may contain itself.
type builder map[reflect.Type]*plan

func (b builder) plan(t reflect.Type) *plan {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p, ok := b[t]; ok {
		return p
	}
	p := &plan{kind: kindOf(t), typ: t}
	b[t] = p
	switch p.kind {
	case kindList, kindMap:
		p.elem = b.plan(t.Elem())
	case kindStruct:
		p.exact, p.loose, p.label = map[string]*field{}, map[string]*field{}, label(t)
		b.fields(p, t)
		for alias, name := range aliases(t) {
			p.alias(alias, name)
		}
		body := *p
		body.label = ""
		p.body = &body
	}
	return p
}

func kindOf(t reflect.Type) kind {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return kindSpan
	case reflect.TypeFor[catalog.Duration]():
		return kindDuration
	case reflect.TypeFor[json.Number]():
		return kindAny
	}
	pointer := reflect.PointerTo(t)
	if pointer.Implements(reflect.TypeFor[json.Unmarshaler]()) || pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return kindOwn
	}
	switch t.Kind() {
	case reflect.Struct:
		return kindStruct
	case reflect.Map:
		return kindMap
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
			return kindBytes
		}
		return kindList
	case reflect.String:
		return kindString
	case reflect.Bool:
		return kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return kindInt
	case reflect.Float32, reflect.Float64:
		return kindFloat
	}
	return kindAny
}

// fields adds the fields of t to p, its own before those of embedded structs, which they hide.
func (b builder) fields(p *plan, t reflect.Type) {
	var embedded []reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" {
			continue
		}
		if inner := f.Type; f.Anonymous && tag == "" {
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				embedded = append(embedded, inner)
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		name := f.Name
		if tag != "" {
			name = tag
		}
		if p.exact[name] != nil {
			continue
		}
		added := &field{name: name, plan: b.plan(f.Type)}
		p.exact[name] = added
		p.fields = append(p.fields, added)
		if loose := normal(name); p.loose[loose] == nil {
			p.loose[loose] = added
		}
		for alias := range strings.SplitSeq(f.Tag.Get("alias"), ",") {
			if alias != "" {
				p.alias(alias, name)
			}
		}
	}
	for _, inner := range embedded {
		b.fields(p, inner)
	}
}

func (p *plan) alias(alias, name string) {
	f := p.exact[name]
	if f == nil || p.loose[normal(alias)] != nil {
		return
	}
	p.loose[normal(alias)] = &field{name: f.name, plan: f.plan, alias: true}
}

// normal is the form of a name in which two that differ only in case and underscores are equal.
func normal(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

// find returns the field that key names, nil if there is none. It does not allocate.
func (p *plan) find(key []byte) *field {
	if f := p.exact[string(key)]; f != nil {
		return f
	}
	var buffer [64]byte
	loose := buffer[:0]
	for _, c := range key {
		switch {
		case c == '_':
			continue
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		if len(loose) == len(buffer) {
			return nil
		}
		loose = append(loose, c)
	}
	return p.loose[string(loose)]
}

// want says in words what p takes.
func (p *plan) want() string {
	switch p.kind {
	case kindStruct, kindMap:
		return "object"
	case kindList:
		return "list"
	case kindString:
		return "string"
	case kindBytes:
		return "base64 string"
	case kindBool:
		return "true or false"
	case kindInt:
		return "whole number"
	case kindFloat:
		return "number"
	case kindSpan, kindDuration:
		return `duration such as "10s"`
	}
	return "value"
}
