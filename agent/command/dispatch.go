package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// line is a command line taken apart.
type line struct {
	row     *row     // nil when no command is named
	args    []string // what follows the command's name
	early   []string // options before the command's name, which belong nowhere
	help    bool
	version bool
	install string // what to do with the completion of shells
}

// takeApart takes a command line apart. The command is the longest one whose name the first words are. Help may be asked for
// anywhere before "--".
func takeApart(args []string, rows []row) line {
	var l line
	for i, arg := range args {
		switch option := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"); {
		case arg == "--":
			return l
		case arg == "-h" || arg == "-help" || arg == "--help":
			l.help = true
		case l.row != nil:
		case arg == "-v" || arg == "-version" || arg == "--version":
			l.version = true
		case option != arg && (option == installOption || option == uninstallOption):
			l.install = option
		case strings.HasPrefix(arg, "-"):
			l.early = append(l.early, arg)
		default:
			words := 0
			if l.row, words = lookup(args[i:], rows); l.row == nil {
				return l
			}
			l.args = args[i+words:]
		}
	}
	return l
}

// lookup is the command with the longest name that words begin with, and how many words that is.
func lookup(words []string, rows []row) (found *row, length int) {
	for i := range rows {
		name := strings.Fields(rows[i].name)
		if len(name) > length && len(name) <= len(words) && slices.Equal(name, words[:len(name)]) {
			found, length = &rows[i], len(name)
		}
	}
	return found, length
}

// dispatch does what a command line says, and returns the exit code.
func dispatch(l line, rows []row, std IO) int {
	switch {
	case l.version:
		fmt.Fprintln(std.Out, human())
		return 0
	case l.row == nil && l.help:
		fmt.Fprintln(std.Out, overview(rows))
		return 0
	case l.install != "":
		return setUp(l.install, std)
	case l.row == nil:
		fmt.Fprintln(std.Err, overview(rows))
		return unknownCode
	case l.help:
		io.WriteString(std.Out, l.row.page(rows))
		return 0
	case len(l.early) > 0:
		fmt.Fprintf(std.Err, "Error: options belong behind the command: %s %s %s\n", program, l.row.name, strings.Join(l.early, " "))
		return 1
	}
	c := &command{row: l.row, std: std}
	code := c.run(l.args)
	if code == wantsHelp {
		io.WriteString(std.Err, l.row.page(rows))
		return 1
	}
	return code
}

// page is the help of a command, with those below it.
func (r *row) page(rows []row) string {
	var b strings.Builder
	b.WriteString(r.text())
	below := children(r.name, rows)
	width := 0
	for _, c := range below {
		width = max(width, len(c.leaf()))
	}
	for i, c := range below {
		if i == 0 {
			b.WriteString("\n\nSubcommands:")
		}
		fmt.Fprintf(&b, "\n    %-*s    %s", width, c.leaf(), c.synopsis)
	}
	b.WriteByte('\n')
	return b.String()
}

// children are the commands right below one, by name. Those of "" are the first level.
func children(parent string, rows []row) []*row {
	var below []*row
	for i := range rows {
		if name := rows[i].name; strings.TrimSuffix(strings.TrimSuffix(name, rows[i].leaf()), " ") == parent {
			below = append(below, &rows[i])
		}
	}
	slices.SortFunc(below, func(a, b *row) int { return strings.Compare(a.name, b.name) })
	return below
}

// leaf is the last word of a command's name.
func (r *row) leaf() string { return r.name[strings.LastIndexByte(r.name, ' ')+1:] }
