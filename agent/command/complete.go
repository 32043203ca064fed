package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/posener/complete"
)

// The options that have shells complete the program's commands, or no longer.
const (
	installOption   = "autocomplete-install"
	uninstallOption = "autocomplete-uninstall"
)

// suggest prints how the line that a shell's COMP_LINE and COMP_POINT tell can go on.
// Source: https://www.gnu.org/software/bash/manual/html_node/Programmable-Completion.html
func suggest(rows []row, std IO) {
	text := std.Getenv("COMP_LINE")
	if n, err := strconv.Atoi(std.Getenv("COMP_POINT")); err == nil && n >= 0 && n < len(text) {
		text = text[:n]
	}
	words := strings.Fields(text)
	if strings.HasSuffix(text, " ") || len(words) < 2 {
		words = append(words, "")
	}
	a := complete.Args{All: words[1:], Completed: words[1 : len(words)-1], Last: words[len(words)-1]}
	if n := len(a.Completed); n > 0 {
		a.LastCompleted = a.Completed[n-1]
	}
	root := completion("", rows)
	for _, name := range []string{"-help", "-version", "-" + installOption, "-" + uninstallOption} {
		root.Flags[name] = complete.PredictNothing
	}
	for _, option := range root.Predict(a) {
		if strings.HasPrefix(option, a.Last) {
			fmt.Fprintln(std.Out, option)
		}
	}
}

// completion is what may follow a command's name.
func completion(name string, rows []row) complete.Command {
	c := complete.Command{Sub: complete.Commands{}, Flags: complete.Flags{}}
	for _, r := range children(name, rows) {
		sub := completion(r.name, rows)
		for _, o := range r.options() {
			sub.Flags["-"+o.name] = complete.PredictAnything
			if strings.HasSuffix(o.name, "-file") {
				sub.Flags["-"+o.name] = complete.PredictFiles("*")
			}
		}
		if strings.Contains(r.args, "FILE") {
			sub.Args = complete.PredictFiles("*")
		}
		c.Sub[r.leaf()] = sub
	}
	return c
}

// setUp has the user's shells ask the program how a line goes on, or no longer.
func setUp(option string, std IO) int {
	bin, err := os.Executable()
	if err == nil {
		err = errors.Join(inShells(std.Getenv("HOME"), bin, option == installOption)...)
	}
	if err != nil {
		fmt.Fprintln(std.Err, "Error:", err)
		return 1
	}
	return 0
}

// inShells puts what asks the program into the files of the shells that have some in home, or takes it out of them.
func inShells(home, bin string, install bool) []error {
	var failed []error
	change := write
	if !install {
		change = remove
	}
	found := false
	for _, names := range [][]string{{".bashrc", ".bash_profile", ".bash_login", ".profile"}, {".zshrc"}} {
		i := slices.IndexFunc(names, func(name string) bool { return exists(filepath.Join(home, name)) })
		if i < 0 {
			continue
		}
		found = true
		text := "complete -C " + bin + " " + program + "\n"
		if names[i] == ".zshrc" {
			text = "autoload -U +X bashcompinit && bashcompinit\ncomplete -o nospace -C " + bin + " " + program + "\n"
		}
		failed = append(failed, change(filepath.Join(home, names[i]), text))
	}
	if dir := filepath.Join(home, ".config", "fish"); exists(dir) {
		found = true
		file := filepath.Join(dir, "completions", program+".fish")
		failed = append(failed, os.MkdirAll(filepath.Dir(file), 0o755), change(file, fmt.Sprintf(fish, program, bin)))
	}
	if !found {
		failed = append(failed, fmt.Errorf("%q has no files of bash, zsh or fish to change", home))
	}
	return failed
}

// fish asks the program. Source: https://fishshell.com/docs/current/completions.html
const fish = `function __complete_%[1]s
    set -lx COMP_LINE (commandline -cp)
    string length -q -- (commandline -ct); or set COMP_LINE "$COMP_LINE "
    %[2]s
end
complete -f -c %[1]s -a "(__complete_%[1]s)"
`

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// write adds text to the end of a file, once.
func write(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if strings.Contains(string(old), text) {
		return fmt.Errorf("%s completes %s already", path, program)
	}
	if n := len(old); n > 0 && old[n-1] != '\n' {
		text = "\n" + text
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// remove takes text out of a file, in place since it may be a link, and removes one that is empty then.
func remove(path, text string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !strings.Contains(string(old), text) {
		return fmt.Errorf("%s does not complete %s", path, program)
	}
	if err != nil {
		return err
	}
	rest := strings.Replace(string(old), text, "", 1)
	if rest == "" {
		return os.Remove(path)
	}
	return os.WriteFile(path, []byte(rest), 0o644)
}
