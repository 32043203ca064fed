package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/client"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/durable"
)

// methodOptions are what is said of an auth method.
type methodOptions struct {
	name, kind, display, description, locality, nameFormat, config *string
	kubeHost, kubeCA, kubeJWT                                      *string
	ttl                                                            *time.Duration
}

func methodVars(f *flag.FlagSet) *methodOptions {
	return &methodOptions{
		name:        f.String("name", "", "The `name` of the auth method; it must be given."),
		kind:        f.String("type", "", "The `type`: jwt, oidc, kubernetes or aws-iam."),
		display:     f.String("display-name", "", "A `name` for people."),
		description: f.String("description", "", "What the auth method is for, in `words`."),
		locality:    f.String("token-locality", "", "Whose tokens logins get: `local` ones, of this datacenter, or global ones."),
		nameFormat:  f.String("token-name-format", "", "What describes the tokens of logins, a `text` with variables such as ${value.name}."),
		config:      f.String("config", "", "The `settings` in JSON: as they are, @FILE, or - for standard input."),
		kubeHost:    f.String("kubernetes-host", "", "The `address` of the API server of Kubernetes, https://host:port."),
		kubeCA:      f.String("kubernetes-ca-cert", "", "Its CA `certificate` in PEM: as it is, or @FILE."),
		kubeJWT:     f.String("kubernetes-service-account-jwt", "", "The `token` of a service account that may review tokens: as it is, or @FILE."),
		ttl:         f.Duration("max-token-ttl", 0, "How long the tokens of logins live, from 1m to 24h. The default is for ever."),
	}
}

// apply sets what is given, and with all the rest too.
func (o *methodOptions) apply(c *call, f *flag.FlagSet, m *catalog.AuthMethod, all bool) error {
	set := func(option string, to *string, value string) {
		if all || given(f, option) {
			*to = value
		}
	}
	set("display-name", &m.DisplayName, *o.display)
	set("description", &m.Description, *o.description)
	set("token-locality", &m.TokenLocality, *o.locality)
	set("token-name-format", &m.TokenNameFormat, *o.nameFormat)
	if all || given(f, "max-token-ttl") {
		m.MaxTokenTTL = catalog.Duration(*o.ttl)
	}
	if all || given(f, "config") {
		text, err := textOf(c, *o.config)
		if err != nil {
			return err
		}
		m.Config = map[string]any{}
		if strings.TrimSpace(text) != "" {
			if err := json.Unmarshal([]byte(text), &m.Config); err != nil {
				return usage("-config: %w", err)
			}
		}
	}
	for key, value := range map[string]*string{"Host": o.kubeHost, "CACert": o.kubeCA, "ServiceAccountJWT": o.kubeJWT} {
		if *value == "" {
			continue
		}
		text, err := textOf(c, *value)
		if err != nil {
			return err
		}
		m.Config[key] = strings.TrimSpace(text)
	}
	return nil
}

func (s *sheet) method(m *catalog.AuthMethod) {
	s.row("Name", m.Name)
	s.row("Type", string(m.Type))
	if m.DisplayName != "" {
		s.row("DisplayName", m.DisplayName)
	}
	s.row("Description", m.Description)
	if m.MaxTokenTTL != 0 {
		s.row("MaxTokenTTL", m.MaxTokenTTL.String())
	}
	if m.TokenLocality != "" {
		s.row("TokenLocality", m.TokenLocality)
	}
	s.indexes(nil, m.CreateIndex, m.ModifyIndex)
	text, err := json.MarshalIndent(m.Config, "", "  ")
	if err == nil {
		s.text("Config", string(text))
	}
}

func methodCreate(f *flag.FlagSet) action {
	format, o := aclFormatVar(f), methodVars(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		if *o.name == "" || *o.kind == "" {
			return usage("set -name and -type")
		}
		m := &catalog.AuthMethod{Name: *o.name, Type: catalog.AuthMethodType(*o.kind)}
		if err := o.apply(c, f, m, true); err != nil {
			return err
		}
		made, err := c.api.ACL().CreateAuthMethod(ctx, m, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.method(made) })
	})
}

func methodRead(f *flag.FlagSet) action {
	format, name := aclFormatVar(f), f.String("name", "", "The `name` of the auth method; it must be given.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		if *name == "" {
			return usage("set -name")
		}
		m, err := c.api.ACL().ReadAuthMethod(ctx, *name, c.q)
		if err != nil {
			return err
		}
		return format.show(c, m, func(s *sheet) { s.method(m) })
	})
}

