package httpapi

import (
	"net/http"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func intentionRoutes() []Route {
	const write, read = "intentions:write", "intentions:read" // on the destination, and on either end
	return []Route{
		{Path: "/v1/connect/intentions", Doc: "list intentions; create one that has an id, as older clients do", ACL: write,
			Methods: []Method{{Name: http.MethodGet, Handle: intentionList, ACL: read}, {Name: http.MethodPost, Handle: intentionCreate}}},
		{Path: "/v1/connect/intentions/exact", Doc: "read, write and delete an intention by its source and destination", ACL: write,
			Methods: []Method{{Name: http.MethodGet, Handle: intentionExact, ACL: read}, {Name: http.MethodPut, Handle: intentionUpsert}, {Name: http.MethodDelete, Handle: intentionDelete}}},
		{Path: "/v1/connect/intentions/match", Doc: "list the intentions that count for services, in the order in which they do", ACL: read, Methods: get(intentionMatch), Effective: true},
		{Path: "/v1/connect/intentions/check", Doc: "whether a service may connect to another", ACL: "service:read", Methods: get(intentionCheck)},
		{Path: "/v1/connect/intentions/{id...}", Doc: "read, change and delete an intention by its id", ACL: write,
			Methods: []Method{{Name: http.MethodGet, Handle: intentionRead, ACL: read}, {Name: http.MethodPut, Handle: intentionUpdate}, {Name: http.MethodDelete, Handle: intentionDeleteID}}},
	}
}

func intentionList(c *call) error { return query(c, api.IntentionList, &api.IntentionQuery{}) }

// intentionName reads a service as intentions name it: with the namespace and the partition before it, of
// which there is one, or with the peer that a source belongs to.
func intentionName(param, text string) (name, peer string, err error) {
	if rest, ok := strings.CutPrefix(text, "peer:"); ok {
		peer, text, _ = strings.Cut(rest, "/")
	}
	parts := strings.Split(text, "/")
	name = parts[len(parts)-1]
	for i, tenancy := range parts[:len(parts)-1] {
		if i > 1 || tenancy != catalog.DefaultTenancy && tenancy != catalog.Wildcard {
			return "", "", badRequest("invalid %s %q: want the name of a service; there is only the namespace and the partition %q", param, text, catalog.DefaultTenancy)
		}
	}
	return name, peer, nil
}

// ends reads source and destination from the parameters.
func (c *call) ends() (*api.IntentionQuery, error) {
	q := &api.IntentionQuery{}
	var err error
	if q.Source, q.Peer, err = intentionName("source", c.param("source")); err != nil {
		return nil, err
	}
	q.Destination, _, err = intentionName("destination", c.param("destination"))
	return q, err
}

func intentionExact(c *call) error {
	q, err := c.ends()
	if err != nil {
		return err
	}
	if q.Source == "" || q.Destination == "" {
		return catalog.Errorf(catalog.Invalid, "source and destination are both needed")
	}
	return oneIntention(c, q, "intention "+q.Source+" => "+q.Destination+" does not exist")
}

// oneIntention answers without an index, as Consul does: to wait for a change is for lists and matches.
func oneIntention(c *call, q *api.IntentionQuery, missing string) error {
	answer, err := ask(c, api.IntentionGet, q)
	if err != nil {
		return err
	}
	found := *answer.Value().(*[]*catalog.Intention)
	if len(found) == 0 {
		return notFound("%s", missing)
	}
	return c.json(found[0])
}

func intentionUpsert(c *call) error {
	q, err := c.ends()
	if err != nil {
		return err
	}
	w := &api.IntentionWrite{Op: api.IntentionUpsert}
	if err := c.decode(&w.Intention); err != nil {
		return err
	}
	i := &w.Intention
	for _, name := range []struct{ field, said, param, want string }{
		{"SourceName", i.SourceName, "source", q.Source}, {"SourcePeer", i.SourcePeer, "source", q.Peer}, {"DestinationName", i.DestinationName, "destination", q.Destination},
	} {
		if name.said != "" && name.want != "" && name.said != name.want {
			return badRequest("request body: %s is %q, and the parameter %s says %q", name.field, name.said, name.param, name.want)
		}
	}
	i.SourceName, i.DestinationName = q.Source, q.Destination
	if q.Peer != "" {
		i.SourcePeer = q.Peer
	}
	if _, _, err := send(c, api.IntentionApply, w); err != nil {
		return err
	}
	return c.json(true)
}

func intentionDelete(c *call) error {
	q, err := c.ends()
	if err != nil {
		return err
	}
	w := &api.IntentionWrite{Op: api.IntentionDelete, Intention: catalog.Intention{SourceName: q.Source, SourcePeer: q.Peer, DestinationName: q.Destination}}
	if _, _, err := send(c, api.IntentionApply, w); err != nil {
		return err
	}
	return c.json(true)
}

func intentionMatch(c *call) error {
	q := &api.IntentionQuery{By: api.MatchBy(c.param("by"))}
	said := c.query["name"]
	for _, text := range said {
		name, _, err := intentionName("name", text)
		if err != nil {
			return err
		}
		q.Names = append(q.Names, name)
	}
	answer, err := ask(c, api.IntentionMatch, q)
	if err != nil {
		return err
	}
	c.meta(answer.Meta)
	found := *answer.Value().(*map[string][]*catalog.Intention)
	byText := make(map[string][]*catalog.Intention, len(said)) // under the names as the client wrote them
	for i, text := range said {
		byText[text] = found[q.Names[i]]
	}
	return c.json(byText)
}

func intentionCheck(c *call) error {
	if kind := c.param("source-type"); kind != "" && kind != catalog.SourceConsul {
		return badRequest("invalid source-type %q: want %q", kind, catalog.SourceConsul)
	}
	q, err := c.ends()
	if err != nil {
		return err
	}
	answer, err := ask(c, api.IntentionCheck, q)
	if err != nil {
		return err
	}
	return c.json(struct{ Allowed bool }{*answer.Value().(*bool)})
}

// intentionID is the id in the path.
func (c *call) intentionID() (string, error) {
	id := c.r.PathValue("id")
	if !catalog.IsUUID(id) {
		return "", badRequest("intention id %q is no UUID; /v1/connect/intentions/exact takes names", id)
	}
	return strings.ToLower(id), nil
}

func intentionRead(c *call) error {
	id, err := c.intentionID()
	if err != nil {
		return err
	}
	return oneIntention(c, &api.IntentionQuery{ID: id}, "intention "+id+" does not exist")
}

func intentionCreate(c *call) error { return intentionWrite(c, api.IntentionCreate, "") }

func intentionUpdate(c *call) error {
	id, err := c.intentionID()
	if err != nil {
		return err
	}
	return intentionWrite(c, api.IntentionUpdate, id)
}

// intentionWrite creates or changes an intention that has an id.
func intentionWrite(c *call, op api.IntentionOp, id string) error {
	w := &api.IntentionWrite{Op: op}
	if err := c.decode(&w.Intention); err != nil {
		return err
	}
	if id != "" {
		w.Intention.ID = id
	}
	given, _, err := send(c, api.IntentionApply, w)
	if err != nil {
		return err
	}
	return c.json(struct{ ID *string }{given})
}

func intentionDeleteID(c *call) error {
	id, err := c.intentionID()
	if err != nil {
		return err
	}
	if _, _, err := send(c, api.IntentionApply, &api.IntentionWrite{Op: api.IntentionDeleteID, Intention: catalog.Intention{ID: id}}); err != nil {
		return err
	}
	return c.json(true)
}
