package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/config"
)

// args parses a command line as the agent does.
func args(t *testing.T, line ...string) config.Args {
	t.Helper()
	fs := flag.NewFlagSet("agent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	flags := config.BindFlags(fs)
	if err := fs.Parse(line); err != nil {
		t.Fatal(err)
	}
	a := flags.Args()
	a.Hostname = func() (string, error) { return "host-1", nil }
	a.Getenv = func(string) string { return "" }
	return a
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, line ...string) *config.Config {
	t.Helper()
	c, _, err := config.Load(args(t, line...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hcl loads a client's configuration with text in it.
func hcl(t *testing.T, text string) *config.Config {
	t.Helper()
	return load(t, "-data-dir=data", "-bind=10.0.0.1", "-config-file="+write(t, "a.hcl", text))
}

func TestDefaultsOfClientServerAndDev(t *testing.T) {
	client := load(t, "-data-dir=data", "-bind=10.0.0.1")
	server := load(t, "-data-dir=data", "-bind=10.0.0.1", "-server", "-bootstrap-expect=3")
	dev := load(t, "-dev")
	f := func(what string, got func(*config.Config) any, c, s, d any) {
		t.Helper()
		if !reflect.DeepEqual([]any{got(client), got(server), got(dev)}, []any{c, s, d}) {
			t.Errorf("%s: %v, %v, %v, want %v, %v, %v", what, got(client), got(server), got(dev), c, s, d)
		}
	}
	f("server", func(c *config.Config) any { return c.Server }, false, true, true)
	f("expect", func(c *config.Config) any { return c.BootstrapExpect }, 0, 3, 1)
	f("node", func(c *config.Config) any { return c.NodeName }, "host-1", "host-1", "host-1")
	f("datacenter", func(c *config.Config) any { return c.Datacenter + c.PrimaryDatacenter }, "dc1dc1", "dc1dc1", "dc1dc1")
	f("client", func(c *config.Config) any { return c.ClientAddr }, "127.0.0.1", "127.0.0.1", "127.0.0.1")
	f("bind", func(c *config.Config) any { return c.BindAddr + c.SerfLAN + c.SerfWAN }, "10.0.0.110.0.0.110.0.0.1", "10.0.0.110.0.0.110.0.0.1", "127.0.0.1127.0.0.1127.0.0.1")
	f("advertise", func(c *config.Config) any { return c.AdvertiseAddr }, "10.0.0.1", "10.0.0.1", "127.0.0.1")
	f("wan", func(c *config.Config) any { return c.AdvertiseAddrWAN }, "10.0.0.1", "10.0.0.1", "127.0.0.1")
	ports := func(c *config.Config) any {
		p := c.Ports
		return []int{p.DNS, p.HTTP, p.HTTPS, p.GRPC, p.GRPCTLS, p.SerfLAN, p.SerfWAN, p.Server, p.SidecarMinPort, p.SidecarMaxPort, p.ExposeMinPort, p.ExposeMaxPort}
	}
	f("ports", ports, []int{8600, 8500, -1, -1, -1, 8301, 8302, 8300, 21000, 21255, 21500, 21755},
		[]int{8600, 8500, -1, -1, 8503, 8301, 8302, 8300, 21000, 21255, 21500, 21755},
		[]int{8600, 8500, -1, 8502, 8503, 8301, 8302, 8300, 21000, 21255, 21500, 21755})
	f("leave", func(c *config.Config) any { return []bool{c.LeaveOnTerminate, c.SkipLeaveOnInterrupt} }, []bool{true, false}, []bool{false, true}, []bool{false, true})
	f("log", func(c *config.Config) any { return c.LogLevel }, "info", "info", "info")
	f("ui", func(c *config.Config) any { return c.UI.Enabled }, false, false, true)
	f("connect", func(c *config.Config) any { return c.Connect.Enabled }, true, true, true)
	f("domain", func(c *config.Config) any { return c.Domain + c.AltDomain }, "consul.", "consul.", "consul.")
	f("dns", func(c *config.Config) any { return c.DNS.UDPAnswerLimit + int(c.DNS.SOA.Refresh) }, 3603, 3603, 3603)
	f("tls", func(c *config.Config) any { return c.TLS.HTTPS.MinVersion }, "TLSv1_2", "TLSv1_2", "TLSv1_2")
}

// What comes later counts, lists grow, maps merge, flags come last.
func TestOrderOfSources(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.hcl":     "node_name = \"b\"\nretry_join = [\"three\"]\nnode_meta { b = \"2\" c = \"2\" }\nservices { name = \"web\" port = 1 }\nports { http = 2 }",
		"a.json":    `{"node_name":"a","retry_join":["one","two"],"node_meta":{"a":"1","c":"1"},"service":{"name":"db","port":1},"ports":{"http":1,"dns":7}}`,
		"c.txt":     "not read",
		".#d.hcl":   "",
		"nested":    "",
		"empty.hcl": " \n",
	} {
		path := filepath.Join(dir, name)
		var err error
		switch name {
		case "nested":
			err = os.MkdirAll(filepath.Join(path, "x.hcl"), 0o700)
		case ".#d.hcl":
			err = os.Symlink("nobody@nowhere", path)
		default:
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink(dir, filepath.Join(dir, "loop.hcl"))
	c := load(t, "-config-dir="+dir, "-data-dir=data", "-bind=10.0.0.1", "-dns-port=9", "-retry-join=four", "-node-meta=d:4",
		"-hcl=node_name = \"fragment\"", "-hcl=service \"api\" { port = 3 }")
	var names []string
	for _, s := range c.Services {
		names = append(names, s.Name)
	}
	got, _ := json.Marshal([]any{c.NodeName, c.RetryJoin, c.NodeMeta, names, c.Ports.HTTP, c.Ports.DNS})
	want := `["fragment",["one","two","three","four"],{"a":"1","b":"2","c":"2","d":"4"},["web","db","api"],2,9]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHCLForms(t *testing.T) {
	c := hcl(t, `
service { name = "a", check { name = "c", ttl = "10s" } }
service "b" { checks = [{ http = "http://localhost", interval = "5s", header { X = ["1"] } }] }
services { name = "c" connect { sidecar_service { proxy { upstreams { destination_name = "a" local_bind_port = 9000 } } } } }
check { id = "mem", tcp = "localhost:1", interval = "1m" }
checks = [{ name = "n", alias_service = "a" }]
watches = [{ type = "service", service = "a", args = ["true"], tag = "x" }]
ports { http = 1 } ports { dns = 0x10 }
dns_config { service_ttl { "*" = "5s" "web-*" = "1m" } soa { min_ttl = 60 } }
http_config { response_headers { Access-Control-Allow-Origin = "*" } }
telemetry { prefix_filter = ["+consul.raft", "-consul.http"] disable_compat_1.9 = true }
config_entries { bootstrap { kind = "proxy-defaults" name = "global" config { a_b = 1 } } bootstrap { kind = "mesh" } }
connect { ca_config { leaf_cert_ttl = "2h" } }
recursors = ["1.1.1.1", "[2606:4700::1]:53"]
audit { sink "one" { type = "file" path = "a" rotate_bytes = 5 } }
`)
	got, _ := json.Marshal([]any{c.Services, c.Checks, c.Watches[0].Tag, c.Ports.HTTP, c.Ports.DNS, c.DNS.ServiceTTL["web-*"], c.DNS.SOA.MinTTL, c.ConfigEntries, c.Audit.Sinks["one"].RotateBytes})
	want := `[[{"Name":"c","Connect":{"SidecarService":{"Proxy":{"Mode":"","Upstreams":[{"DestinationType":"","DestinationName":"a","Datacenter":"","LocalBindPort":9000,"MeshGateway":{}}],"MeshGateway":{},"Expose":{}}}}},` +
		`{"Name":"a","Check":{"Name":"c","TTL":"10s"}},{"Name":"b","Checks":[{"HTTP":"http://localhost","Header":{"X":["1"]},"Interval":"5s"}]}],` +
		`[{"Name":"n","AliasService":"a"},{"CheckID":"mem","TCP":"localhost:1","Interval":"1m0s"}],["x"],1,16,60000000000,60,` +
		`{"bootstrap":[{"config":{"a_b":1},"kind":"proxy-defaults","name":"global"},{"kind":"mesh"}]},5]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestScripts plays testdata/load/*.txt: files, flags and what Load says to them.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/load/*.txt")
	if err != nil || len(scripts) < 5 {
		t.Fatalf("scripts: %v, %v", scripts, err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			text, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			for i, one := range strings.Split(string(text), "\n=====\n") {
				play(t, i+1, one)
			}
		})
	}
}

var section = regexp.MustCompile(`(?m)^-- (\S+) --\n?`)

// play runs one case: sections with files, flags and "want", where each line is an error or a warning.
func play(t *testing.T, number int, text string) {
	dir := t.TempDir()
	heads := section.FindAllStringSubmatchIndex(text, -1)
	var line []string
	var want string
	for i, head := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		name, body := text[head[2]:head[3]], text[head[1]:end]
		switch name {
		case "flags":
			for word := range strings.Lines(body) {
				line = append(line, strings.ReplaceAll(strings.TrimSuffix(word, "\n"), "$DIR", dir))
			}
		case "want":
			want = strings.TrimSpace(body)
		default:
			if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
			line = append(line, "-config-file="+filepath.Join(dir, name))
		}
	}
	var said []string
	c, warnings, err := config.Load(args(t, line...))
	if (c == nil) != (err != nil) {
		t.Errorf("case %d: a configuration and an error", number)
	}
	if err != nil {
		said = append(said, err.Error())
	} else {
		for _, w := range warnings {
			said = append(said, "warning: "+w.String())
		}
	}
	if got := strings.ReplaceAll(strings.Join(said, "\n"), dir+"/", ""); got != want {
		t.Errorf("case %d\ngot:\n%s\nwant:\n%s", number, got, want)
	}
}

// The configurations that clients of Consul send: of the recordings' player, and all that the test helper
// of its Go client can write.
func TestConfigurationsOfOtherTools(t *testing.T) {
	dir := t.TempDir()
	player := func(more string) string {
		return `{"node_name":"wire-node","bind_addr":"127.0.0.1","client_addr":"127.0.0.1","log_level":"warn",
			"ports":{"https":-1,"http":20001,"dns":20002,"grpc":20003,"grpc_tls":20004,"serf_lan":20005,"serf_wan":20006,"server":20007}` + more + `}`
	}
	for _, more := range []string{
		``, `,"acl":{"enabled":true,"default_policy":"allow"}`,
		`,"acl":{"enabled":true,"default_policy":"deny","enable_token_persistence":true,"tokens":{"initial_management":"5f3c2a10-0000-4000-8000-00000000feed","agent":"5f3c2a10-0000-4000-8000-00000000feed"}}`,
	} {
		file := write(t, "agent.json", player(more))
		load(t, "-config-file="+file, "-dev")
		if c := load(t, "-config-file="+file, "-server", "-bootstrap-expect=1", "-data-dir="+dir); c.Ports.HTTP != 20001 || len(c.Listeners()) != 10 {
			t.Errorf("ports %+v, listeners %v", c.Ports, c.Listeners())
		}
	}
	helper := write(t, "helper.json", `{
		"node_name":"node-1","node_id":"adf4238a-882b-9ddc-4a9d-5b6758e4159e","node_meta":{"a":"b"},"performance":{"raft_multiplier":1},"bootstrap":true,"server":true,
		"data_dir":"`+dir+`","datacenter":"DC2","segments":null,"disable_update_check":true,"log_level":"debug","bind_addr":"127.0.0.1","addresses":{"http":"unix:///run/x.sock"},
		"ports":{"dns":20002,"http":20001,"https":20008,"serf_lan":20005,"serf_wan":20006,"server":20007,"grpc":20003,"grpc_tls":20004,"proxy_min_port":21000,"proxy_max_port":21100},
		"acl_datacenter":"dc1","primary_datacenter":"dc1","acl_default_policy":"deny","locality":{"region":"us","zone":"a"},"partition":"default","experiments":["x"],
		"acl":{"enabled":true,"default_policy":"deny","enable_token_replication":true,"policy_ttl":"1s","token_ttl":"2s","down_policy":"allow","enable_key_list_policy":true,"disabled_ttl":"1s",
			"tokens":{"master":"root","agent":"agent","agent_master":"recovery","replication":"r","default":"d"}},
		"encrypt":"`+"pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="+`","ca_file":"ca.pem","cert_file":"c.pem","key_file":"k.pem","verify_incoming":true,"verify_incoming_rpc":true,
		"verify_incoming_https":false,"verify_outgoing":true,"enable_script_checks":true,"enable_debug":true,"skip_leave_on_interrupt":true,"peering":{"enabled":true},
		"autopilot":{"server_stabilization_time":"1s"},"connect":{"enabled":true,"ca_config":{"cluster_id":"11111111-2222-3333-4444-555555555555"}},
		"retry_join":["127.0.0.1:1"],"raft_protocol":3,"version":"1.21.4","audit":{"enabled":true},"read_replica":false}`)
	c := load(t, "-config-file="+helper, "-config-file="+write(t, "empty.json", ""))
	got, _ := json.Marshal([]any{
		c.Datacenter, c.PrimaryDatacenter, c.ACL.Enabled, c.ACL.DefaultPolicy, c.ACL.Tokens, c.Ports.SidecarMaxPort, c.BootstrapExpect,
		c.TLS.HTTPS.CAFile, c.TLS.HTTPS.VerifyIncoming, c.TLS.InternalRPC.VerifyIncoming, c.TLS.GRPC.VerifyIncoming, c.TLS.InternalRPC.VerifyOutgoing, c.ACL.PolicyTTL, c.Locality,
	})
	want := `["dc2","dc1",true,"deny",{"initial_management":"root","agent":"agent","agent_recovery":"recovery","default":"d","replication":"r","dns":"",` +
		`"config_file_service_registration":"","managed_service_provider":null},21100,1,"ca.pem",false,true,true,true,1000000000,{"region":"us","zone":"a"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAddresses(t *testing.T) {
	c := hcl(t, `client_addr = "{{ GetAllInterfaces | include \"flags\" \"loopback\" | include \"type\" \"IPv4\" | join \"address\" \" \" }} 10.0.0.9"
addresses { http = "unix:///run/a.sock [::1]" dns = "0.0.0.0" }
ports { grpc = -5 https = 8501 }
serf_lan_allowed_cidrs = ["10.0.0.0/8"]`)
	var got []string
	for _, l := range c.Listeners() {
		got = append(got, l.Name+" "+l.Network+" "+l.Address)
	}
	want := []string{
		"dns udp 0.0.0.0:8600", "dns tcp 0.0.0.0:8600", "http unix /run/a.sock", "http tcp [::1]:8500", "https tcp 127.0.0.1:8501", "https tcp 10.0.0.9:8501",
		"serf_lan tcp 10.0.0.1:8301", "serf_lan udp 10.0.0.1:8301",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Loading is part of a start that may take 80 ms in all.
func TestLoadIsQuick(t *testing.T) {
	load(t, "-dev") // makes the table
	a := args(t, "-config-file="+write(t, "a.hcl", strings.Repeat("service { name = \"web\" port = 80 check { http = \"http://localhost\" interval = \"10s\" } }\n", 50)), "-dev")
	start := time.Now()
	for range 10 {
		if _, _, err := config.Load(a); err != nil {
			t.Fatal(err)
		}
	}
	if each := time.Since(start) / 10; each > 200*time.Millisecond {
		t.Errorf("a load with 50 services takes %s", each)
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	os.Symlink("loop.hcl", filepath.Join(dir, "loop.hcl"))
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "absent.hcl"), "no such file"},
		{filepath.Join(dir, "loop.hcl"), "too many levels of symbolic links"},
		{dir, "too many levels of symbolic links"},
		{"/dev/zero", "unknown format"},
		{write(t, "big.hcl", strings.Repeat("#", 4<<20+1)), "has more than 4194304 bytes"},
		{write(t, "bin.hcl", "\x7fELF\x02\x01\x00"), "bin.hcl:1: invalid HCL"},
		{write(t, "bin.json", "\x7fELF\x02\x01\x00"), "bin.json:1: invalid JSON at line 1, column 1"},
		{write(t, "deep.hcl", strings.Repeat("a {", 100000)), "nested more than 100 levels deep"},
		{write(t, "deep.json", strings.Repeat(`{"acl":`, 100000)), "unknown field"},
		{write(t, "list.json", "[]"), "want object, got list"},
		{write(t, "server.conf", ""), "unknown format: name the file *.hcl or *.json"},
	} {
		if _, _, err := config.Load(args(t, "-dev", "-config-file="+c.path)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.path, err, c.want)
		}
	}
	if _, _, err := config.Load(args(t, "-dev", "-config-file=/dev/zero", "-config-format=hcl")); err == nil || !strings.Contains(err.Error(), "neither a file nor a pipe") {
		t.Errorf("device: %v", err)
	}
	if c := load(t, "-dev", "-config-format=json", "-config-file="+write(t, "server.conf", `{"node_name":"x"}`)); c.NodeName != "x" {
		t.Errorf("format: node %q", c.NodeName)
	}
	if c := load(t, "-dev", "-config-file="+write(t, "bom.json", "\xef\xbb\xbf{\"node_name\":\"x\"}")); c.NodeName != "x" {
		t.Errorf("byte order mark: node %q", c.NodeName)
	}
}

// Secrets are planted in every setting that holds one; none of them may come out anywhere.
func TestSecretsStayHidden(t *testing.T) {
	text := `
encrypt = "Y2FuYXJ5Y2FuYXJ5Y2FuYQ=="
acl { tokens { initial_management = "canary" agent = "canary" agent_recovery = "canary" default = "canary" replication = "canary" dns = "canary"
	config_file_service_registration = "canary" managed_service_provider = [{ accessor_id = "a", secret_id = "canary" }] } }
auto_config { intro_token = "canary" }
connect { ca_provider = "vault" ca_config { token = "canary" } }
retry_join = ["provider=aws secret_access_key=canary", "10.0.0.2"]
ui_config { metrics_proxy { base_url = "http://user:canary@prometheus" add_headers = [{ name = "Authorization", value = "canary" }] } }
service { name = "web" token = "canary" check { http = "http://u:canary@web" interval = "1s" header { A = ["canary"] } } }
watches = [{ type = "nodes", token = "canary", args = ["canary"] }]
acl_master_token = "canary"
`
	c := hcl(t, text)
	shown, err := json.Marshal(c.Sanitized())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(shown, []byte("canary")) || bytes.Contains(shown, []byte("Y2FuYXJ5")) {
		t.Errorf("a secret is shown: %s", shown)
	}
	whole, err := json.Marshal(c)
	if err != nil || !bytes.Equal(whole, shown) || strings.Contains(fmt.Sprintf("%v %+v %s", c, c, c), "canary") {
		t.Errorf("the configuration itself shows a secret: %v, %s", err, whole)
	}
	for _, want := range []string{`"encrypt":"hidden"`, `"provider=aws hidden"`, `"base_url":"http://hidden@prometheus"`, `"http":8500`, `"services":["web"]`, `"raft_multiplier":1`, `"reconnect_timeout":"72h0m0s"`} {
		if !bytes.Contains(shown, []byte(want)) {
			t.Errorf("%s is not in %s", want, shown)
		}
	}
	for _, broken := range []string{
		`encrypt = canary`, `encrypt canary`, `encrypt = "canary`, `encrypt = ["canary"]`, `encrypt = "canary!"`, `acl { tokens { agent = canary } }`, `acl { tokens { agent canary } }`,
		`acl = [{ tokens = [ { agent = canary } ] }]`, `ui_config { metrics_proxy { base_url = "ftp://user:canary@x" } }`, "encrypt = <<canary\n",
	} {
		_, warnings, err := config.Load(args(t, "-dev", "-hcl="+broken))
		if err == nil || strings.Contains(err.Error(), "canary") || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", broken, err, warnings)
		}
	}
}

func TestReloadable(t *testing.T) {
	old := hcl(t, `log_level = "info"`)
	new := hcl(t, `log_level = "WARN"
node_meta { a = "b" }
ports { http = 1 }
service { name = "web" }
tls { https { cert_file = "a" key_file = "b" } }`)
	changed, ignored := config.Reloadable(old, new)
	if got, want := strings.Join(changed, " "), "node_meta services log_level tls.https.cert_file tls.https.key_file"; got != want {
		t.Errorf("changed %s, want %s", got, want)
	}
	if got, want := strings.Join(ignored, " "), "ports.http"; got != want {
		t.Errorf("ignored %s, want %s", got, want)
	}
	if changed, ignored := config.Reloadable(old, hcl(t, `log_level = "INFO"`)); len(changed)+len(ignored) > 0 {
		t.Errorf("the same configuration differs in %v, %v", changed, ignored)
	}
}

func TestNodeID(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	resolve := func(c config.Config) string {
		t.Helper()
		id, err := c.ResolveNodeID()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := resolve(config.Config{DataDir: dir})
	if again := resolve(config.Config{DataDir: dir}); again != first {
		t.Errorf("the id changed from %s to %s", first, again)
	}
	if other := resolve(config.Config{DataDir: filepath.Join(dir, "clone")}); other == first {
		t.Error("two data directories have one id")
	}
	if given := resolve(config.Config{DataDir: dir, NodeID: "ADF4238A-882B-9DDC-4A9D-5B6758E4159E"}); given != "adf4238a-882b-9ddc-4a9d-5b6758e4159e" {
		t.Errorf("given id became %s", given)
	}
	if resolve(config.Config{Dev: true, DataDir: dir}) == first {
		t.Error("-dev took the id of a data directory")
	}
	path := filepath.Join(dir, "node-id")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of %s: %v, %v", path, info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
	os.WriteFile(path, []byte("garbage"), 0o600)
	if _, err := (&config.Config{DataDir: dir}).ResolveNodeID(); err == nil || !strings.Contains(err.Error(), "holds no UUID: remove it") {
		t.Errorf("garbage: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	a := args(t, "-data-dir=data", "-bind=10.0.0.1", "-hcl=auto_config { intro_token = \"file\" }")
	a.Getenv = func(name string) string { return map[string]string{"CONSUL_INTRO_TOKEN": "env"}[name] }
	if c, _, err := config.Load(a); err != nil || c.AutoConfig.IntroToken != "env" {
		t.Errorf("got %v, %v", c, err)
	}
}

// TestFederationThroughGateways: what it needs is said before anything is opened.
func TestFederationThroughGateways(t *testing.T) {
	with := func(change func(map[string]any)) []string {
		internal := map[string]any{"ca_file": "ca.pem", "cert_file": "c.pem", "key_file": "k.pem", "verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true}
		all := map[string]any{
			"server": true, "bootstrap_expect": 1, "data_dir": t.TempDir(), "bind_addr": "127.0.0.1", "node_name": "n1", "datacenter": "dc2", "primary_datacenter": "dc1",
			"primary_gateways": []string{"gate.dc1.test:443"}, "tls": map[string]any{"internal_rpc": internal}, "connect": map[string]any{"enable_mesh_gateway_wan_federation": true},
		}
		change(all)
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return []string{"-config-file=" + write(t, "a.json", string(text))}
	}
	load(t, with(func(map[string]any) {})...)
	load(t, with(func(all map[string]any) {
		delete(all, "primary_gateways")
		all["datacenter"] = "dc1"
	})...)
	f := func(want string, change func(map[string]any)) {
		t.Helper()
		if _, _, err := config.Load(args(t, with(change)...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("only servers", func(all map[string]any) {
		all["server"] = false
		delete(all, "bootstrap_expect")
	})
	f("set connect.enabled", func(all map[string]any) { all["connect"].(map[string]any)["enabled"] = false })
	f("set ports.serf_wan", func(all map[string]any) { all["ports"] = map[string]any{"serf_wan": -1} })
	f("verify_server_hostname", func(all map[string]any) {
		all["tls"].(map[string]any)["internal_rpc"].(map[string]any)["verify_server_hostname"] = false
	})
	f("leave it out", func(all map[string]any) { all["retry_join_wan"] = []string{"10.0.0.1"} })
	f("lower case", func(all map[string]any) { all["node_name"] = "N1" })
	f("this is the primary datacenter", func(all map[string]any) { all["datacenter"] = "dc1" })
	f("no address with a port", func(all map[string]any) { all["primary_gateways"] = []string{"gate.dc1.test"} })
	f("enable_mesh_gateway_wan_federation = true only", func(all map[string]any) { delete(all, "connect") })
}
