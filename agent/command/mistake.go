package command

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// unknownCode is the exit code of a program that is not there, as shells have it.
const unknownCode = 127

// unknown returns the first word of a command line when no row begins with it.
func unknown(args []string, rows []row) (name string, wrong bool) {
	i := slices.IndexFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") })
	if i < 0 {
		return "", false
	}
	return args[i], !slices.ContainsFunc(rows, func(r row) bool { return r.name == args[i] })
}

// noCommand says that a command, or one below another, is not there, and which is meant perhaps.
func noCommand(parent, name string, rows []row) string {
	var names []string
	for _, r := range rows {
		below := r.name
		if parent != "" {
			below = ""
			if rest, ok := strings.CutPrefix(r.name, parent+" "); ok {
				below = rest
			}
		}
		if below != "" && !strings.Contains(below, " ") {
			names = append(names, below)
		}
	}
	hint := ""
	if nearest := catalog.Nearest(name, names); nearest != "" {
		hint = ", did you mean " + nearest + "?"
	} else if parent != "" {
		hint = ": want one of " + strings.Join(names, ", ")
	}
	of := strings.TrimSpace(program + " " + parent)
	return fmt.Sprintf("Error: %s has no command %q%s (see %s -h)", of, clean(name), hint, of)
}

// misused is the error of parsing options, with what was meant perhaps or is wanted.
func misused(flags *flag.FlagSet, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var names []string
		flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		if nearest := catalog.Nearest(name, names); nearest != "" {
			return usage("unknown option -%s, did you mean -%s?", name, nearest)
		}
		return usage("unknown option -%s", name)
	}
	before, wrong := strings.CutSuffix(text, ": parse error")
	_, name, found := strings.Cut(before, " for flag -")
	f := flags.Lookup(name)
	if !wrong || !found || f == nil {
		return usage("%v", err)
	}
	if g, ok := f.Value.(flag.Getter); ok {
		if _, is := g.Get().(time.Duration); is {
			return usage("%s: want a duration such as 10s", before)
		}
	}
	return usage("%s: want a number", before)
}

// arity checks the number of arguments.
func (r *row) arity(args []string) error {
	switch n := len(args); {
	case n < r.min:
		return usage("too few arguments: want %s", r.args)
	case r.max < 0 || n <= r.max:
		return nil
	}
	i := slices.IndexFunc(args, func(a string) bool { return len(a) > 1 && a[0] == '-' })
	switch {
	case i > 0:
		return usage("options go before the arguments: %s comes behind %s", args[i], args[i-1])
	case r.max == 0:
		return usage("too many arguments: want none, got %q", args[0])
	}
	return usage("too many arguments: want %s, got %q too", r.args, args[r.max])
}

// each returns the texts of the errors that are joined in err, each with what stands before all of them.
func each(err error) []string {
	var joined interface{ Unwrap() []error }
	text := err.Error()
	if !errors.As(err, &joined) {
		return []string{text}
	}
	var all []string
	for _, one := range joined.Unwrap() {
		all = append(all, one.Error())
	}
	before, found := strings.CutSuffix(text, strings.Join(all, "\n"))
	if !found || len(all) < 2 {
		return []string{text}
	}
	for i := range all {
		all[i] = before + all[i]
	}
	return all
}
