package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A shell's COMP_LINE is answered with what can come next, and nothing runs.
func TestSuggest(t *testing.T) {
	for line, want := range map[string]string{
		"curia kv ge":                  "get",
		"curia operator raft ":         "list-peers",
		"curia kv get -recur":          "-recurse",
		"curia intention ch":           "check",
		"curia -vers":                  "-version",
		"curia -autocomplete-uninstal": "-autocomplete-uninstall",
		"curia operato":                "operator",
	} {
		var out, errs strings.Builder
		std := IO{Out: &out, Err: &errs, Getenv: func(name string) string {
			if name == "COMP_LINE" {
				return line
			}
			return ""
		}}
		code := Run([]string{"curia", "ge", "kv"}, std)
		lines := strings.Fields(out.String())
		found := false
		for _, l := range lines {
			found = found || l == want
			if !strings.HasPrefix(l, line[strings.LastIndexByte(line, ' ')+1:]) {
				t.Errorf("%q goes on with %q", line, l)
			}
		}
		if code != 0 || errs.Len() > 0 || !found {
			t.Errorf("%q: %d %q %q", line, code, lines, errs.String())
		}
	}
}

// Files of shells are changed once, back, and not otherwise.
func TestShells(t *testing.T) {
	home := t.TempDir()
	run := func(option string) (int, string) {
		var errs strings.Builder
		return Run([]string{"-" + option}, IO{Err: &errs, Getenv: func(name string) string {
			if name == "HOME" {
				return home
			}
			return ""
		}}), errs.String()
	}
	if code, text := run(installOption); code != 1 || !strings.Contains(text, "no files of bash, zsh or fish") {
		t.Errorf("without shells: %d %q", code, text)
	}
	files := map[string]string{".bashrc": "alias a=b", ".zshrc": "x=1\n", ".config/fish/config.fish": ""}
	for name, text := range files {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, text := run(installOption); code != 0 {
		t.Fatal(text)
	}
	for name, want := range map[string]string{
		".bashrc": "alias a=b\ncomplete -C ", ".zshrc": "x=1\nautoload -U +X bashcompinit", ".config/fish/completions/curia.fish": "complete -f -c curia",
	} {
		if text, err := os.ReadFile(filepath.Join(home, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v %q", name, err, text)
		}
	}
	if code, text := run(installOption); code != 1 || strings.Count(text, "already") != 3 {
		t.Errorf("twice: %d %q", code, text)
	}
	if code, text := run(uninstallOption); code != 0 {
		t.Fatal(text)
	}
	for name, was := range files {
		if text, err := os.ReadFile(filepath.Join(home, name)); err != nil || strings.TrimSpace(string(text)) != strings.TrimSpace(was) {
			t.Errorf("%s: %v %q", name, err, text)
		}
	}
	if exists(filepath.Join(home, ".config/fish/completions/curia.fish")) {
		t.Error("fish still completes")
	}
}
