package command

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

// grantOptions are the options that say what a token or role gives.
type grantOptions struct {
	policyIDs, policyNames, roleIDs, roleNames *list
	services, nodes                            *list
	template, templateFile                     *string
	vars                                       *list
}

func grantVars(f *flag.FlagSet, roles bool, prefix, what string) *grantOptions {
	o := &grantOptions{
		policyIDs:   listVar(f, prefix+"policy-id", what+" the policy with an `id`. It can be given several times."),
		policyNames: listVar(f, prefix+"policy-name", what+" the policy with a `name`. It can be given several times."),
		services:    listVar(f, prefix+"service-identity", what+" the identity of a service, as `name` or name:dc1,dc2. It can be given several times."),
		nodes:       listVar(f, prefix+"node-identity", what+" the identity of a node, as `name:datacenter`. It can be given several times."),
		template:    f.String(prefix+"templated-policy", "", what+" what the template with a `name` comes to, with the variables that -var gives."),
		roleIDs:     &list{}, roleNames: &list{},
	}
	if roles {
		o.roleIDs = listVar(f, prefix+"role-id", what+" the role with an `id`. It can be given several times.")
		o.roleNames = listVar(f, prefix+"role-name", what+" the role with a `name`. It can be given several times.")
	}
	o.templateFile = f.String(prefix+"templated-policy-file", "", what+" the templated policies of a `file` in HCL or JSON.")
	if prefix == "" {
		o.vars = listVar(f, "var", "A variable of -templated-policy, as `name:value`. It can be given several times.")
	}
	return o
}

// granted is what the options give.
type granted struct {
	catalog.Grants
	Roles []catalog.Link
}

// read returns what the options give. It looks up nothing: the servers know the names.
func (o *grantOptions) read(vars list) (*granted, error) {
	g := &granted{}
	g.Policies = linksOf(*o.policyIDs, *o.policyNames)
	g.Roles = linksOf(*o.roleIDs, *o.roleNames)
	for _, text := range *o.services {
		name, dcs, _ := strings.Cut(text, ":")
		g.Services = append(g.Services, &catalog.ServiceIdentity{ServiceName: name, Datacenters: fields(dcs)})
	}
	for _, text := range *o.nodes {
		name, dc, ok := strings.Cut(text, ":")
		if !ok {
			return nil, usage("-node-identity %q: want name:datacenter", text)
		}
		g.Nodes = append(g.Nodes, &catalog.NodeIdentity{NodeName: name, Datacenter: dc})
	}
	if *o.template != "" {
		t := &catalog.TemplatedPolicy{TemplateName: *o.template}
		for _, v := range vars {
			name, value, ok := strings.Cut(v, ":")
			if !ok || !strings.EqualFold(name, "name") {
				return nil, usage("-var %q: want name:value", v)
			}
			t.TemplateVariables = &catalog.TemplateVariables{Name: value}
		}
		g.Templated = append(g.Templated, t)
	}
	if *o.templateFile == "" {
		return g, nil
	}
	list, err := templatesIn(*o.templateFile)
	g.Templated = append(g.Templated, list...)
	return g, err
}