func methodUpdate(f *flag.FlagSet) action {
	format, o := aclFormatVar(f), methodVars(f)
	bare := f.Bool("no-merge", false, "Leave out what is not given, instead of leaving it as it is.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		if *o.name == "" {
			return usage("set -name")
		}
		m, err := c.api.ACL().ReadAuthMethod(ctx, *o.name, c.q)
		if err != nil {
			return err
		}
		if err := o.apply(c, f, m, *bare); err != nil {
			return err
		}
		made, err := c.api.ACL().UpdateAuthMethod(ctx, m, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.method(made) })
	})
}

func methodDelete(f *flag.FlagSet) action {
	name := f.String("name", "", "The `name` of the auth method; it must be given.")
	return func(ctx context.Context, c *call) error {
		if *name == "" {
			return usage("set -name")
		}
		if err := c.api.ACL().DeleteAuthMethod(ctx, *name, c.q); err != nil {
			return err
		}
		c.say("Auth-method %q deleted successfully", clean(*name))
		return nil
	}
}

func methodList(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		list, err := c.api.ACL().AuthMethods(ctx, c.q)
		if err != nil {
			return err
		}
		return showAll(format, c, list, func(m *catalog.AuthMethodSummary) string { return m.Name }, func(s *sheet, m *catalog.AuthMethodSummary) {
			s.row("Type", string(m.Type))
			s.row("Description", m.Description)
			s.indexes(nil, m.CreateIndex, m.ModifyIndex)
		})
	})
}

// ruleOptions are what is said of a binding rule.
type ruleOptions struct {
	method, description, selector, kind, name *string
	vars                                      *list
}

func ruleVars(f *flag.FlagSet) *ruleOptions {
	return &ruleOptions{
		method:      f.String("method", "", "The `name` of the auth method that the rule is of."),
		description: f.String("description", "", "What the rule is for, in `words`."),
		selector:    f.String("selector", "", "An `expression` over who logs in, such as 'value.team == ops'. The default selects all."),
		kind:        f.String("bind-type", "service", "What the rule gives: `service`, node, role, policy or templated-policy."),
		name:        f.String("bind-name", "", "The `name` of what the rule gives, which may hold variables such as ${value.name}."),
		vars:        listVar(f, "bind-vars", "A variable of a templated policy, as `name=value`. It can be given several times."),
	}
}

func (o *ruleOptions) apply(f *flag.FlagSet, b *catalog.BindingRule, all bool) error {
	set := func(option string, to *string, value string) {
		if all || given(f, option) {
			*to = value
		}
	}
	set("method", &b.AuthMethod, *o.method)
	set("description", &b.Description, *o.description)
	set("selector", &b.Selector, *o.selector)
	set("bind-type", (*string)(&b.BindType), *o.kind)
	set("bind-name", &b.BindName, *o.name)
	for _, v := range *o.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || !strings.EqualFold(name, "name") {
			return usage("-bind-vars %q: want name=value", v)
		}
		b.BindVars = &catalog.TemplateVariables{Name: value}
	}
	return nil
}

func (s *sheet) rule(b *catalog.BindingRule) {
	s.row("ID", b.ID)
	s.row("AuthMethod", b.AuthMethod)
	s.row("Description", b.Description)
	s.row("BindType", string(b.BindType))
	s.row("BindName", b.BindName)
	if b.BindVars != nil {
		s.row("BindVars", "Name: "+b.BindVars.Name)
	}
	s.row("Selector", b.Selector)
	s.indexes(nil, b.CreateIndex, b.ModifyIndex)
}

func ruleCreate(f *flag.FlagSet) action {
	format, o := aclFormatVar(f), ruleVars(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		if *o.method == "" || *o.name == "" {
			return usage("set -method and -bind-name")
		}
		b := &catalog.BindingRule{}
		if err := o.apply(f, b, true); err != nil {
			return err
		}
		made, err := c.api.ACL().WriteBindingRule(ctx, b, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.rule(made) })
	})
}

// ruleID returns the id that an option names, whole.
func (c *call) ruleID(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", usage("set -id")
	}
	if catalog.IsUUID(id) {
		return id, nil
	}
	list, err := c.api.ACL().BindingRules(ctx, "", c.q)
	if err != nil {
		return "", err
	}
	ids := []string{}
	for _, b := range list {
		ids = append(ids, b.ID)
	}
	return byPrefix("binding rule", id, ids)
}

func ruleIDVar(f *flag.FlagSet) *string {
	return f.String("id", "", "The `id` of the binding rule, or the beginning of it.")
}

