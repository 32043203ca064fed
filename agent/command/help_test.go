package command

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wanted are options that scripts of this family use.
// Source: https://developer.hashicorp.com/consul/commands
var wanted = map[string]string{
	"members": "wan detailed status filter segment", "force-leave": "prune wan", "version": "format", "monitor": "log-level log-json",
	"catalog nodes": "near node-meta service filter detailed", "catalog services": "tags node node-meta",
	"services register": "id name address port tag meta tagged-address kind socket", "services deregister": "id",
	"kv get": "recurse keys separator detailed base64 stale datacenter", "kv put": "cas modify-index flags acquire release session base64",
	"kv delete": "recurse cas modify-index", "kv import": "prefix", "config write": "cas modify-index", "config list": "kind filter",
	"config delete": "kind name filename cas modify-index", "lock": "n name child-exit-code monitor-retry pass-stdin shell timeout try verbose",
	"watch": "type key prefix service tag passingonly state name shell filter", "event": "name node service tag",
	"exec": "node service tag prefix shell wait wait-repl verbose", "snapshot save": "append-filename stale",
	"snapshot inspect": "kvdetails kvdepth kvfilter format", "operator raft list-peers": "stale", "operator raft remove-peer": "id address",
	"operator raft transfer-leader": "id", "operator autopilot state": "format",
	"operator autopilot set-config": "cleanup-dead-servers last-contact-threshold max-trailing-logs min-quorum server-stabilization-time",
	"operator federation promote":   "force",
	"operator usage instances":      "onlybillable onlyconnect all-datacenters",
	"keyring":                       "install use remove list list-primary relay-factor local-only", "maint": "enable disable reason service", "rtt": "wan",
	"debug": "capture duration interval since output archive", "tls ca create": "domain days name-constraint additional-name-constraint cluster-id",
	"tls cert create": "server client cli dc domain node days ca key additional-dnsname additional-ipaddress",
}

func TestTable(t *testing.T) {
	seen := map[string]bool{"": true}
	for _, r := range table() {
		parent, _, nested := cutLast(r.name)
		if !seen[parent] || seen[r.name] || nested == (r.group != "") {
			t.Errorf("%s: out of place", r.name)
		}
		seen[r.name] = true
		if r.synopsis == "" || strings.HasSuffix(r.synopsis, ".") || !strings.HasSuffix(r.help, ".") && !strings.Contains(r.help, "\n\n  $") {
			t.Errorf("%s: wants a synopsis without and a help with a full stop", r.name)
		}
		var names []string
		for _, o := range r.options() {
			names = append(names, o.name)
			if !strings.Contains(o.usage, ".") {
				t.Errorf("%s -%s: wants a sentence", r.name, o.name)
			}
		}
		for _, name := range strings.Fields(wanted[r.name]) {
			if !slices.Contains(names, name) {
				t.Errorf("%s lacks -%s", r.name, name)
			}
		}
		code, out, errs := invoke("", "", append(strings.Fields(r.name), "-h")...)
		if code != 0 || errs != "" || !strings.Contains(out, "Usage: curia "+r.name) {
			t.Errorf("%s -h: %d %s", r.name, code, errs)
		}
	}
	for name := range wanted {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func cutLast(name string) (parent, last string, nested bool) {
	i := strings.LastIndexByte(name, ' ')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

func TestReference(t *testing.T) {
	var b strings.Builder
	if err := Reference(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## curia kv get\n", "| `-separator=<text>` |", "```sh\ncuria kv put app/port", "## Options to reach the agent", "| `-http-addr=<address>` |"} {
		if strings.Count(b.String(), want) != 1 {
			t.Errorf("the reference holds %q %d times", want, strings.Count(b.String(), want))
		}
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := invoke("", "", "version", "-format=json")
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || v["Version"] != Version || len(v) != 5 {
		t.Errorf("got %d %v %s", code, err, out)
	}
	for _, args := range [][]string{{"version"}, {"--version"}, {"-v"}} {
		if code, out, errs := invoke("", "", args...); code != 0 || errs != "" || !strings.Contains(out, "v"+Version) {
			t.Errorf("%v: %d %s %s", args, code, out, errs)
		}
	}
	if code, out, _ := invoke("", "", "--help"); code != 0 || !strings.Contains(out, "\nServers\n    operator") {
		t.Errorf("--help: %d %s", code, out)
	}
}

func TestKeygen(t *testing.T) {
	_, a, _ := invoke("", "", "keygen")
	_, b, _ := invoke("", "", "keygen")
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(a)); err != nil || len(raw) != 32 || a == b {
		t.Errorf("%q %q %v", a, b, err)
	}
}

func TestAdvice(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	f := func(address string, says ...string) {
		t.Helper()
		code, out, errs := invoke("", "", "leave", "-http-addr="+address, "-token=s3cret")
		if code != 1 || out != "" || strings.Count(errs, "\n") != 1 || strings.Contains(errs, "s3cret") {
			t.Errorf("%s: %d %s %s", address, code, out, errs)
		}
		for _, want := range says {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: lacks %q: %s", address, want, errs)
			}
		}
	}
	f(gone.Addr().String(), gone.Addr().String(), "connection refused", "-http-addr")
	f("unix://"+filepath.Join(t.TempDir(), "none"), "no such socket")
	f(strings.Replace(plain.URL, "http", "https", 1), "does not speak HTTPS")
	f(strings.Replace(secure.URL, "https", "http", 1), "does not speak plain HTTP")
	f(secure.URL, "-ca-file")
	f("ftp://x", "scheme")
}

func TestInterrupt(t *testing.T) {
	started := make(chan struct{}, 1)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		started <- struct{}{}
		<-r.Context().Done()
	}))
	defer agent.Close()
	f := func(wantCode int, says string, args ...string) {
		t.Helper()
		signals := make(chan os.Signal)
		go func() { <-started; signals <- os.Interrupt }()
		var errs strings.Builder
		env := map[string]string{"CONSUL_HTTP_ADDR": agent.URL}
		code := Run(args, IO{Out: io.Discard, Err: &errs, Getenv: func(k string) string { return env[k] }, Signals: signals})
		if code != wantCode || !strings.Contains(errs.String(), says) || says == "" && errs.Len() > 0 {
			t.Errorf("%v: %d %s", args, code, errs.String())
		}
	}
	f(0, "", "monitor")
	f(0, "", "watch", "-type=services", "cat")
	f(1, "interrupted", "catalog", "services")
}

// What is wrong with a line's order is said, and help is given wherever it is asked for.
func TestLines(t *testing.T) {
	for _, c := range []struct {
		args      string
		code      int
		out, errs string
	}{
		{"", unknownCode, "", "Usage: curia [--version]"},
		{"kv", 1, "", "Subcommands:\n    delete "},
		{"kv get x -h", 0, "Usage: curia kv get", ""},
		{"-h kv", 0, "Subcommands:\n    delete ", ""},
		{"-x kv get a", 1, "", "behind the command: curia kv get -x"},
		{"kv -- -h", 1, "", "Subcommands:\n    delete "},
		{"operator raft nonsense", 1, "", `curia operator raft has no command "nonsense"`},
	} {
		code, out, errs := invoke("", "", strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out, c.out) || (out == "") != (c.out == "") || !strings.Contains(errs, c.errs) || (errs == "") != (c.errs == "") {
			t.Errorf("%q: %d %q %q", c.args, code, out, errs)
		}
	}
}
