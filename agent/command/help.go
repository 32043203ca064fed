package command

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

const textWidth = 80

// option is an option as help shows it.
type option struct {
	name   string
	value  string // what it takes, "" for a switch
	usage  string
	preset string // its default, "" for the empty one
	common bool
}

func (r *row) options() []option {
	if r.bind == nil {
		return nil
	}
	flags, _ := r.flags()
	r.bind(flags)
	var options []option
	flags.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		o := option{name: f.Name, value: value, usage: usage, common: r.reach != offline && common(f.Name)}
		if f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			o.preset = f.DefValue
		}
		options = append(options, o)
	})
	return options
}

func (r *row) usage() string {
	if r.bind == nil {
		return program + " " + r.name + " <subcommand> [options] [args]"
	}
	return strings.TrimSpace(program + " " + r.name + " [options] " + r.args)
}

// text is the row's help.
func (r *row) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n%s", r.usage(), indent(prose(r.help, textWidth-2), "  "))
	options := r.options()
	for _, shared := range []bool{false, true} {
		heading := "\n\nOptions\n"
		if shared {
			heading = "\n\nOptions to reach the agent\n"
		}
		for _, o := range options {
			if o.common != shared {
				continue
			}
			b.WriteString(heading)
			heading = ""
			fmt.Fprintf(&b, "\n  -%s", o.name)
			if o.value != "" {
				fmt.Fprintf(&b, "=<%s>", o.value)
			}
			fmt.Fprintf(&b, "\n%s", indent(wrap(o.described(), textWidth-5), "     "))
		}
	}
	return b.String()
}

func (o option) described() string {
	if o.preset == "" {
		return o.usage
	}
	return fmt.Sprintf("%s The default is %s.", o.usage, o.preset)
}

// overview is the help of the whole: the commands of the first level under their headings.
func overview(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [--version] [--help] <command> [<args>]\n", program)
	var groups []string
	width := 0
	for _, r := range rows {
		if r.group != "" && !slices.Contains(groups, r.group) {
			groups = append(groups, r.group)
		}
		if r.group != "" {
			width = max(width, len(r.name))
		}
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n%s\n", g)
		for _, r := range rows {
			if r.group == g {
				fmt.Fprintf(&b, "    %-*s    %s\n", width, r.name, r.synopsis)
			}
		}
	}
	fmt.Fprintf(&b, "\nRun %s <command> -h for a command's help.", program)
	return b.String()
}

// Reference writes the reference of all commands as Markdown.
func Reference(w io.Writer) error {
	var b strings.Builder
	rows := table()
	b.WriteString("# Commands\n\nEvery command that asks an agent also takes the options at the [end](#options-to-reach-the-agent).\n")
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(&b, "\n## %s %s\n\n%s.\n\n```text\n%s\n```\n\n", program, r.name, r.synopsis, r.usage())
		b.WriteString(markdown(r.help) + "\n")
		optionTable(&b, r.options(), false)
	}
	last := row{reach: toServers, bind: func(*flag.FlagSet) action { return nil }}
	b.WriteString("\n## Options to reach the agent\n\n`-datacenter` and `-stale` belong to commands that ask the servers.\n")
	optionTable(&b, last.options(), true)
	_, err := io.WriteString(w, b.String())
	return err
}

// markdown fences a text's examples. They show how a command is called and not what it prints, so they are
// no console blocks, which are replayed.
func markdown(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if strings.HasPrefix(p, " ") {
			paragraphs[i] = "```sh\n" + strings.ReplaceAll(strings.TrimPrefix(p, "  $ "), "\n  $ ", "\n") + "\n```"
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

func optionTable(b *strings.Builder, options []option, shared bool) {
	heading := "\n| Option | Meaning |\n|---|---|\n"
	for _, o := range options {
		if o.common != shared {
			continue
		}
		b.WriteString(heading)
		heading = ""
		name := "-" + o.name
		if o.value != "" {
			name += "=<" + o.value + ">"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(o.described(), "|", "\\|"))
	}
}

// prose wraps the paragraphs of a text; those that begin with a space, examples, stay as they are.
func prose(text string, width int) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if !strings.HasPrefix(p, " ") {
			paragraphs[i] = wrap(p, width)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

func indent(text, by string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = by + line
		}
	}
	return strings.Join(lines, "\n")
}
