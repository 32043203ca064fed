package handler_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

// TestMapsOfStructs: msgpack decodes the values of a map one over the other, so what one leaves out it would
// have of the one before. No request, reply or entry has a map of structs that leave anything out; one of
// pointers to them is safe.
func TestMapsOfStructs(t *testing.T) {
	s := newServer(state.New())
	seen := map[reflect.Type]bool{}
	check := func(v any) { mapsOfStructs(t, reflect.TypeOf(v), fmt.Sprintf("%T", v), seen) }
	for _, method := range s.Methods() {
		check(s.NewRequest(method))
	}
	for name, call := range questions() {
		answer, err := s.Call(t.Context(), call)
		if err != nil {
			t.Fatal(name, err)
		}
		check(answer.Value())
	}
	for _, kind := range catalog.EntryKinds() {
		check(catalog.NewEntry(kind))
	}
	if len(seen) < 100 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}

// secret is encoded as a whole.
var secret = reflect.TypeFor[catalog.Secret]()

func mapsOfStructs(t *testing.T, typ reflect.Type, path string, seen map[reflect.Type]bool) {
	if seen[typ] {
		return
	}
	seen[typ] = true
	switch typ.Kind() {
	case reflect.Map:
		if leaves := leavesOut(typ.Elem()); leaves != "" && typ.Elem() != secret {
			t.Errorf("%s is a %s, of which %s may be left out: make it a map of pointers", path, typ, leaves)
		}
		fallthrough
	case reflect.Pointer, reflect.Slice, reflect.Array:
		mapsOfStructs(t, typ.Elem(), path, seen)
	case reflect.Struct:
		for f := range typ.NumField() {
			mapsOfStructs(t, typ.Field(f).Type, path+"."+typ.Field(f).Name, seen)
		}
	}
}

// leavesOut names a field of a struct that an encoding may be without, or that is shared when it is decoded over.
func leavesOut(typ reflect.Type) string {
	if typ.Kind() != reflect.Struct {
		return ""
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		switch f.Type.Kind() {
		case reflect.Map, reflect.Slice, reflect.Pointer, reflect.Interface, reflect.Struct:
			return f.Name
		}
		if strings.Contains(string(f.Tag), "omitempty") {
			return f.Name
		}
	}
	return ""
}

// TestUsageDecodes: what another server says of several datacenters stays apart.
func TestUsageDecodes(t *testing.T) {
	decodesAlike(t, api.UsageRead, map[string]*api.Usage{
		"dc1": {Nodes: 1, ConnectServiceInstances: map[string]int{"mesh-gateway": 3}}, "dc2": {Nodes: 2, ConnectServiceInstances: map[string]int{"connect-proxy": 4}}, "dc3": {},
	})
}

func decodesAlike[Req, Rep any](t *testing.T, _ rpc.Method[Req, Rep], sent Rep) {
	t.Helper()
	raw, err := rpc.Encode(&sent)
	if err != nil {
		t.Fatal(err)
	}
	var got Rep
	if err := rpc.Decode(raw, &got); err != nil || !reflect.DeepEqual(got, sent) {
		t.Errorf("decoded as %v, %v; sent was %v", got, err, sent)
	}
}
