package command

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// aclFormat is how a command of the ACL system shows what it is about.
type aclFormat struct {
	format *string
	meta   *bool
}

func aclFormatVar(f *flag.FlagSet) *aclFormat {
	return &aclFormat{formatVar(f), f.Bool("meta", false, "Show indexes and hashes too.")}
}

// show prints one thing: as JSON, or as text makes it.
func (a *aclFormat) show(c *call, thing any, text func(*sheet)) error {
	if *a.format == "json" {
		return c.json(thing, "    ")
	}
	s := &sheet{call: c, meta: *a.meta}
	text(s)
	s.flush()
	return nil
}

// showAll prints a list of things.
func showAll[T any](a *aclFormat, c *call, list []*T, heading func(*T) string, text func(*sheet, *T)) error {
	if *a.format == "json" {
		if list == nil {
			list = []*T{}
		}
		return c.json(list, "    ")
	}
	for i, thing := range list {
		if i > 0 {
			c.say("")
		}
		s := &sheet{call: c, meta: *a.meta, indent: "   "}
		if line := heading(thing); line != "" {
			c.say("%s:", clean(line))
		} else {
			s.indent = ""
		}
		text(s, thing)
		s.flush()
	}
	return nil
}

// sheet prints fields under one another, their values aligned.
type sheet struct {
	*call
	meta   bool
	indent string
	rows   [][2]string
}

func (s *sheet) row(name, value string) { s.rows = append(s.rows, [2]string{name + ":", clean(value)}) }

// flush prints the rows so far.
func (s *sheet) flush() {
	width := 0
	for _, r := range s.rows {
		width = max(width, len(r[0]))
	}
	for _, r := range s.rows {
		s.say("%s", strings.TrimRight(fmt.Sprintf("%s%-*s  %s", s.indent, width, r[0], r[1]), " "))
	}
	s.rows = nil
}

// below prints lines under a heading.
func (s *sheet) below(heading string, lines []string) {
	if len(lines) == 0 {
		return
	}
	s.flush()
	s.say("%s%s:", s.indent, heading)
	for _, line := range lines {
		s.say("%s   %s", s.indent, clean(line))
	}
}

// text prints text of several lines as it is.
func (s *sheet) text(heading, text string) {
	s.flush()
	s.say("%s%s:", s.indent, heading)
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		s.say("%s", s.indent+cleanLine(strings.TrimRight(line, "\n")))
	}
}

// cleanLine is clean that leaves tabs.
func cleanLine(line string) string {
	parts := strings.Split(line, "\t")
	for i := range parts {
		parts[i] = clean(parts[i])
	}
	return strings.Join(parts, "\t")
}

// indexes prints what -meta asks for.
func (s *sheet) indexes(hash []byte, created, modified uint64) {
	if !s.meta {
		return
	}
	if hash != nil {
		s.row("Hash", hex.EncodeToString(hash))
	}
	s.row("Create Index", fmt.Sprint(created))
	s.row("Modify Index", fmt.Sprint(modified))
}

func linkLines(links []catalog.Link) (lines []string) {
	for _, l := range links {
		lines = append(lines, l.ID+" - "+l.Name)
	}
	return lines
}

// grants prints what a token or role gives.
func (s *sheet) grants(g *catalog.Grants) {
	s.below("Policies", linkLines(g.Policies))
	var lines []string
	for _, i := range g.Services {
		lines = append(lines, fmt.Sprintf("%s (Datacenters: %s)", i.ServiceName, everywhere(i.Datacenters)))
	}
	s.below("Service Identities", lines)
	lines = nil
	for _, i := range g.Nodes {
		lines = append(lines, fmt.Sprintf("%s (Datacenter: %s)", i.NodeName, i.Datacenter))
	}
	s.below("Node Identities", lines)
	lines = nil
	for _, t := range g.Templated {
		line := t.TemplateName
		if t.TemplateVariables != nil && t.TemplateVariables.Name != "" {
			line += " (Name: " + t.TemplateVariables.Name + ")"
		}
		lines = append(lines, line+" (Datacenters: "+everywhere(t.Datacenters)+")")
	}
	s.below("Templated Policies", lines)
}

func everywhere(datacenters []string) string {
	if len(datacenters) == 0 {
		return "all"
	}
	return strings.Join(datacenters, ", ")
}

func (s *sheet) policy(p *catalog.Policy) {
	s.row("ID", p.ID)
	s.row("Name", p.Name)
	s.row("Description", p.Description)
	s.row("Datacenters", strings.Join(p.Datacenters, ", "))
	s.indexes(p.Hash, p.CreateIndex, p.ModifyIndex)
	s.text("Rules", p.Rules)
}

func (s *sheet) role(r *catalog.Role) {
	s.row("ID", r.ID)
	s.row("Name", r.Name)
	s.row("Description", r.Description)
	s.indexes(r.Hash, r.CreateIndex, r.ModifyIndex)
	s.grants(r.Grants())
}

func (s *sheet) token(t *catalog.Token) {
	s.row("AccessorID", t.AccessorID)
	s.row("SecretID", t.SecretID.Reveal())
	s.row("Description", t.Description)
	s.row("Local", fmt.Sprint(t.Local))
	if t.AuthMethod != "" {
		s.row("Auth Method", t.AuthMethod)
	}
	s.row("Create Time", t.CreateTime.Format(time.RFC3339))
	if t.ExpirationTime != nil {
		s.row("Expiration Time", t.ExpirationTime.Format(time.RFC3339))
	}
	s.indexes(t.Hash, t.CreateIndex, t.ModifyIndex)
	s.below("Roles", linkLines(t.Roles))
	s.grants(t.Grants())
}

// aclAction is an action that checks the format first.
func aclAction(format *aclFormat, act action) action {
	return func(ctx context.Context, c *call) error {
		if err := checkFormat(*format.format); err != nil {
			return err
		}
		return act(ctx, c)
	}
}

func aclBootstrap(f *flag.FlagSet) action {
	format := aclFormatVar(f)
	return aclAction(format, func(ctx context.Context, c *call) error {
		secret := ""
		if len(c.args) == 1 {
			b, err := readFileOr(c, c.args[0], maxSecretFile)
			if err != nil {
				return err
			}
			secret = strings.TrimSpace(string(b))
		}
		made, err := c.api.ACL().Bootstrap(ctx, catalog.SecretID(secret), c.q)
		if err != nil {
			return err
		}
		return format.show(c, made, func(s *sheet) { s.token(made) })
	})
}

// maxSecretFile is how large a file with a secret may be.
const maxSecretFile = 64 << 10

// readFileOr reads a file, or with - standard input.
func readFileOr(c *call, name string, limit int64) ([]byte, error) {
	if name == "-" {
		return readAll(c.In, "standard input", limit)
	}
	return readFile(name, limit)
}

// textOf is text as it is, or with @FILE from a file, or with - from standard input.
func textOf(c *call, text string) (string, error) {
	name, isFile := strings.CutPrefix(text, "@")
	if !isFile && text != "-" {
		return text, nil
	}
	b, err := readFileOr(c, name, 1<<20)
	return string(b), err
}
