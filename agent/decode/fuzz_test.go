package decode_test

import (
	"encoding/json"
	"testing"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

// FuzzJSON: no input panics, and what is accepted means the same when it is written in the plain way.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"ID":"a","Name":"b","Checks":[{"ttl":"1s"}],"Proxy":{"Upstreams":[{"destination_name":"x"}]}}`,
		`{"service":"a","port":80.0,"meta":{"x_y":"z"},"check":{"id":"c","interval":5}}`,
		`{"web":{"port":1}}`, `[{"a":[{}]}]`, `{"tagged_addresses":{"lan":[{"port":1},{"address":"x"}]}}`, `null`, "{\"a\":\"\\u00e9\"}", "",
	} {
		f.Add([]byte(seed), false, false)
		f.Add([]byte(seed), true, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, strict, file bool) {
		opts := []decode.Option{decode.Seen(func(decode.Field) {})}
		if strict {
			opts = append(opts, decode.Strict())
		}
		if file {
			opts = append(opts, decode.File())
		}
		var got, again catalog.ServiceDefinition
		if err := decode.JSON(data, &got, opts...); err != nil {
			return
		}
		plain, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode.JSON(plain, &again, decode.Strict()); err != nil {
			t.Fatalf("%s became %s: %v", data, plain, err)
		}
		if second, _ := json.Marshal(again); string(second) != string(plain) {
			t.Fatalf("%s became %s and then %s", data, plain, second)
		}
	})
}

// FuzzHCL: no input panics, and the JSON that is made of it is JSON.
func FuzzHCL(f *testing.F) {
	for _, seed := range []string{blocks, "a = <<E\nx\nE\n", "a b c {}", "a = [{},[1],\"x\",]", "a = 1e400", "a = 08", "\"a\" = \"${\"x\"}\"", "a = <<-E\n  x\n  E\n", "a=1 a{} a=[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := decode.HCLToJSON(data)
		if err == nil && !json.Valid(text) {
			t.Fatalf("%q became %s", data, text)
		}
		decode.HCL(data, &file{}, decode.Strict())
	})
}
