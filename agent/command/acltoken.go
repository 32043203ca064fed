package command

import (
	"context"
	"flag"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

func tokenCreate(f *flag.FlagSet) action {
	format, grants := aclFormatVar(f), grantVars(f, true, "", "Give the token")
	accessor := f.String("accessor", "", "The accessor `id`, a UUID. One is made up by default.")
	secret := f.String("secret", "", "The secret `id`, a UUID. One is made up by default.")
	description := f.String("description", "", "What the token is for, in `words`.")
	local := f.Bool("local", false, "Make a token of this datacenter only.")
	ttl := f.Duration("expires-ttl", 0, "How long the token lives, from 1m to 24h. The default is for ever.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		g, err := grants.read(*grants.vars)
		if err != nil {
			return err
		}
		t := &catalog.Token{
			AccessorID: *accessor, SecretID: catalog.SecretID(*secret), Description: *description, Local: *local, ExpirationTTL: catalog.Duration(*ttl), CreateTime: time.Now(),
		}
		setToken(t, g)
		made, err := c.api.ACL().CreateToken(ctx, t, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.token(made) })
	})
}

func setToken(t *catalog.Token, g *granted) {
	t.Policies, t.Roles = g.Policies, g.Roles
	t.ServiceIdentities, t.NodeIdentities, t.TemplatedPolicies = g.Services, g.Nodes, g.Templated
}

func tokenRead(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	accessor, id, self := accessorVar(f), f.String("id", "", "Another name of -accessor-id."), f.Bool("self", false, "Show the token of the request.")
	expanded := f.Bool("expanded", false, "Show the policies and roles that the token links to.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		whose := "self"
		if !*self {
			var err error
			if whose, err = c.accessor(ctx, *accessor+*id); err != nil {
				return err
			}
		}
		if !*expanded {
			t, err := c.api.ACL().ReadToken(ctx, whose, c.q)
			if err != nil {
				return err
			}
			return format.show(c, t, func(s *sheet) { s.token(t) })
		}
		t, err := c.api.ACL().ExpandToken(ctx, whose, c.q)
		if err != nil {
			return err
		}
		return format.show(c, t, func(s *sheet) {
			s.token(&t.Token)
			s.flush()
			for _, p := range t.ExpandedPolicies {
				c.say("=== Policy %s", clean(p.Name))
				s.policy(p)
				s.flush()
			}
			for _, r := range t.ExpandedRoles {
				c.say("=== Role %s", clean(r.Name))
				s.role(r)
				s.flush()
			}
			c.say("=== What no rule speaks of")
			s.row("Default Policy", t.AgentACLDefaultPolicy)
			s.row("Down Policy", t.AgentACLDownPolicy)
			s.row("Resolved By", t.ResolvedByAgent)
		})
	})
}

func accessorVar(f *flag.FlagSet) *string {
	return f.String("accessor-id", "", "The accessor `id` of the token, or the beginning of it.")
}

func tokenUpdate(f *flag.FlagSet) action {
	format, grants, more := aclFormatVar(f), grantVars(f, true, "", "Instead of its own ones give the token"), grantVars(f, true, "append-", "Also give the token")
	merge := mergeVars(f)
	accessor, id := accessorVar(f), f.String("id", "", "Another name of -accessor-id.")
	description := f.String("description", "", "What the token is for, in `words`.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		whose, err := c.accessor(ctx, *accessor+*id)
		if err != nil {
			return err
		}
		t, err := c.api.ACL().ReadToken(ctx, whose, c.q)
		if err != nil {
			return err
		}
		was := &granted{*t.Grants(), t.Roles}
		if was, err = changed(was, grants, more, merge); err != nil {
			return err
		}
		setToken(t, was)
		if given(f, "description") {
			t.Description = *description
		}
		made, err := c.api.ACL().UpdateToken(ctx, t, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.token(made) })
	})
}

// merged are the kinds that are given besides what there was, as older command lines say it.
type merged struct{ policies, roles, services, nodes, templated *bool }

func mergeVars(f *flag.FlagSet) *merged {
	of := func(kind, option string) *bool {
		return f.Bool("merge-"+kind, false, "Give what -"+option+" says besides what there is, as -append-"+option+" does.")
	}
	return &merged{of("policies", "policy-name"), of("roles", "role-name"), of("service-identities", "service-identity"), of("node-identities", "node-identity"), of("templated-policies", "templated-policy")}
}

// move moves a list to the end of another one.
func move[T any](from, to *[]T) { *to, *from = append(*to, *from...), nil }

// changed is what there was, with what options give in its place or besides.
func changed(was *granted, instead, more *grantOptions, merge *merged) (*granted, error) {
	g, err := instead.read(*instead.vars)
	if err != nil {
		return nil, err
	}
	extra, err := more.read(*instead.vars)
	if err != nil {
		return nil, err
	}
	if *merge.policies {
		move(&g.Policies, &extra.Policies)
	}
	if *merge.roles {
		move(&g.Roles, &extra.Roles)
	}
	if *merge.services {
		move(&g.Services, &extra.Services)
	}
	if *merge.nodes {
		move(&g.Nodes, &extra.Nodes)
	}
	if *merge.templated {
		move(&g.Templated, &extra.Templated)
	}
	return extra.added(g.instead(was)), nil
}

func tokenClone(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	accessor, id := accessorVar(f), f.String("id", "", "Another name of -accessor-id.")
	description := f.String("description", "", "What the copy is for, in `words`.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		whose, err := c.accessor(ctx, *accessor+*id)
		if err != nil {
			return err
		}
		made, err := c.api.ACL().CloneToken(ctx, whose, *description, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.token(made) })
	})
}

func tokenDelete(f *flag.FlagSet) action {
	accessor, id := accessorVar(f), f.String("id", "", "Another name of -accessor-id.")
	return func(ctx context.Context, c *call) error {
		whose, err := c.accessor(ctx, *accessor+*id)
		if err != nil {
			return err
		}
		if err := c.api.ACL().DeleteToken(ctx, whose, c.q); err != nil {
			return err
		}
		c.say("Token %q deleted successfully", whose)
		return nil
	}
}

func tokenList(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		list, err := c.api.ACL().Tokens(ctx, c.q)
		if err != nil {
			return err
		}
		return showAll(format, c, list, func(*catalog.Token) string { return "" }, (*sheet).token)
	})
}

func setAgentToken(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error {
		secret, err := textOf(c, c.args[1])
		if err != nil {
			return err
		}
		secret = strings.TrimSpace(secret) // a file ends with a line break
		if err := c.api.ACL().SetAgentToken(ctx, c.args[0], catalog.SecretID(secret), c.q); err != nil {
			return err
		}
		c.say("ACL token %q set successfully", clean(c.args[0]))
		return nil
	}
}
