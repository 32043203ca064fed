package conformance

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

func TestKV(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	kv := a.KV()
	put := func(key, value string) {
		t.Helper()
		_, err := kv.Put(&api.KVPair{Key: key, Value: []byte(value)}, nil)
		must(t, err)
	}
	get := func(key string) *api.KVPair {
		t.Helper()
		p, _, err := kv.Get(key, nil)
		must(t, err)
		return p
	}
	_, err := kv.Put(&api.KVPair{Key: "a b/é?&#", Value: []byte{0, 1, 255}, Flags: 1<<64 - 1}, nil)
	must(t, err)
	p := get("a b/é?&#")
	if p == nil || !bytes.Equal(p.Value, []byte{0, 1, 255}) || p.Flags != 1<<64-1 || p.CreateIndex != p.ModifyIndex || p.CreateIndex == 0 || p.LockIndex != 0 || p.Session != "" {
		t.Errorf("pair: %s", asJSON(p))
	}
	if absent, meta, err := kv.Get("absent", nil); err != nil || absent != nil || meta.LastIndex == 0 {
		t.Errorf("a key that is not there: %s, %v, %v", asJSON(absent), meta, err)
	}

	// Compare and set, and delete.
	cas := func(index uint64, value string) bool {
		done, _, err := kv.CAS(&api.KVPair{Key: "c", Value: []byte(value), ModifyIndex: index}, nil)
		must(t, err)
		return done
	}
	equal(t, "cas 0, cas 0 again, cas at a stale index", []bool{cas(0, "1"), cas(0, "2"), cas(1, "3")}, []bool{true, false, false})
	before := get("c")
	equal(t, "cas at its index", cas(before.ModifyIndex, "4"), true)
	after := get("c")
	if string(after.Value) != "4" || after.CreateIndex != before.CreateIndex || after.ModifyIndex <= before.ModifyIndex {
		t.Errorf("after cas: %s, before: %s", asJSON(after), asJSON(before))
	}
	done, _, err := kv.DeleteCAS(before, nil)
	must(t, err)
	equal(t, "delete at a stale index", done, false)
	done, _, err = kv.DeleteCAS(after, nil)
	must(t, err)
	equal(t, "delete at its index", []any{done, get("c")}, []any{true, nil})

	// Trees.
	for _, key := range []string{"list/a", "list/b/one", "list/b/two", "list/c/", "listing"} {
		put(key, key)
	}
	pairs, _, err := kv.List("list/", nil)
	must(t, err)
	equal(t, "recursive read", names(pairs, func(p *api.KVPair) string { return p.Key }), []string{"list/a", "list/b/one", "list/b/two", "list/c/"})
	keys, _, err := kv.Keys("list/", "/", nil)
	must(t, err)
	equal(t, "keys up to a separator", keys, []string{"list/a", "list/b/", "list/c/"})
	keys, _, err = kv.Keys("list", "", nil)
	must(t, err)
	equal(t, "all keys", keys, []string{"list/a", "list/b/one", "list/b/two", "list/c/", "listing"})
	keys, _, err = kv.Keys("none", "", nil)
	must(t, err)
	equal(t, "no keys", len(keys), 0)
	_, err = kv.DeleteTree("list/b/", nil)
	must(t, err)
	_, err = kv.Delete("listing", nil)
	must(t, err)
	_, err = kv.Delete("listing", nil)
	must(t, err)
	keys, _, err = kv.Keys("list", "", nil)
	must(t, err)
	equal(t, "keys after deleting", keys, []string{"list/a", "list/c/"})
}

