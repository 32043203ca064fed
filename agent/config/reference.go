package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// Reference writes the page website/docs/reference/configuration.md, in Markdown, from the table.
func Reference(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString(preface)
	fmt.Fprintf(b, "\n## Command line\n\n| flag | meaning |\n| --- | --- |\n")
	for _, f := range []struct{ name, help string }{
		{"dev", devHelp}, {"config-file", fileHelp}, {"config-dir", dirHelp}, {"config-format", formatHelp}, {"hcl", hclHelp},
	} {
		fmt.Fprintf(b, "| `-%s` | %s |\n", f.name, cell(f.help))
	}
	for _, g := range table().groups {
		fmt.Fprintf(b, "\n## %s\n\n", g.title)
		if g.rows[0].Moved != "" {
			b.WriteString("These still work, with a warning except for `service` and `check`.\n\n| key | now |\n| --- | --- |\n")
			for _, row := range g.rows {
				now := "no effect"
				if row.Moved != "" {
					now = "`" + row.Moved + "`"
				}
				fmt.Fprintf(b, "| `%s` | %s |\n", row.Key, now)
			}
			continue
		}
		b.WriteString("| key | flag | type | default | meaning |\n| --- | --- | --- | --- | --- |\n")
		for i := range g.rows {
			b.WriteString(g.rows[i].reference())
		}
	}
	return b.Flush()
}

const preface = `# Configuration

<!-- Written from the table of settings in agent/config: change it there. -->

An agent reads files in HCL (` + "`*.hcl`" + `) and JSON (` + "`*.json`" + `), then environment variables, then flags. What comes later
counts; lists are added up and maps are merged. An unknown key is an error. Keys match without regard to case and
underscores. A dot in a key below stands for an object: ` + "`ports.http`" + ` is ` + "`ports { http = 8500 }`" + `.

Durations are text with a unit, such as ` + "`\"300ms\"`, `\"1.5h\"` or `\"2h45m\"`" + `. Addresses marked *template* may be
go-sockaddr templates. Settings marked *reload* change without a restart, on ` + "`reload`" + ` or SIGHUP.
[Operations](../operations.md#settings-that-do-nothing-yet) lists those that are taken and do nothing.
`

func (s *setting) reference() string {
	flags := strings.Fields(s.Flag)
	flag := ""
	if len(flags) > 0 {
		flag = "`-" + flags[0] + "`"
	}
	help := s.Help
	for name := range strings.FieldsSeq(s.Env) {
		help += " Environment: `" + name + "`."
	}
	if s.Reload {
		help += " *reload*"
	}
	if s.Template {
		help += " *template*"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", s.Key, flag, s.kind(), cell(s.defaults()), cell(help))
}

// defaults says what the default is, and where it differs.
func (s *setting) defaults() string {
	said := func(v any) string {
		switch v := v.(type) {
		case nil:
			return ""
		case time.Duration:
			return "`" + short(v) + "`"
		}
		return fmt.Sprintf("`%v`", v)
	}
	text := said(s.Def)
	if s.Def == nil && s.kind() == "boolean" {
		text = "`false`"
	}
	if s.Srv != nil {
		text += ", " + said(s.Srv) + " on servers"
	}
	if s.Dev != nil && s.Dev != s.Srv {
		text += ", " + said(s.Dev) + " with `-dev`"
	}
	return strings.TrimPrefix(text, ", ")
}

// short writes a duration without the units that are zero: 72h for 72h0m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
