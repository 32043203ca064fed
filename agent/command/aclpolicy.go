package command

import (
	"context"
	"flag"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
)

func idVars(f *flag.FlagSet, noun string) (id, name *string) {
	return f.String("id", "", "The `id` of the "+noun+", or the beginning of it."), f.String("name", "", "The `name` of the "+noun+".")
}

func policyCreate(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	name := f.String("name", "", "The policy's `name`; it must be given.")
	description := f.String("description", "", "What the policy is for, in `words`.")
	dcs := listVar(f, "valid-datacenter", "A `datacenter` in which the policy counts. It can be given several times; the default is everywhere.")
	rules := f.String("rules", "", "The `rules` in HCL or JSON: as they are, @FILE, or - for standard input.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		if *name == "" {
			return usage("set -name")
		}
		text, err := textOf(c, *rules)
		if err != nil {
			return err
		}
		made, err := c.api.ACL().WritePolicy(ctx, &catalog.Policy{Name: *name, Description: *description, Datacenters: *dcs, Rules: text}, c.q)
		if err != nil {
			return err
		}
		return format.written(c, made)
	})
}

func policyRead(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	id, name := idVars(f, "policy")
	return aclAction(format, func(ctx context.Context, c *call) error {
		whole, err := c.policyID(ctx, *id, *name)
		if err != nil {
			return err
		}
		p, err := c.api.ACL().ReadPolicy(ctx, whole, c.q)
		if err != nil {
			return err
		}
		return format.show(c, p, func(s *sheet) { s.policy(p) })
	})
}

func policyUpdate(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	id := f.String("id", "", "The `id` of the policy, or the beginning of it.")
	name := f.String("name", "", "The policy's new `name`; without -id the policy that has it is changed.")
	description := f.String("description", "", "What the policy is for, in `words`.")
	dcs := listVar(f, "valid-datacenter", "A `datacenter` in which the policy counts, instead of its own ones. It can be given several times.")
	rules := f.String("rules", "", "The `rules` in HCL or JSON: as they are, @FILE, or - for standard input.")
	bare := f.Bool("no-merge", false, "Leave out what is not given, instead of leaving it as it is.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		named := *name
		if *id != "" {
			named = ""
		}
		whole, err := c.policyID(ctx, *id, named)
		if err != nil {
			return err
		}
		p := &catalog.Policy{ID: whole, Name: *name, Description: *description, Datacenters: *dcs}
		if p.Rules, err = textOf(c, *rules); err != nil {
			return err
		}
		if !*bare {
			was, err := c.api.ACL().ReadPolicy(ctx, whole, c.q)
			if err != nil {
				return err
			}
			keep(f, "name", &p.Name, was.Name)
			keep(f, "description", &p.Description, was.Description)
			keep(f, "rules", &p.Rules, was.Rules)
			keep(f, "valid-datacenter", &p.Datacenters, was.Datacenters)
		}
		made, err := c.api.ACL().WritePolicy(ctx, p, c.q)
		if err != nil {
			return err
		}
		return format.written(c, made)
	})
}

// written shows a policy as it was stored, and warns of what in it has no effect.
func (a *aclFormat) written(c *call, p *catalog.Policy) error {
	if rules, err := acl.Parse(p.Rules); err == nil { // the servers may know more than this program
		for _, text := range rules.Unknown() {
			c.note("Warning: rules: %s", clean(text))
		}
	}
	return a.show(c, p, func(s *sheet) { s.policy(p) })
}

// keep leaves a value as it was when its option is not given.
func keep[T any](f *flag.FlagSet, option string, value *T, was T) {
	if !given(f, option) {
		*value = was
	}
}

func policyDelete(f *flag.FlagSet) action {
	id, name := idVars(f, "policy")
	return func(ctx context.Context, c *call) error {
		whole, err := c.policyID(ctx, *id, *name)
		if err != nil {
			return err
		}
		if err := c.api.ACL().DeletePolicy(ctx, whole, c.q); err != nil {
			return err
		}
		c.say("Policy %q deleted successfully", whole)
		return nil
	}
}

func policyList(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		list, err := c.api.ACL().Policies(ctx, c.q)
		if err != nil {
			return err
		}
		return showAll(format, c, list, func(p *catalog.PolicySummary) string { return p.Name }, func(s *sheet, p *catalog.PolicySummary) {
			s.row("ID", p.ID)
			s.row("Description", p.Description)
			s.row("Datacenters", everywhere(p.Datacenters))
			s.indexes(p.Hash, p.CreateIndex, p.ModifyIndex)
		})
	})
}

func setRole(r *catalog.Role, g *granted) {
	r.Policies, r.ServiceIdentities, r.NodeIdentities, r.TemplatedPolicies = g.Policies, g.Services, g.Nodes, g.Templated
}

