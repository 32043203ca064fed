package catalog_test

import (
	"encoding/json"
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
