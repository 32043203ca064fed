package httpapi

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func configRoutes() []Route {
	const entryWrite = "service:write | intentions:write | mesh:write | operator:write" // by kind
	return []Route{
		{Path: "/v1/config", Doc: "write a config entry", ACL: entryWrite, Methods: put(configPut)},
		{
			Path: "/v1/config/{entry...}", Doc: "read or delete a config entry, list those of a kind", ACL: entryWrite,
			Methods: []Method{{Name: http.MethodGet, Handle: configGet, ACL: "service:read | intentions:read | mesh:read | operator:read | none"}, {Name: http.MethodDelete, Handle: configDelete}},
		},
	}
}

// entryPath splits the end of a path into kind and name.
func (c *call) entryPath() (kind catalog.EntryKind, name string) {
	k, name, _ := strings.Cut(c.r.PathValue("entry"), "/")
	return catalog.EntryKind(k), name
}

func configPut(c *call) error {
	body, err := c.body(c.api.limits.Body)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return badRequest("request has no body: want a config entry in JSON")
	}
	e, err := decode.Entry(body)
	if err != nil {
		return badRequest("request body: %w", err)
	}
	w := &api.ConfigWrite{Op: api.ConfigSet, Entry: *catalog.AnyOf(e)}
	if c.has("cas") {
		w.Op = api.ConfigCAS
		if e.Head().ModifyIndex, err = c.number("cas"); err != nil {
			return err
		}
	}
	done, _, err := send(c, api.ConfigApply, w)
	if err != nil {
		return err
	}
	return c.json(done)
}

func configGet(c *call) error {
	kind, name := c.entryPath()
	switch {
	case kind == "":
		return query(c, api.ConfigListAll, &api.ConfigQuery{})
	case name == "":
		return query(c, api.ConfigList, &api.ConfigQuery{Kind: kind})
	}
	answer, err := ask(c, api.ConfigGet, &api.ConfigQuery{Kind: kind, Name: name})
	if err != nil {
		return err
	}
	if answer.Value().(*catalog.AnyEntry).Entry() != nil {
		return c.answer(answer)
	}
	c.meta(answer.Meta)
	c.w.Header().Set("Content-Type", typeText)
	c.write(http.StatusNotFound, []byte("config entry "+string(kind)+"/"+name+" does not exist"))
	return nil
}

func configDelete(c *call) error {
	kind, name := c.entryPath()
	e := catalog.NewEntry(kind)
	switch {
	case name == "":
		return notFound("missing kind or name of the config entry: want /v1/config/<kind>/<name>")
	case e == nil:
		return badRequest("unknown kind of config entry %q: want one of %q", kind, catalog.EntryKinds())
	}
	e.Head().Name = name
	w := &api.ConfigWrite{Op: api.ConfigDelete, Entry: *catalog.AnyOf(e)}
	if !c.has("cas") {
		if _, _, err := send(c, api.ConfigApply, w); err != nil {
			return err
		}
		return c.json(struct{}{})
	}
	w.Op = api.ConfigDeleteCAS
	var err error
	if e.Head().ModifyIndex, err = c.number("cas"); err != nil {
		return err
	}
	done, _, err := send(c, api.ConfigApply, w)
	if err != nil {
		return err
	}
	return c.json(done)
}
