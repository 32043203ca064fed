package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/server/api"
)

type keyed interface{ AppendKey([]byte) []byte }

var text = rapid.StringMatching(`[\x00-\x02ab]{0,3}`)

// draw fills a question with anything.
func draw[Q any, P interface {
	*Q
	keyed
}](t *rapid.T, name string) P {
	q := P(new(Q))
	for v, i := reflect.ValueOf(q).Elem(), 0; i < v.NumField(); i++ {
		label := name + "." + v.Type().Field(i).Name
		switch field := v.Field(i); field.Interface().(type) {
		case string:
			field.SetString(text.Draw(t, label))
		case bool:
			field.SetBool(rapid.Bool().Draw(t, label))
		case []string:
			field.Set(reflect.ValueOf(rapid.SliceOfN(text, 0, 2).Draw(t, label)))
		case map[string]string:
			field.Set(reflect.ValueOf(rapid.MapOfN(text, text, 0, 2).Draw(t, label)))
		default:
			t.Fatalf("%s is a %s: teach this test to draw one", label, field.Type())
		}
	}
	return q
}

// distinct checks that two questions have one key if and only if they are the same: a field that AppendKey
// forgets, or parts of it that run together, would give the answer to one for the other.
func distinct[Q any, P interface {
	*Q
	keyed
}](t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw[Q, P](t, "a"), draw[Q, P](t, "b")
		if fields := reflect.ValueOf(b).Elem(); rapid.Bool().Draw(t, "alike") { // but for one field
			at := rapid.IntRange(0, fields.NumField()-1).Draw(t, "field")
			for i := range fields.NumField() {
				if i != at {
					fields.Field(i).Set(reflect.ValueOf(a).Elem().Field(i))
				}
			}
		}
		if got := string(a.AppendKey(nil)) == string(b.AppendKey(nil)); got != reflect.DeepEqual(a, b) {
			t.Fatalf("%+v and %+v have one key: %v", *a, *b, got)
		}
		if key := a.AppendKey([]byte("before")); string(key) != "before"+string(a.AppendKey(nil)) {
			t.Fatalf("%q does not go on where it began", key)
		}
	})
}

func TestQuestionsHaveTheirOwnKeys(t *testing.T) {
	distinct[api.NodeQuery](t)
	distinct[api.ServiceQuery](t)
	distinct[api.AddressQuery](t)
	distinct[api.KVQuery](t)
}

// TestVerbsHaveTheirOwnNames reads the source: two verbs of one name would be one.
func TestVerbsHaveTheirOwnNames(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]token.Position{}
	set := token.NewFileSet()
	for _, name := range files {
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			made, ok := n.(*ast.CompositeLit)
			if !ok || !isMethod(made.Type) {
				return true
			}
			verb := made.Elts[0].(*ast.KeyValueExpr).Value.(*ast.BasicLit).Value
			if before, taken := seen[verb]; taken {
				t.Errorf("%s: the verb %s is at %s too", set.Position(n.Pos()), verb, before)
			}
			seen[verb] = set.Position(n.Pos())
			return true
		})
	}
	if len(seen) < 30 {
		t.Errorf("only %d verbs were found", len(seen))
	}
}

func isMethod(of ast.Expr) bool {
	index, ok := of.(*ast.IndexListExpr)
	if !ok {
		return false
	}
	name, ok := index.X.(*ast.SelectorExpr)
	return ok && name.Sel.Name == "Method"
}

// TestReads lists what writes: an operation that is wrongly taken for a read would never reach the log.
func TestReads(t *testing.T) {
	reads := []api.KVOp{api.KVGet, api.KVGetOrEmpty, api.KVGetTree, api.KVCheckIndex, api.KVCheckSession, api.KVCheckNotExists, "unknown"}
	writes := []api.KVOp{api.KVSet, api.KVCAS, api.KVLock, api.KVUnlock, api.KVDelete, api.KVDeleteTree, api.KVDeleteCAS}
	for _, op := range slices.Concat(reads, writes) {
		if got := (&api.TxnOp{KV: &api.TxnKV{Verb: op}}).Reads(); got != slices.Contains(reads, op) {
			t.Errorf("%s of a key reads: %v", op, got)
		}
	}
	for _, verb := range []string{api.TxnGet, api.TxnSet, api.TxnCAS, api.TxnDelete, api.TxnDeleteCAS} {
		for _, op := range []api.TxnOp{{Node: &api.TxnNode{Verb: verb}}, {Service: &api.TxnService{Verb: verb}}, {Check: &api.TxnCheck{Verb: verb}}} {
			if got := op.Reads(); got != (verb == api.TxnGet) {
				t.Errorf("%s in %+v reads: %v", verb, op, got)
			}
		}
	}
	if (&api.TxnOp{Session: &api.TxnSession{Verb: "delete"}}).Reads() || !(&api.TxnOp{}).Reads() {
		t.Error("sessions are only removed, and nothing is no write")
	}
}
