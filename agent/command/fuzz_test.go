package command

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzImport checks that what an import accepts is what an export of it would hold.
func FuzzImport(f *testing.F) {
	for _, seed := range []string{`[]`, `[{"key":"a","flags":3,"value":"MQ=="}]`, `[{"key":"a"},{"key":"b","value":null}]`, `[{"key":"a","value":"%"}]`, `[[`, `[{"key":1}]`, `{}`, `[] []`, `[{"key":"a"}`, ``} {
		f.Add(seed)
	}
	read := func(text string) ([]exported, error) {
		all := []exported{}
		err := entries(strings.NewReader(text), func(e *exported) error {
			if e.Value == nil {
				e.Value = []byte{}
			}
			all = append(all, *e)
			return nil
		})
		return all, err
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := read(text)
		if err != nil {
			return
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		again, err := read(string(b))
		if err != nil || !reflect.DeepEqual(all, again) {
			t.Errorf("%q gives %v, and then %v %v", text, all, again, err)
		}
	})
}
