package catalog

import (
	"encoding/hex"
	"hash/fnv"
	"slices"
	"strings"
)

// Names of templates that identities are made of.
const (
	TemplateService = "builtin/service"
	TemplateNode    = "builtin/node"
)

// PolicyTemplate is rules with a variable.
// Source: https://developer.hashicorp.com/consul/api-docs/acl/templated-policies
type PolicyTemplate struct {
	ID          string `json:"-"`
	Name        string `json:"TemplateName"`
	Schema      string // JSON Schema of the variables, empty when there are none
	Template    string
	Description string
	unlisted    bool
}

const nameSchema = `
{
	"type": "object",
	"properties": {
		"name": { "type": "string", "$ref": "#/definitions/min-length-one" }
	},
	"required": ["name"],
	"definitions": {
		"min-length-one": {
			"type": "string",
			"minLength": 1
		}
	}
}`

// rule writes a rule as the recorded ids of rendered templates have it.
func rule(resource, name, access string) string {
	return "\n" + resource + ` "` + name + "\" {\n\tpolicy = \"" + access + "\"\n}"
}

const (
	templateID   = "00000000-0000-0000-0000-00000000000"
	nameVariable = "{{.Name}}"
)

// policyTemplates are the templates that there are.
var policyTemplates = []*PolicyTemplate{
	{
		ID: templateID + "3", Name: TemplateService, Schema: nameSchema, Description: "What the instances of a service and its sidecar proxy need.",
		Template: rule("service", nameVariable, "write") + rule("service", nameVariable+"-sidecar-proxy", "write") + rule("service_prefix", "", "read") + rule("node_prefix", "", "read"),
	},
	{
		ID: templateID + "4", Name: TemplateNode, Schema: nameSchema, Description: "What the agent of a node needs.",
		Template: rule("node", nameVariable, "write") + rule("service_prefix", "", "read"),
	},
	{
		ID: templateID + "5", Name: "builtin/dns", Description: "What answering DNS needs.",
		Template: rule("node_prefix", "", "read") + rule("service_prefix", "", "read") + rule("query_prefix", "", "read"),
	},
	{
		ID: templateID + "6", Name: "builtin/nomad-server", Description: "What the servers of Nomad need.",
		Template: "\nacl = \"write\"" + rule("agent_prefix", "", "read") + rule("node_prefix", "", "read") + rule("service_prefix", "", "write"),
	},
	{
		ID: templateID + "7", Name: "builtin/workload-identity", Schema: nameSchema, Description: "What a workload needs.", unlisted: true,
		Template: rule("identity", nameVariable, "write"),
	},
	{
		ID: templateID + "8", Name: "builtin/api-gateway", Schema: nameSchema, Description: "What an API gateway needs.",
		Template: "\nmesh = \"read\"" + rule("node_prefix", "", "read") + rule("service_prefix", "", "read") + rule("service", nameVariable, "write"),
	},
	{
		ID: templateID + "9", Name: "builtin/nomad-client", Description: "What the clients of Nomad need.",
		Template: rule("agent_prefix", "", "read") + rule("node_prefix", "", "read") + rule("service_prefix", "", "write") + rule("key_prefix", "", "read"),
	},
}

// PolicyTemplates lists the templates, but for the one whose workloads there are not.
func PolicyTemplates() []*PolicyTemplate {
	return slices.DeleteFunc(slices.Clone(policyTemplates), func(t *PolicyTemplate) bool { return t.unlisted })
}

// FindPolicyTemplate returns the template with a name, nil when there is none.
func FindPolicyTemplate(name string) *PolicyTemplate {
	if i := slices.IndexFunc(policyTemplates, func(t *PolicyTemplate) bool { return t.Name == name }); i >= 0 {
		return policyTemplates[i]
	}
	return nil
}

func noTemplate(name string) error {
	names := []string{}
	for _, t := range policyTemplates {
		names = append(names, t.Name)
	}
	return Errorf(Invalid, "templated policy %.64q does not exist: there are %s", name, strings.Join(names, ", "))
}

// normalized returns the templated policy written one way.
func (t *TemplatedPolicy) normalized() (*TemplatedPolicy, error) {
	name := t.TemplateName
	if name == "" {
		if i := slices.IndexFunc(policyTemplates, func(p *PolicyTemplate) bool { return p.ID == t.TemplateID }); i >= 0 {
			name = policyTemplates[i].Name
		}
	}
	template := FindPolicyTemplate(name)
	if template == nil {
		return nil, noTemplate(t.TemplateName)
	}
	if t.TemplateID != "" && t.TemplateID != template.ID {
		return nil, Errorf(Invalid, "templated policy %q: its TemplateID is %.64q, want %s or none", name, t.TemplateID, template.ID)
	}
	out := &TemplatedPolicy{TemplateID: template.ID, TemplateName: name, Datacenters: sortedUnique(t.Datacenters)}
	if t.TemplateVariables.name() != "" {
		out.TemplateVariables = &TemplateVariables{t.TemplateVariables.Name}
	}
	return out, nil
}

func (t *TemplatedPolicy) same(o *TemplatedPolicy) bool {
	return t.TemplateName == o.TemplateName && t.TemplateVariables.name() == o.TemplateVariables.name() && slices.Equal(t.Datacenters, o.Datacenters)
}

// validate checks a normalized templated policy.
func (t *TemplatedPolicy) validate() error {
	template, name := FindPolicyTemplate(t.TemplateName), t.TemplateVariables.name()
	switch {
	case template == nil:
		return noTemplate(t.TemplateName)
	case template.Schema == "" && name != "":
		return Errorf(Invalid, "templated policy %s takes no variables", t.TemplateName)
	case template.Schema != "" && !identityName(name):
		return Errorf(Invalid, "templated policy %s: its variable Name is %.64q: %s", t.TemplateName, name, identityRule)
	}
	return validateDatacenters("templated policy "+t.TemplateName, t.Datacenters)
}

// Render returns the policy that the template comes to.
func (t *TemplatedPolicy) Render() (*Policy, error) {
	next, err := t.normalized()
	if err != nil {
		return nil, err
	}
	if err := next.validate(); err != nil {
		return nil, err
	}
	return next.mustRender(), nil
}

// mustRender renders what was validated when it was written. What no version of ours writes grants nothing.
func (t *TemplatedPolicy) mustRender() *Policy {
	template, name := FindPolicyTemplate(t.TemplateName), t.TemplateVariables.name()
	if template == nil || template.Schema != "" && !identityName(name) {
		return &Policy{Name: "synthetic-policy-none", Description: "a templated policy that this version does not know"}
	}
	rules := strings.ReplaceAll(template.Template, nameVariable, name)
	p := &Policy{
		ID: hex.EncodeToString(fnv.New128a().Sum([]byte(rules))), Rules: rules, Datacenters: t.Datacenters,
		Description: "synthetic policy generated from templated policy: " + template.Name,
	}
	p.Name = "synthetic-policy-" + p.ID
	p.Hash = p.Digest()
	return p
}
