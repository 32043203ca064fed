package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// A script in testdata is a list of cases, divided by empty lines:
//
//	$ kv put a 1                   the command line, words divided by spaces or in 'quotes'
//	@ data.json [..]               a file in the command's folder
//	< text                         its standard input
//	PUT /v1/kv/a?flags=1           a request that the agent must get next
//	= 1                            and its body
//	200 true                       what the agent answers
//	^ X-Consul-Index: 7            with this header
//	> Success! Data written to: a  a line of standard output, all of them in order; "> ~x" is a line that holds x
//	! too many                     words that standard error must hold; without them it must be empty
//	exit 1                         the exit code, 0 unless it is given
type script struct {
	line  int
	args  []string
	files map[string]string
	stdin string
	steps []*step
	out   []string
	err   []string
	exit  int
}

type step struct {
	request string
	body    *string
	status  int
	answer  string
	header  http.Header
}

func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line := 1
		for block := range strings.SplitSeq(string(text), "\n\n") {
			s := parse(t, path, line, block)
			line += strings.Count(block, "\n") + 2
			if s != nil {
				t.Run(fmt.Sprintf("%s:%d", filepath.Base(path), s.line), func(t *testing.T) { s.run(t) })
			}
		}
	}
}

func parse(t *testing.T, path string, line int, block string) *script {
	s := &script{line: line, files: map[string]string{}}
	for text := range strings.SplitSeq(strings.Trim(block, "\n"), "\n") {
		mark, rest, _ := strings.Cut(text, " ")
		last := func() *step { return s.steps[len(s.steps)-1] }
		switch mark {
		case "", "#":
		case "$":
			s.args = words(rest)
		case "@":
			name, content, _ := strings.Cut(rest, " ")
			s.files[name] += strings.ReplaceAll(content, `\n`, "\n")
		case "<":
			s.stdin += strings.ReplaceAll(rest, `\n`, "\n")
		case "GET", "PUT", "POST", "DELETE":
			s.steps = append(s.steps, &step{request: text, status: 200, header: http.Header{}})
		case "=":
			last().body = &rest
		case "^":
			name, value, _ := strings.Cut(rest, ": ")
			last().header.Set(name, value)
		case ">":
			s.out = append(s.out, rest)
		case "!":
			s.err = append(s.err, rest)
		case "exit":
			s.exit, _ = strconv.Atoi(rest)
		default:
			status, err := strconv.Atoi(mark)
			if err != nil {
				t.Fatalf("%s:%d: cannot read %q", path, line, text)
			}
			last().status, last().answer = status, rest
		}
	}
	if s.args == nil {
		return nil
	}
	return s
}

// words splits a line at its spaces; 'a b' is one word.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

func (s *script) run(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range s.files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if asked >= len(s.steps) {
			t.Errorf("asked %s %s, which nobody expects", r.Method, r.RequestURI)
			w.WriteHeader(500)
			return
		}
		at := s.steps[asked]
		asked++
		if got := r.Method + " " + r.RequestURI; got != at.request {
			t.Errorf("asked %s, want %s", got, at.request)
		}
		if at.body != nil && !sameJSON(string(body), *at.body) {
			t.Errorf("%s: sent %s, want %s", at.request, body, *at.body)
		}
		for name := range at.header {
			w.Header().Set(name, at.header.Get(name))
		}
		w.WriteHeader(at.status)
		io.WriteString(w, at.answer)
	}))
	defer srv.Close()
	code, out, errs := invoke(srv.URL, s.stdin, s.args...)
	if code != s.exit {
		t.Errorf("exit code %d, want %d", code, s.exit)
	}
	if asked < len(s.steps) {
		t.Errorf("never asked %s", s.steps[asked].request)
	}
	compare(t, out, s.out)
	for _, want := range s.err {
		if !strings.Contains(errs, want) {
			t.Errorf("standard error lacks %q: %s", want, errs)
		}
	}
	if len(s.err) == 0 && errs != "" {
		t.Errorf("standard error: %s", errs)
	}
}

// invoke runs a command against the agent at address.
func invoke(address, stdin string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	env := map[string]string{"CONSUL_HTTP_ADDR": address}
	code = Run(args, IO{In: strings.NewReader(stdin), Out: &stdout, Err: &stderr, Getenv: func(k string) string { return env[k] }})
	return code, stdout.String(), stderr.String()
}

func compare(t *testing.T, out string, want []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if out == "" {
		lines = nil
	}
	for i := range max(len(lines), len(want)) {
		switch {
		case i >= len(lines):
			t.Errorf("line %d of the output is missing: %q", i+1, want[i])
		case i >= len(want):
			t.Errorf("line %d of the output is too much: %q", i+1, lines[i])
		case strings.HasPrefix(want[i], "~"):
			if !strings.Contains(lines[i], want[i][1:]) {
				t.Errorf("line %d of the output lacks %q: %q", i+1, want[i][1:], lines[i])
			}
		case lines[i] != strings.ReplaceAll(want[i], `\t`, "\t"):
			t.Errorf("line %d of the output:\ngot  %q\nwant %q", i+1, lines[i], want[i])
		}
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return a == b
	}
	return reflect.DeepEqual(x, y)
}