func roleCreate(f *flag.FlagSet) action {
	format, grants := aclFormatVar(f), grantVars(f, false, "", "Give the role")
	name := f.String("name", "", "The role's `name`; it must be given.")
	description := f.String("description", "", "What the role is for, in `words`.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		if *name == "" {
			return usage("set -name")
		}
		g, err := grants.read(*grants.vars)
		if err != nil {
			return err
		}
		r := &catalog.Role{Name: *name, Description: *description}
		setRole(r, g)
		made, err := c.api.ACL().WriteRole(ctx, r, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.role(made) })
	})
}

func roleRead(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	id, name := idVars(f, "role")
	return aclAction(format, func(ctx context.Context, c *call) error {
		whole, err := c.roleID(ctx, *id, *name)
		if err != nil {
			return err
		}
		r, err := c.api.ACL().ReadRole(ctx, whole, c.q)
		if err != nil {
			return err
		}
		return format.show(c, r, func(s *sheet) { s.role(r) })
	})
}

func roleUpdate(f *flag.FlagSet) action {
	format, grants, more := aclFormatVar(f), grantVars(f, false, "", "Instead of its own ones give the role"), grantVars(f, false, "append-", "Also give the role")
	merge := mergeVars(f)
	id := f.String("id", "", "The `id` of the role, or the beginning of it.")
	name := f.String("name", "", "The role's new `name`; without -id the role that has it is changed.")
	description := f.String("description", "", "What the role is for, in `words`.")
	bare := f.Bool("no-merge", false, "Leave out what is not given, instead of leaving it as it is.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		named := *name
		if *id != "" {
			named = ""
		}
		whole, err := c.roleID(ctx, *id, named)
		if err != nil {
			return err
		}
		r, err := c.api.ACL().ReadRole(ctx, whole, c.q)
		if err != nil {
			return err
		}
		was := &granted{Grants: *r.Grants()}
		if *bare {
			was, r = &granted{}, &catalog.Role{ID: whole, Name: r.Name}
		}
		if was, err = changed(was, grants, more, merge); err != nil {
			return err
		}
		setRole(r, was)
		keep(f, "name", name, r.Name)
		keep(f, "description", description, r.Description)
		r.Name, r.Description = *name, *description
		made, err := c.api.ACL().WriteRole(ctx, r, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.role(made) })
	})
}

func roleDelete(f *flag.FlagSet) action {
	id, name := idVars(f, "role")
	return func(ctx context.Context, c *call) error {
		whole, err := c.roleID(ctx, *id, *name)
		if err != nil {
			return err
		}
		if err := c.api.ACL().DeleteRole(ctx, whole, c.q); err != nil {
			return err
		}
		c.say("Role %q deleted successfully", whole)
		return nil
	}
}

func roleList(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		list, err := c.api.ACL().Roles(ctx, c.q)
		if err != nil {
			return err
		}
		return showAll(format, c, list, func(r *catalog.Role) string { return r.Name }, (*sheet).role)
	})
}

func templateList(f *flag.FlagSet) action {
	format := formatVar(f)
	return func(ctx context.Context, c *call) error {
		if err := checkFormat(*format); err != nil {
			return err
		}
		all, err := c.api.ACL().PolicyTemplates(ctx, c.q)
		switch {
		case err != nil:
			return err
		case *format == "json":
			return c.json(all, "    ")
		}
		rows := [][]string{{"Name", "Description"}}
		for _, t := range catalog.PolicyTemplates() {
			if all[t.Name] != nil {
				rows = append(rows, []string{t.Name, all[t.Name].Description})
			}
		}
		c.table(rows)
		return nil
	}
}

func templateRead(f *flag.FlagSet) action {
	format, name := aclFormatVar(f), f.String("name", "", "The `name` of the template; it must be given.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		if *name == "" {
			return usage("set -name")
		}
		t, err := c.api.ACL().ReadPolicyTemplate(ctx, *name, c.q)
		if err != nil {
			return err
		}
		return format.show(c, t, func(s *sheet) {
			s.row("Name", t.Name)
			s.row("Description", t.Description)
			if t.Schema == "" {
				s.row("Input variables", "None")
			} else {
				s.row("Input variables", "Name, which must be given")
			}
			s.text("Raw Template", t.Template)
		})
	})
}

func templatePreview(f *flag.FlagSet) action {
	format, name := aclFormatVar(f), f.String("name", "", "The `name` of the template.")
	file := f.String("file", "", "A `file` with one templated policy in HCL or JSON, in place of -name and -var.")
	vars := listVar(f, "var", "A variable, as `name:value`. It can be given several times.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		if (*name == "") == (*file == "") {
			return usage("set -name or -file")
		}
		o := &grantOptions{&list{}, &list{}, &list{}, &list{}, &list{}, &list{}, name, file, vars}
		g, err := o.read(*vars)
		if err != nil {
			return err
		}
		if len(g.Templated) != 1 {
			return usage("%d templated policies: want one", len(g.Templated))
		}
		values := g.Templated[0].TemplateVariables
		if values == nil {
			values = &catalog.TemplateVariables{}
		}
		p, err := c.api.ACL().PreviewTemplate(ctx, g.Templated[0].TemplateName, values, c.q)
		if err != nil {
			return err
		}
		return format.show(c, p, func(s *sheet) { s.policy(p) })
	})
}