// What goes beside the client: raw values, sizes, parameters that contradict each other.
func TestKVPlain(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	equal(t, "answer of a put", a.status(200, "PUT", "/v1/kv/x?flags=7", "<script>").body, "true")
	raw := a.status(200, "GET", "/v1/kv/x?raw", "")
	if raw.body != "<script>" || !strings.HasPrefix(raw.header.Get("Content-Type"), "text/plain") || raw.header.Get("X-Content-Type-Options") != "nosniff" || raw.header.Get("X-Consul-Index") == "" {
		t.Errorf("raw value: %q %v", raw.body, raw.header)
	}
	most := strings.Repeat("x", 512<<10)
	a.status(200, "PUT", "/v1/kv/most", most)
	equal(t, "size of the largest value", len(a.status(200, "GET", "/v1/kv/most?raw", "").body), len(most))
	a.status(413, "PUT", "/v1/kv/most", most+"x")
	a.status(404, "GET", "/v1/kv/absent?raw", "")
	a.status(404, "GET", "/v1/kv/absent?recurse", "")
	a.status(404, "GET", "/v1/kv/absent?keys", "")
	for _, bad := range []string{"PUT /v1/kv/x?cas=0&acquire=y", "PUT /v1/kv/x?acquire=y&release=y", "DELETE /v1/kv/x?recurse&cas=1", "PUT /v1/kv/", "GET /v1/kv/", "DELETE /v1/kv/"} {
		method, path, _ := strings.Cut(bad, " ")
		a.status(400, method, path, "")
	}
	a.status(500, "PUT", "/v1/kv/x?flags=many", "")
	a.status(500, "PUT", "/v1/kv/x?cas=-1", "")
	a.status(405, "POST", "/v1/kv/x", "")
	a.status(500, "PUT", "/v1/kv/x?acquire=no-session", "")
	equal(t, "the value after all that", a.status(200, "GET", "/v1/kv/x?raw", "").body, "<script>")

	small := start(t, settings{"limits": settings{"kv_max_value_size": 10}})
	small.status(200, "PUT", "/v1/kv/x", "0123456789")
	small.status(413, "PUT", "/v1/kv/x", "0123456789a")
}

// A key, a prefix, and what is not there yet can be waited for; a deletion wakes too.
func TestKVBlocking(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	kv := a.KV()
	type result struct {
		value string
		count int
		err   error
	}
	watch := func(ask func(*api.QueryOptions) (result, *api.QueryMeta)) <-chan result {
		_, meta := ask(nil)
		woken := make(chan result, 1)
		go func() { // ends with a change, or after the wait
			got, _ := ask(&api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: patience})
			woken <- got
		}()
		return woken
	}
	key := func(q *api.QueryOptions) (result, *api.QueryMeta) {
		p, meta, err := kv.Get("tree/leaf", q)
		if p == nil {
			return result{err: err}, meta
		}
		return result{value: string(p.Value), count: 1, err: err}, meta
	}
	prefix := func(q *api.QueryOptions) (result, *api.QueryMeta) {
		all, meta, err := kv.List("tree/", q)
		return result{count: len(all), err: err}, meta
	}
	keys := func(q *api.QueryOptions) (result, *api.QueryMeta) {
		all, meta, err := kv.Keys("tree/", "/", q)
		return result{count: len(all), err: err}, meta
	}
	_, err := kv.Put(&api.KVPair{Key: "other"}, nil)
	must(t, err)
	for _, step := range []struct {
		do   func() error
		want result // of the key
	}{
		{func() error { _, err := kv.Put(&api.KVPair{Key: "tree/leaf", Value: []byte("1")}, nil); return err }, result{value: "1", count: 1}},
		{func() error { _, err := kv.Put(&api.KVPair{Key: "tree/leaf", Value: []byte("2")}, nil); return err }, result{value: "2", count: 1}},
		{func() error { _, err := kv.Delete("tree/leaf", nil); return err }, result{}},
	} {
		one, tree, list := watch(key), watch(prefix), watch(keys)
		_, err := kv.Put(&api.KVPair{Key: "other"}, nil)
		must(t, err)
		must(t, step.do())
		got := <-one
		must(t, got.err)
		if got.value != step.want.value || got.count != step.want.count {
			t.Errorf("the key woke with %+v, want %+v", got, step.want)
		}
		for what, woken := range map[string]<-chan result{"prefix": tree, "keys": list} {
			got := <-woken
			must(t, got.err)
			if got.count != step.want.count {
				t.Errorf("%s woke with %d, want %d", what, got.count, step.want.count)
			}
		}
	}
}

// A short answer, a long one that is compressed, and the connection that carries both.
func TestCompression(t *testing.T) {
	t.Parallel()
	a := start(t, nil)
	for i := range 50 {
		a.status(200, "PUT", fmt.Sprintf("/v1/kv/many/%d", i), strings.Repeat("x", 100))
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+a.http+"/v1/kv/many?recurse", nil)
	must(t, err)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	resp.Body.Close()
	if resp.Header.Get("Content-Encoding") != "gzip" || resp.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("a long answer is not compressed: %v", resp.Header)
	}
	pairs, _, err := a.KV().List("many", nil)
	must(t, err)
	equal(t, "pairs", len(pairs), 50)
}
