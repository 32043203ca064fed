package filter

import (
	"reflect"
	"slices"
)

// shape says how the elements of a type are shown to the library, which does not see the fields of
// embedded structs: as a struct that has them as its own.
type shape struct {
	typ  reflect.Type // nil when elements are shown as they are
	from [][]int      // where each field of typ comes from
}

func shapeOf(t reflect.Type) shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || !slices.ContainsFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Anonymous && f.IsExported() }) {
		return shape{}
	}
	s, fields := shape{}, []reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		s.from = append(s.from, f.Index)
		fields = append(fields, reflect.StructField{Name: f.Name, Type: f.Type, Tag: f.Tag})
	}
	s.typ = reflect.StructOf(fields)
	return s
}

// show returns an element as the library sees it.
func (s shape) show(element any) any {
	if s.typ == nil {
		return element
	}
	v := reflect.Indirect(reflect.ValueOf(element))
	flat := reflect.New(s.typ).Elem()
	for i, index := range s.from {
		if from, err := v.FieldByIndexErr(index); err == nil {
			flat.Field(i).Set(from)
		}
	}
	return flat.Interface()
}

// present puts the zero value for what is not there, so that a selector through it finds something: nodes
// without a locality are in no region rather than an error.
func present(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return reflect.Zero(v.Type().Elem())
	}
	return v
}
