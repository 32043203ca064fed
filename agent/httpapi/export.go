package httpapi

import (
	"net/http"
	"strconv"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/server/api"
)

func exportRoutes() []Route {
	return []Route{
		{Path: "/api/multicluster/v2/exportedservices", Doc: "list the sets of exported services", ACL: "mesh:read", Methods: get(exportSets)},
		{Path: "/api/multicluster/v2/exportedservices/{name...}", Doc: "write, show or delete a set of exported services", ACL: "mesh:write", Methods: []Method{
			{Name: http.MethodGet, ACL: "mesh:read", Handle: exportSet}, {Name: http.MethodPut, Handle: exportSetPut}, {Name: http.MethodDelete, Handle: exportSetDelete},
		}},
	}
}

// resource is an export set as the resource API of version 2 writes it.
type resource struct {
	ID         resourceID        `json:"id"`
	Data       resourceData      `json:"data"`
	Metadata   map[string]string `json:"metadata"`
	Version    string            `json:"version"`    // another one after every change
	Generation string            `json:"generation"` // another one after every change of the data
}

type resourceID struct {
	Name string       `json:"name"`
	Type resourceType `json:"type"`
}

type resourceType struct {
	Group        string `json:"group"`
	GroupVersion string `json:"groupVersion"`
	Kind         string `json:"kind"`
}

type resourceData struct {
	Consumers []resourceConsumer `json:"consumers"`
	Services  []string           `json:"services"`
}

type resourceConsumer struct {
	Peer          string `json:"peer,omitempty"`
	Partition     string `json:"partition,omitempty"` // to be refused by name
	SamenessGroup string `json:"sameness_group,omitempty"`
}

func resourceOf(s *catalog.ExportSet) resource {
	r := resource{
		ID:   resourceID{Name: s.Name, Type: resourceType{Group: "multicluster", GroupVersion: "v2", Kind: "ExportedServices"}},
		Data: resourceData{Services: s.Services}, Metadata: s.Metadata,
		Version: strconv.FormatUint(s.ModifyIndex, 10), Generation: strconv.FormatUint(s.Generation, 10),
	}
	if r.Metadata == nil {
		r.Metadata = map[string]string{}
	}
	for _, to := range s.Consumers {
		r.Data.Consumers = append(r.Data.Consumers, resourceConsumer{Peer: to.Peer, SamenessGroup: to.SamenessGroup})
	}
	return r
}

const exportSetName = "name of a set of exported services"

func exportSets(c *call) error {
	found, meta, err := send(c, api.ExportSetList, nothing)
	if err != nil {
		return err
	}
	list := make([]resource, len(*found))
	for i, s := range *found {
		list[i] = resourceOf(s)
	}
	c.meta(meta)
	return c.json(struct {
		Resources []resource `json:"resources"`
	}{list})
}

func exportSet(c *call) error {
	name, err := c.path("name", exportSetName)
	if err != nil {
		return err
	}
	found, meta, err := send(c, api.ExportSetRead, &api.Named{Name: name})
	switch {
	case err != nil:
		return err
	case len(*found) == 0:
		return notFound("there is no set of exported services %.64q", name)
	}
	c.meta(meta)
	return c.json(resourceOf((*found)[0]))
}

func exportSetPut(c *call) error {
	name, err := c.path("name", exportSetName)
	if err != nil {
		return err
	}
	var body struct {
		Data     resourceData
		Metadata map[string]string
	}
	if err := c.decode(&body); err != nil {
		return err
	}
	set := &catalog.ExportSet{Name: name, Services: body.Data.Services, Metadata: body.Metadata}
	for i, to := range body.Data.Consumers {
		if to.Partition != "" {
			return badRequest("request body: data.consumers[%d].partition: %.64q: there are no partitions to export to: name a peer or a sameness_group", i, to.Partition)
		}
		set.Consumers = append(set.Consumers, catalog.ServiceConsumer{Peer: to.Peer, SamenessGroup: to.SamenessGroup})
	}
	if err := set.Validate(); err != nil { // the servers check it too, but what they refuse is answered with 500
		return badRequest("%w", err)
	}
	stored, _, err := send(c, api.ExportSetPut, set)
	if err != nil {
		return err
	}
	return c.json(resourceOf(stored))
}

func exportSetDelete(c *call) error {
	name, err := c.path("name", exportSetName)
	if err != nil {
		return err
	}
	if _, _, err := send(c, api.ExportSetDelete, &api.Named{Name: name}); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
