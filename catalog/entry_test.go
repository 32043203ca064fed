package catalog_test

import (
	"encoding/json"
	"reflect"
	"strings"
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

// What a route does to requests has bounds, and says something.
func TestMirrorsAndFaults(t *testing.T) {
	for says, destination := range map[string]string{
		"Mirror":                  `{"Mirror": {"Percentage": 10}}`,
		"Mirror.Percentage":       `{"Mirror": {"Service": "b"}}`,
		"Mirror.Percentage 100.5": `{"Mirror": {"Service": "b", "Percentage": 100.5}}`,
		"Mirror.Service":          `{"Mirror": {"Service": "*", "Percentage": 1}}`,
		"FaultInjection is empty": `{"FaultInjection": {}}`,
		"Delay.Duration 0s":       `{"FaultInjection": {"Delay": {"Percentage": 1}}}`,
		"Delay.Duration 1h0m0s":   `{"FaultInjection": {"Delay": {"Duration": "1h", "Percentage": 1}}}`,
		"Abort.HTTPStatus 200":    `{"FaultInjection": {"Abort": {"HTTPStatus": 200, "Percentage": 1}}}`,
		"Abort.Percentage -1":     `{"FaultInjection": {"Abort": {"HTTPStatus": 500, "Percentage": -1}}}`,
		"":                        `{"Mirror": {"ServiceSubset": "v2", "Percentage": 0.5}, "FaultInjection": {"Delay": {"Duration": "3s", "Percentage": 100}, "Abort": {"HTTPStatus": 503, "Percentage": 1}}}`,
	} {
		e := &catalog.ServiceRouter{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceRouter, Name: "a"}}
		if err := json.Unmarshal([]byte(`{"Routes": [{"Destination": `+destination+`}]}`), e); err != nil {
			t.Fatal(err)
		}
		e.Normalize()
		if err := e.Validate(); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", destination, err, says)
		}
	}
}
