package httpapi

import (
	"net/http"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

// kvPath is what comes before a key in a path.
const kvPath = "/v1/kv/"

func kvRoutes() []Route {
	return []Route{{
		Path: kvPath + "{key...}", Doc: "read, write and delete keys", ACL: "key:write",
		Methods: []Method{{Name: http.MethodGet, Handle: kvGet, ACL: "key:read"}, {Name: http.MethodPut, Handle: kvPut}, {Name: http.MethodDelete, Handle: kvDelete}},
	}}
}

func kvGet(c *call) error {
	key := c.r.PathValue("key")
	switch {
	case c.has("recurse"):
		return kvList(c, key)
	case c.has("keys"):
		return kvKeys(c, key)
	case key == "":
		return badRequest("missing key name: want /v1/kv/<key>")
	}
	answer, err := ask(c, api.KVRead, &api.KVQuery{Key: key})
	if err != nil {
		return err
	}
	c.meta(answer.Meta)
	pairs := *answer.Value().(*[]*catalog.KVPair)
	if len(pairs) == 0 {
		return c.absent()
	}
	if c.has("raw") {
		return kvRaw(c, pairs[0].Value)
	}
	return c.answer(answer)
}

// kvRaw writes a value as it is. It is the client's own and may be anything: a browser must not run it.
func kvRaw(c *call, value []byte) error {
	h := c.w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	c.write(http.StatusOK, value)
	return nil
}

func kvList(c *call, prefix string) error {
	answer, err := ask(c, api.KVList, &api.KVQuery{Key: prefix})
	if err != nil {
		return err
	}
	if len(*answer.Value().(*[]*catalog.KVPair)) == 0 {
		c.meta(answer.Meta)
		return c.absent()
	}
	return c.answer(answer)
}

func kvKeys(c *call, prefix string) error {
	answer, err := ask(c, api.KVKeys, &api.KVQuery{Key: prefix, Separator: c.param("separator")})
	if err != nil {
		return err
	}
	if len(*answer.Value().(*[]string)) == 0 {
		c.meta(answer.Meta)
		return c.absent()
	}
	return c.answer(answer)
}

func kvPut(c *call) error {
	w := &api.KVWrite{Op: api.KVSet, Pair: catalog.KVPair{Key: c.r.PathValue("key")}}
	if w.Pair.Key == "" {
		return badRequest("missing key name: want /v1/kv/<key>")
	}
	if conflicting(c, "cas", "acquire", "release") {
		return badRequest("only one of cas, acquire and release can be asked for")
	}
	var err error
	if w.Pair.Flags, err = c.kvNumber("flags"); err != nil {
		return err
	}
	switch {
	case c.has("cas"):
		w.Op = api.KVCAS
		if w.Pair.ModifyIndex, err = c.kvNumber("cas"); err != nil {
			return err
		}
	case c.has("acquire"):
		w.Op, w.Pair.Session = api.KVLock, c.param("acquire")
	case c.has("release"):
		w.Op, w.Pair.Session = api.KVUnlock, c.param("release")
	}
	if w.Pair.Value, err = c.body(c.api.limits.KVValue); err != nil {
		return err
	}
	if len(w.Pair.Value) == 0 {
		w.Pair.Value = nil // an empty value is null in answers
	}
	return kvWrite(c, w)
}

func kvDelete(c *call) error {
	w := &api.KVWrite{Op: api.KVDelete, Pair: catalog.KVPair{Key: c.r.PathValue("key")}}
	if conflicting(c, "recurse", "cas") {
		return badRequest("only one of recurse and cas can be asked for")
	}
	switch {
	case c.has("recurse"):
		w.Op = api.KVDeleteTree
	case w.Pair.Key == "":
		return badRequest("missing key name: want /v1/kv/<key>")
	case c.has("cas"):
		w.Op = api.KVDeleteCAS
		var err error
		if w.Pair.ModifyIndex, err = c.kvNumber("cas"); err != nil {
			return err
		}
	}
	return kvWrite(c, w)
}

func kvWrite(c *call, w *api.KVWrite) error {
	done, _, err := send(c, api.KVApply, w)
	if err != nil {
		return err
	}
	return c.json(done)
}

func conflicting(c *call, names ...string) bool {
	n := 0
	for _, name := range names {
		if c.has(name) {
			n++
		}
	}
	return n > 1
}

// kvNumber reads a number of the key's own; a bad one is refused with 500, as Consul does.
func (c *call) kvNumber(name string) (uint64, error) {
	n, err := c.number(name)
	if err != nil {
		return 0, withStatus(http.StatusInternalServerError, "%w", err)
	}
	return n, nil
}
