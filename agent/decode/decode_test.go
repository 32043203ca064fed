package decode_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/decode"
	"github.com/curia-mesh/curia/catalog"
)

type registration struct {
	Node           string
	Address        string
	NodeMeta       map[string]string
	Service        *catalog.Service
	Check          *catalog.Check
	Checks         []*catalog.Check
	SkipNodeUpdate bool
}

func TestNamesMatchLoosely(t *testing.T) {
	var got catalog.ServiceDefinition
	err := decode.JSON([]byte(`{
		"id": "web-1", "SERVICE": "web", "enable_tag_override": true, "enabletagoverride": true,
		"tagged_addresses": {"lan_ipv4": {"address": "10.0.0.1", "port": 80}},
		"meta": {"some_key": "a", "Other_Key": "b"},
		"checks": [{"id": "c", "args": ["true"], "interval": "10s", "tls_skip_verify": true, "h2ping_use_tls": true,
			"header": {"x_y": ["1"]}, "deregister_critical_service_after": "90m", "docker_container_id": "d"}],
		"proxy": {"destination_service_name": "db", "local_service_port": 9.0, "config": {"snake_key": {"Kept_As": 1}},
			"upstreams": [{"destination_name": "api", "local_bind_port": 1, "mesh_gateway": {"mode": "local"}}]},
		"namespace": "default", "\u006co\u0063ality": {"region": "eu"}
	}`), &got, decode.Strict())
	if err != nil {
		t.Fatal(err)
	}
	want := catalog.ServiceDefinition{
		ID: "web-1", Name: "web", EnableTagOverride: true,
		TaggedAddresses: map[string]catalog.ServiceAddress{"lan_ipv4": {Address: "10.0.0.1", Port: 80}},
		Meta:            map[string]string{"some_key": "a", "Other_Key": "b"},
		Checks: []*catalog.AgentCheck{{CheckID: "c", CheckDefinition: catalog.CheckDefinition{
			ScriptArgs: []string{"true"}, Interval: catalog.Duration(10 * time.Second), TLSSkipVerify: true, H2PingUseTLS: new(true),
			Header: map[string][]string{"x_y": {"1"}}, DeregisterCriticalServiceAfter: catalog.Duration(90 * time.Minute), DockerContainerID: "d",
		}}},
		Proxy: &catalog.Proxy{
			DestinationServiceName: "db", LocalServicePort: 9, Config: map[string]any{"snake_key": map[string]any{"Kept_As": 1.0}},
			Upstreams: []catalog.Upstream{{DestinationName: "api", LocalBindPort: 1, MeshGateway: catalog.MeshGateway{Mode: "local"}}},
		},
		Locality: &catalog.Locality{Region: "eu"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %s\nwant %s", show(got), show(want))
	}
}

func show(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// Where nothing has to be renamed the answer is encoding/json's own, the last of two equal names included.
func TestPlainJSONIsLikeEncodingJSON(t *testing.T) {
	for _, text := range []string{
		`{"Node":"a","Address":"b","NodeMeta":{"x":"y"},"Service":{"ID":"s","Service":"s","Port":80,"Weights":{"Passing":2}}}`,
		`{"node":"first","Node":"second","NODE":"third"}`,
		`{"Check":{"CheckID":"c","Definition":{"Interval":"10s","Timeout":5}},"Checks":[{"Name":"n"},null]}`,
		` null `, `{}`, `{"Unknown":{"deep":[1,"x",{"y":null}]},"SkipNodeUpdate":true}`,
	} {
		var got, want registration
		if err := decode.JSON([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %s, want %s", text, show(got), show(want))
		}
	}
}

// many is the inside of an object with n keys.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":"v"`, i)
	}
	return b.String()[1:]
}

func TestJSONErrors(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000)
	for _, c := range []struct{ text, want string }{
		{`{"Service":{"Port":"80"}}`, "Service.Port: want whole number, got string"},
		{`{"Service":{"port":80.5}}`, "Service.port: want whole number, got 80.5"},
		{`{"Service":{"Port":99999999999999999999}}`, "Service.Port: 99999999999999999999 does not fit into int"},
		{`{"Node":7}`, "Node: want string, got number"},
		{`{"Node":{}}`, "Node: want string, got object"},
		{`{"SkipNodeUpdate":"true"}`, "SkipNodeUpdate: want true or false, got string"},
		{`{"Checks":[{},{"Definition":{"Interval":"soon"}}]}`, `Checks[1].Definition.Interval: invalid duration "soon": want duration such as "10s"`},
		{`{"Checks":{}}`, "Checks: want list, got object"},
		{`{"NodeMeta":{"a":1}}`, "NodeMeta.a: want string, got number"},
		{`[]`, "want object, got list"},
		{`{"Colour":"red"}`, "Colour: unknown field"},
		{`{"skip_node_updat":true}`, "skip_node_updat: unknown field, did you mean SkipNodeUpdate?"},
		{"{\"a\u001b[31m\\u0007\":1}", "invalid JSON at line 1, column 4: invalid character '\\x1b' in string literal"},
		{`{"\u001b[31m":1}`, `"\x1b[31m": unknown field`},
		{"{\n\"Node\": \"a\"\n", "invalid JSON at line 2, column 12: unexpected end of JSON input"},
		{`{"Node":"a","Node":"b"}`, "Node: the key is given twice in one object"},
		{`{"Node":"a","\u004eode":"b"}`, "Node: the key is given twice in one object"},
		{`{"Service":{"Meta":{"a":"1","b":"2","a":"3"}}}`, "Service.Meta.a: the key is given twice in one object"},
		{`{"Checks":[{"Definition":{"Header":{"a":["1"],"a":["2"]}}}]}`, "Checks[0].Definition.Header.a: the key is given twice in one object"},
		{`{"NodeMeta":{` + many(1000) + `,"k3":"x"}}`, "NodeMeta.k3: the key is given twice in one object"},
		{`{"NodeMeta":{` + many(1000) + `},"Node":7}`, "Node: want string, got number"},
		{``, "invalid JSON: unexpected end of JSON input"},
		{`{} {}`, "invalid JSON at line 1, column 4: invalid character '{' after top-level value"},
		{`{"Node":"a",}`, "invalid JSON at line 1, column 13: invalid character '}' looking for beginning of object key string"},
		{`{"NodeMeta":` + deep + `}`, "NodeMeta.a: want string, got object"},
		{`{"Colour":` + deep + `}`, "nested more than 100 levels deep"},
		{strings.Repeat("[", 10000), "want object, got list"},
		{"\xff\xfe\x00", "invalid JSON at line 1, column 1: invalid character 'ÿ' looking for beginning of value"},
	} {
		err := decode.JSON([]byte(c.text), &registration{}, decode.Strict())
		if strings.HasPrefix(c.want, "nested") {
			err = decode.JSON([]byte(c.text), &registration{})
		}
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%.60s\n got %v\nwant %s", c.text, err, c.want)
			continue
		}
		var e *decode.Error
		if catalog.CodeOf(err) != catalog.Invalid || !errors.As(err, &e) {
			t.Errorf("%.60s: code %s of %T", c.text, catalog.CodeOf(err), err)
		}
	}
}