func ruleRead(f *flag.FlagSet) action {
	format, id := aclFormatVar(f), ruleIDVar(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		whole, err := c.ruleID(ctx, *id)
		if err != nil {
			return err
		}
		b, err := c.api.ACL().ReadBindingRule(ctx, whole, c.q)
		if err != nil {
			return err
		}
		return format.show(c, b, func(s *sheet) { s.rule(b) })
	})
}

func ruleUpdate(f *flag.FlagSet) action {
	format, id, o := aclFormatVar(f), ruleIDVar(f), ruleVars(f)
	bare := f.Bool("no-merge", false, "Leave out what is not given, instead of leaving it as it is.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		whole, err := c.ruleID(ctx, *id)
		if err != nil {
			return err
		}
		b, err := c.api.ACL().ReadBindingRule(ctx, whole, c.q)
		if err != nil {
			return err
		}
		if *bare {
			b = &catalog.BindingRule{ID: whole, AuthMethod: b.AuthMethod}
			keep(f, "method", o.method, b.AuthMethod)
		}
		if err := o.apply(f, b, *bare); err != nil {
			return err
		}
		made, err := c.api.ACL().WriteBindingRule(ctx, b, c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.rule(made) })
	})
}

func ruleDelete(f *flag.FlagSet) action {
	id := ruleIDVar(f)
	return func(ctx context.Context, c *call) error {
		whole, err := c.ruleID(ctx, *id)
		if err != nil {
			return err
		}
		if err := c.api.ACL().DeleteBindingRule(ctx, whole, c.q); err != nil {
			return err
		}
		c.say("Binding rule %q deleted successfully", whole)
		return nil
	}
}

func ruleList(f *flag.FlagSet) action {
	format, method := aclFormatVar(f), f.String("method", "", "Show only the rules of the auth method with a `name`.")
	return aclAction(format, func(ctx context.Context, c *call) error {
		list, err := c.api.ACL().BindingRules(ctx, *method, c.q)
		if err != nil {
			return err
		}
		return showAll(format, c, list, func(*catalog.BindingRule) string { return "" }, (*sheet).rule)
	})
}

func login(f *flag.FlagSet) action {
	method := f.String("method", "", "The `name` of the auth method; it must be given.")
	kind := f.String("type", "", "oidc logs in with a `browser`; else a bearer token is shown.")
	listen := f.String("oidc-callback-listen-addr", "localhost:8550", "Where the browser comes back to, an `address` of this machine. The auth method must allow http://ADDRESS"+callbackPath+".")
	file := f.String("bearer-token-file", "", "A `file` with the token to show, or - for standard input; it must be given without -type=oidc.")
	sink := f.String("token-sink-file", "", "The `file` that the token of the login is written to, readable by its owner only; it must be given.")
	meta := pairsVar(f, "meta", "A `key=value` that describes the login. It can be given several times.")
	return func(ctx context.Context, c *call) error {
		switch {
		case *kind != "" && *kind != string(catalog.AuthOIDC):
			return usage("-type %q: want oidc, or nothing", *kind)
		case *kind != "" && *file != "":
			return usage("-type=oidc takes no -bearer-token-file")
		case *kind != "" && (*method == "" || *sink == ""):
			return usage("set -method and -token-sink-file")
		case *kind == "" && (*method == "" || *file == "" || *sink == ""):
			return usage("set -method, -bearer-token-file and -token-sink-file, or -type=oidc in place of the second")
		}
		if *kind != "" {
			t, err := browserLogin(ctx, c, *method, *listen, meta)
			if err != nil {
				return err
			}
			return writeSecret(*sink, t.SecretID.Reveal())
		}
		bearer, err := readFileOr(c, *file, maxSecretFile)
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(bearer))
		if text == "" {
			return errors.New("no bearer token found in " + *file)
		}
		t, err := c.api.ACL().Login(ctx, &client.LoginRequest{AuthMethod: *method, BearerToken: text, Meta: meta}, c.q)
		if err != nil {
			return err
		}
		return writeSecret(*sink, t.SecretID.Reveal())
	}
}

// writeSecret writes a file that only its owner can read, whole or not at all.
func writeSecret(path, secret string) error {
	if err := durable.Write(path, []byte(secret), 0o600); err != nil {
		return fmt.Errorf("the token of the login could not be written: %w", err)
	}
	return nil
}

func logout(*flag.FlagSet) action {
	return func(ctx context.Context, c *call) error { return c.api.ACL().Logout(ctx, c.q) }
}
