package catalog_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/curia-mesh/curia/catalog"
)

// Every kind can be boxed, and comes back from JSON as it was.
func TestEveryKindComesBack(t *testing.T) {
	for _, kind := range catalog.EntryKinds() {
		e := catalog.NewEntry(kind)
		e.Head().Name = "n"
		e.Normalize()
		text, err := json.Marshal(catalog.AnyOf(e))
		if err != nil {
			t.Fatal(err)
		}
		var back catalog.AnyEntry
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := back.Entry(); got.Head().Kind != kind || !catalog.SameEntry(got, e) {
			t.Errorf("%s became %+v", text, got)
		}
		if c := e.Clone(); c == e || !catalog.SameEntry(c, e) {
			t.Errorf("%s: clone is %+v", kind, c)
		}
	}
}

// The codec of the log decodes the structs of a map one over the other, so that entries have maps of
// pointers only.
func TestNoMapsOfStructs(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var look func(what string, at reflect.Type)
	look = func(what string, at reflect.Type) {
		switch at.Kind() {
		case reflect.Map:
			if at.Elem().Kind() == reflect.Struct {
				t.Errorf("%s is a %s", what, at)
			}
			look(what, at.Elem())
		case reflect.Pointer, reflect.Slice:
			look(what, at.Elem())
		case reflect.Struct:
			if seen[at] {
				return
			}
			seen[at] = true
			for i := range at.NumField() {
				look(what+"."+at.Field(i).Name, at.Field(i).Type)
			}
		}
	}
	look("AnyEntry", reflect.TypeFor[catalog.AnyEntry]())
}
