package decode_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

// TestEntryScripts plays testdata/entries/*.txt. A case is a line "# what it shows", an entry in HCL or
// JSON, and what becomes of it: a line "= JSON" as it is stored, without its indexes and hash, or a line
// "! error".
func TestEntryScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/entries/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	cases := 0
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		title, text := "", ""
		for line := range strings.Lines(string(script)) {
			switch {
			case strings.HasPrefix(line, "# "):
				title = strings.TrimSpace(line)
			case strings.HasPrefix(line, "= "), strings.HasPrefix(line, "! "):
				cases++
				if got, want := stored(text), strings.TrimSpace(line); got != want {
					t.Errorf("%s: %s\n%sgot  %s\nwant %s", file, title, text, got, want)
				}
				text = ""
			default:
				text += line
			}
		}
		if strings.TrimSpace(text) != "" {
			t.Errorf("%s: a case has no end: %s", file, text)
		}
	}
	if cases < 100 {
		t.Errorf("only %d cases were played", cases)
	}
}

func readEntry(text string) (catalog.ConfigEntry, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return decode.Entry([]byte(text))
	}
	return decode.EntryHCL([]byte(text))
}

// stored is what becomes of an entry, as a script says it.
func stored(text string) string {
	e, err := readEntry(text)
	if err == nil {
		e.Normalize()
		err = e.Validate()
	}
	if err != nil {
		return "! " + err.Error()
	}
	h := e.Head()
	h.Hash, h.CreateIndex, h.ModifyIndex = 0, 0, 0
	said, _ := json.Marshal(catalog.AnyOf(e))
	return "= " + strings.Replace(string(said), `,"CreateIndex":0,"ModifyIndex":0`, "", 1)
}

// What is stored can be written back, and says the same then.
func FuzzEntry(f *testing.F) {
	for _, kind := range catalog.EntryKinds() {
		f.Add(`{"Kind":"` + string(kind) + `","Name":"web"}`)
	}
	f.Add(`{"kind":"service-splitter","name":"a","splits":[{"weight":"50"},{"weight":50,"service":"b"}]}`)
	f.Add(`Kind = "proxy-defaults" Config { a { b = [1, "x"] } }`)
	f.Add(`{"Kind":"service-resolver","Name":"a","Subsets":[{"v1":{}},{"v2":{"Filter":"x"}}],"ConnectTimeout":5,"LoadBalancer":{"Policy":"maglev"}}`)
	f.Add(`{"Kind":"service-intentions","Name":"*","Sources":[{"Name":"*","Action":"deny"},null]}`)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := readEntry(text)
		if err != nil {
			if catalog.CodeOf(err) != catalog.Invalid {
				t.Fatalf("code %s: %v", catalog.CodeOf(err), err)
			}
			return
		}
		e.Normalize()
		if err := e.Validate(); err != nil {
			if catalog.CodeOf(err) != catalog.Invalid {
				t.Fatalf("code %s: %v", catalog.CodeOf(err), err)
			}
			return
		}
		again := e.Clone()
		if again.Normalize(); !catalog.SameEntry(e, again) {
			t.Fatalf("normalized twice it differs: %s", show(again))
		}
		back, err := decode.Entry([]byte(show(catalog.AnyOf(e))))
		if err != nil {
			t.Fatalf("%s: %v", show(e), err)
		}
		if back.Normalize(); !catalog.SameEntry(e, back) {
			t.Fatalf("%s came back as %s", show(e), show(back))
		}
	})
}

// TestEntryPage: the page of config entries has for every kind an example that is valid and every field
// that there is.
func TestEntryPage(t *testing.T) {
	page, err := os.ReadFile("../../website/docs/config-entries.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shared, _ := strings.Cut(string(page), "\n## Shared parts\n")
	for _, kind := range catalog.EntryKinds() {
		if kind == catalog.EntryBoundAPIGateway {
			continue
		}
		_, section, ok := strings.Cut(string(page), "\n## "+string(kind)+"\n")
		if !ok {
			t.Errorf("%s has no section", kind)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		if kind != catalog.EntryInlineCertificate { // whose example would be long
			_, example, _ := strings.Cut(section, "```hcl\n")
			example, _, _ = strings.Cut(example, "```")
			if said := stored(example); !strings.HasPrefix(said, `= {"Kind":"`+string(kind)) {
				t.Errorf("the example of %s: %s", kind, said)
			}
		}
		for field := range fieldsOf(reflect.TypeOf(catalog.NewEntry(kind))) {
			if !strings.Contains(section+shared, field) {
				t.Errorf("%s: the page does not mention %s", kind, field)
			}
		}
	}
}

// fieldsOf are the names of the fields of a type and of those in it that a writer sets.
func fieldsOf(t reflect.Type) map[string]bool {
	names := map[string]bool{}
	switch {
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice, t.Kind() == reflect.Map:
		return fieldsOf(t.Elem())
	case t.Kind() != reflect.Struct, t == reflect.TypeFor[time.Time](), t == reflect.TypeFor[catalog.EntryStatus](), t == reflect.TypeFor[catalog.EntryHead]():
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous {
			names[f.Name] = true
		}
		maps.Copy(names, fieldsOf(f.Type))
	}
	return names
}