// A document that fails must not be half decoded when its form is wrong.
func TestMalformedLeavesTargetAlone(t *testing.T) {
	got := registration{Node: "before"}
	if err := decode.JSON([]byte(`{"node":"after","service":{"enable_tag_override":tru}}`), &got); err == nil || got.Node != "before" {
		t.Errorf("err %v, node %q", err, got.Node)
	}
}

func TestSpans(t *testing.T) {
	var got struct {
		LockDelay time.Duration
		TTLs      map[string]time.Duration
	}
	if err := decode.JSON([]byte(`{"lock_delay":"15s","TTLs":{"*":"1m","a_b":5}}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.LockDelay != 15*time.Second || got.TTLs["*"] != time.Minute || got.TTLs["a_b"] != 5 {
		t.Errorf("got %+v", got)
	}
	if err := decode.JSON([]byte(`{"LockDelay":15.0}`), &got); err != nil || got.LockDelay != 15 {
		t.Errorf("number: %v, %v", got.LockDelay, err)
	}
	for text, want := range map[string]string{"1.5": "want whole number, got 1.5", "99999999999999999999": "99999999999999999999 does not fit into int64"} {
		if err := decode.JSON([]byte(`{"LockDelay":`+text+`}`), &got); err == nil || err.Error() != "LockDelay: "+want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

type file struct {
	Services []*catalog.ServiceDefinition `json:"services"`
	Ports    struct {
		HTTP int `json:"http" alias:"web"`
		DNS  int `json:"dns"`
	} `json:"ports"`
	Join    []string                  `json:"join"`
	Sinks   map[string]map[string]any `json:"sinks"`
	Extra   map[string]any            `json:"extra"`
	Timeout time.Duration             `json:"timeout"`
	Rate    float64                   `json:"rate"`
}

const blocks = `
# two ways to write services
services { name = "a" port = 80 }
services = [{ name = "b", check { id = "x", ttl = "10s" } }]
services "c" { checks = [{ args = ["sh", "-c", "true"], interval = "1m" }] }
services "empty" {}
ports { http = 1 }
ports { dns = 0x2 }
join = "one"
join = ["two", "three"]
sinks "My sink" { path = "p" }
sinks "other" { path = "q", deep { a = 1 } }
extra { list = [1, 2.5, true, "s"] text = <<EOT
${kept} "as" it is
EOT
}
timeout = "1m30s"
rate = 1
`

func TestHCLBlocks(t *testing.T) {
	var got file
	var seen []string
	err := decode.HCL([]byte(blocks), &got, decode.Strict(), decode.Seen(func(f decode.Field) {
		seen = append(seen, fmt.Sprintf("%s@%d", f.Path, f.Line))
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"services":[{"Name":"a","Port":80},{"Name":"b","Check":{"CheckID":"x","TTL":"10s"}},` +
		`{"Name":"c","Checks":[{"ScriptArgs":["sh","-c","true"],"Interval":"1m0s"}]},{"Name":"empty"}],` +
		`"ports":{"http":1,"dns":2},"join":["two","three"],"sinks":{"My sink":{"path":"p"},"other":{"deep":{"a":1},"path":"q"}},` +
		`"extra":{"list":[1,2.5,true,"s"],"text":"${kept} \"as\" it is\n"},"timeout":90000000000,"rate":1}`
	if show(got) != want {
		t.Errorf("got  %s\nwant %s", show(got), want)
	}
	for _, where := range []string{"services@3", "services[0].Port@3", "services[1]@4", "services[2].Checks[0].ScriptArgs@5", "ports.dns@8", "join[1]@10", "timeout@17"} {
		if !strings.Contains(" "+strings.Join(seen, " ")+" ", " "+where+" ") {
			t.Errorf("%s was not seen: %v", where, seen)
		}
	}
}

// The same as a map, and as the JSON that people write in place of HCL.
func TestFilesInJSON(t *testing.T) {
	var got, again file
	text := `{"services":{"web":{"port":80}},"ports":[{"http":1},{"dns":2}],"join":"one","sinks":[{"a":{}},{"b":{}}],"timeout":0}`
	var aliased string
	if err := decode.JSON([]byte(text), &got, decode.Strict(), decode.File()); err != nil {
		t.Fatal(err)
	}
	want := `{"services":[{"Name":"web","Port":80}],"ports":{"http":1,"dns":2},"join":["one"],"sinks":{"a":{},"b":{}},"extra":null,"timeout":0,"rate":0}`
	if show(got) != want {
		t.Errorf("got  %s\nwant %s", show(got), want)
	}
	var m map[string]any
	json.Unmarshal([]byte(text), &m)
	if err := decode.Map(m, &again, decode.Strict()); err != nil || !reflect.DeepEqual(got, again) {
		t.Errorf("map: %v, %s", err, show(again))
	}
	err := decode.Map(map[string]any{"ports": map[string]any{"web": 3}}, &got, decode.Seen(func(f decode.Field) { aliased += f.Alias }))
	if err != nil || got.Ports.HTTP != 3 || aliased != "web" {
		t.Errorf("alias: %v, %d, %q", err, got.Ports.HTTP, aliased)
	}
}

func TestHCLErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		line int
		want string
	}{
		{"join = [\"a\"]\nwheels = 4", 2, "wheels: unknown field"},
		{"ports {\n\n  htp = 4\n}", 3, "ports.htp: unknown field, did you mean http?"},
		{"services \"a\" {\n check {\n  tls_skip_verfy = true } }", 3, "services[0].a.check.tls_skip_verfy: unknown field, did you mean tls_skip_verify?"},
		{"timeout = 10", 1, `timeout: want duration such as "10s", got number without a unit`},
		{"timeout = \"10\"", 1, `timeout: invalid duration "10": want duration such as "10s"`},
		{"ports = 5", 1, "ports: want object, got number"},
		{"join = [1]", 1, "join[0]: want string, got number"},
		{"services {", 1, "invalid HCL at line 1, column 12: object expected closing RBRACE got: EOF"},
		{"a = \"\n\"", 2, "invalid HCL at line 2, column 2: literal not terminated"},
		{strings.Repeat("a {\n", 10000), 101, "nested more than 100 levels deep"},
		{"a = " + strings.Repeat("[", 10000), 1, "nested more than 100 levels deep"},
		{"a = 99999999999999999999", 0, "invalid HCL: a string, number or heredoc is malformed"},
		{strings.Repeat("a ", 1<<20) + "{}", 1, "invalid HCL: a block has 1048576 names, want 1 to 8"},
		{"\x00\x01\x02", 1, "invalid HCL at line 1, column 1: unexpected null character (0x00)"},
		{strings.Repeat(" ", decode.MaxHCL+1), 0, "has 4194305 bytes, at most 4194304 are allowed"},
	} {
		err := decode.HCL([]byte(c.text), &file{}, decode.Strict())
		var e *decode.Error
		if !errors.As(err, &e) || e.Error() != c.want || e.Line != c.line {
			t.Errorf("%.60q\n got %+v\nwant line %d: %s", c.text, e, c.line, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	snake := func(name, want string) {
		t.Helper()
		if got := decode.Snake(name); got != want {
			t.Errorf("Snake(%s) = %s, want %s", name, got, want)
		}
	}
	snake("TLSSkipVerify", "tls_skip_verify")
	snake("DockerContainerID", "docker_container_id")
	snake("data_dir", "data_dir")
	near := func(key, want string) {
		t.Helper()
		if got := catalog.Nearest(key, []string{"port", "ports", "address", "enable_script_checks"}); got != want {
			t.Errorf("Nearest(%s) = %s, want %s", key, got, want)
		}
	}
	near("prot", "port")
	near("adress", "address")
	near("EnableScriptCheck", "enable_script_checks")
	near("wheels", "")
	near(strings.Repeat("x", 1<<20), "")
}

// Plain bodies are the hot path: nothing may be copied, nothing allocated beside what encoding/json does.
func TestPlainJSONCostsNoAllocation(t *testing.T) {
	body := []byte(`{"Node":"n1","Address":"10.0.0.1","Service":{"ID":"web-1","Service":"web","Port":80,"Tags":["a"]}}`)
	target := registration{Service: &catalog.Service{}}
	own := testing.AllocsPerRun(100, func() { json.Unmarshal(body, &target) })
	got := testing.AllocsPerRun(100, func() { decode.JSON(body, &target) })
	if got > own+3 {
		t.Errorf("%v allocations, encoding/json makes %v", got, own)
	}
}