// templatesIn reads the templated policies of a file, as TemplatedPolicy "builtin/service" { Name = "web" } in HCL, or the
// same in JSON.
// Source: https://developer.hashicorp.com/consul/commands/acl/token/create (templated-policy-file)
func templatesIn(name string) (out []*catalog.TemplatedPolicy, err error) {
	b, err := readFile(name, maxSecretFile)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.TrimSpace(string(b)), "{") {
		if b, err = decode.HCLToJSON(b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	body := struct{ TemplatedPolicy json.RawMessage }{}
	if err := decode.JSON(b, &body, decode.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, group := range elements(body.TemplatedPolicy) {
		byName := map[string]json.RawMessage{}
		if err := json.Unmarshal(group, &byName); err != nil {
			return nil, fmt.Errorf("%s: TemplatedPolicy: %w", name, err)
		}
		for _, template := range slices.Sorted(maps.Keys(byName)) {
			for _, one := range elements(byName[template]) {
				vars := &catalog.TemplateVariables{}
				if err := json.Unmarshal(one, vars); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", name, template, err)
				}
				out = append(out, &catalog.TemplatedPolicy{TemplateName: template, TemplateVariables: vars})
			}
		}
	}
	return out, nil
}

// elements returns the elements of a list in JSON, or what is none by itself: HCL makes a list of what stands twice.
func elements(raw json.RawMessage) (list []json.RawMessage) {
	if json.Unmarshal(raw, &list) != nil {
		return []json.RawMessage{raw}
	}
	return list
}

func linksOf(ids, names list) (links []catalog.Link) {
	for _, id := range ids {
		links = append(links, catalog.Link{ID: id})
	}
	for _, name := range names {
		links = append(links, catalog.Link{Name: name})
	}
	return links
}

// instead replaces of what was what the options give, kind by kind.
func (g *granted) instead(was *granted) *granted {
	out := *was
	if g.Policies != nil {
		out.Policies = g.Policies
	}
	if g.Roles != nil {
		out.Roles = g.Roles
	}
	if g.Services != nil {
		out.Services = g.Services
	}
	if g.Nodes != nil {
		out.Nodes = g.Nodes
	}
	if g.Templated != nil {
		out.Templated = g.Templated
	}
	return &out
}

// added adds to what was what the options give.
func (g *granted) added(was *granted) *granted {
	return &granted{catalog.Grants{
		Policies: append(was.Policies, g.Policies...), Services: append(was.Services, g.Services...), Nodes: append(was.Nodes, g.Nodes...),
		Templated: append(was.Templated, g.Templated...),
	}, append(was.Roles, g.Roles...)}
}

// byPrefix returns the one thing whose id begins with text, as people type ids.
func byPrefix(what, text string, ids []string) (string, error) {
	var found []string
	for _, id := range ids {
		if strings.HasPrefix(id, strings.ToLower(text)) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("no %s has an id that begins with %q", what, text)
	}
	return "", fmt.Errorf("%d of the %s ids begin with %q: give more of it", len(found), what, text)
}

// policyID returns the id of the policy that options name.
func (c *call) policyID(ctx context.Context, id, name string) (string, error) {
	switch {
	case (id == "") == (name == ""):
		return "", usage("set -id or -name")
	case name != "":
		p, err := c.api.ACL().ReadPolicyNamed(ctx, name, c.q)
		return p.ID, err
	case catalog.IsUUID(id):
		return id, nil
	}
	list, err := c.api.ACL().Policies(ctx, c.q)
	if err != nil {
		return "", err
	}
	ids := []string{}
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	return byPrefix("policy", id, ids)
}

// roleID returns the id of the role that options name.
func (c *call) roleID(ctx context.Context, id, name string) (string, error) {
	switch {
	case (id == "") == (name == ""):
		return "", usage("set -id or -name")
	case name != "":
		r, err := c.api.ACL().ReadRoleNamed(ctx, name, c.q)
		return r.ID, err
	case catalog.IsUUID(id):
		return id, nil
	}
	list, err := c.api.ACL().Roles(ctx, c.q)
	if err != nil {
		return "", err
	}
	ids := []string{}
	for _, r := range list {
		ids = append(ids, r.ID)
	}
	return byPrefix("role", id, ids)
}

// accessor returns the accessor that an option names, whole.
func (c *call) accessor(ctx context.Context, id string) (string, error) {
	switch {
	case id == "":
		return "", usage("set -accessor-id")
	case catalog.IsUUID(id):
		return id, nil
	}
	list, err := c.api.ACL().Tokens(ctx, c.q)
	if err != nil {
		return "", err
	}
	ids := []string{}
	for _, t := range list {
		ids = append(ids, t.AccessorID)
	}
	return byPrefix("token", id, ids)
}
