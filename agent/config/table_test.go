package config

import (
	"flag"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every field has a row, every row has a field, and what a row says about itself holds.
func TestTableAndStructAgree(t *testing.T) {
	rows := table()
	if len(rows.byKey) != len(rows.rows) {
		t.Errorf("%d rows have %d keys", len(rows.rows), len(rows.byKey))
	}
	for _, key := range leaves(reflect.TypeFor[Config](), "") {
		if rows.byKey[key] == nil {
			t.Errorf("%s has a field and no row", key)
		}
	}
	flags := map[string]string{"dev": "", "config-file": "", "config-dir": "", "config-format": "", "hcl": ""}
	for _, row := range rows.rows {
		if row.index == nil {
			t.Errorf("%s has a row and no field", row.Key)
			continue
		}
		if row.Help == "" && row.Moved == "" && !row.Unused {
			t.Errorf("%s has no help", row.Key)
		}
		for name := range strings.FieldsSeq(row.Flag) {
			if other, taken := flags[name]; taken {
				t.Errorf("-%s is the flag of %s and %s", name, other, row.Key)
			}
			flags[name] = row.Key
		}
		if row.Moved != "" {
			now := rows.byKey[row.Moved]
			if now == nil || reflect.TypeOf(now.get(&Config{})) != reflect.TypeOf(row.get(&Config{})) {
				t.Errorf("%s cannot move to %s", row.Key, row.Moved)
			}
			continue
		}
		for _, c := range []*Config{{}, {Server: true}, {Server: true, Dev: true}} {
			if value := row.value(c); value != nil {
				row.put(c, reflect.ValueOf(value))
			}
			if row.Check != nil {
				if err := row.Check(row.get(c)); err != nil {
					t.Errorf("the default of %s is not valid: %v", row.Key, err)
				}
			}
		}
	}
}

func leaves(t reflect.Type, prefix string) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == "-":
		case f.Anonymous:
			keys = append(keys, leaves(f.Type, prefix)...)
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, leaves(f.Type, prefix+tag+".")...)
		default:
			keys = append(keys, prefix+tag)
		}
	}
	return keys
}

// Feature CLI-01 names the flags.
func TestFlagsOfTheAgent(t *testing.T) {
	fs := flag.NewFlagSet("agent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	BindFlags(fs)
	for name := range strings.FieldsSeq(`dev server bootstrap bootstrap-expect config-file config-dir config-format hcl data-dir node node-id node-meta
		datacenter domain alt-domain bind client advertise advertise-wan serf-lan-bind serf-wan-bind serf-lan-port serf-wan-port
		serf-lan-allowed-cidrs serf-wan-allowed-cidrs http-port https-port dns-port grpc-port grpc-tls-port server-port join join-wan
		retry-join retry-join-wan retry-interval retry-interval-wan retry-max retry-max-wan primary-gateway rejoin encrypt recursor ui ui-dir
		ui-content-path log-level log-json log-file log-rotate-bytes log-rotate-duration log-rotate-max-files syslog pid-file
		enable-script-checks enable-local-script-checks auto-reload-config default-query-time max-query-time raft-protocol protocol
		disable-host-node-id disable-keyring-file read-replica non-voting-server segment partition allow-write-http-from check_output_max_size`) {
		if fs.Lookup(name) == nil {
			t.Errorf("there is no flag -%s", name)
		}
	}
}

func TestReference(t *testing.T) {
	var b strings.Builder
	if err := Reference(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, key := range slices.Sorted(maps.Keys(table().byKey)) {
		if !strings.Contains(page, "| `"+key+"` |") {
			t.Errorf("%s is not on the page", key)
		}
	}
	for _, line := range []string{
		"| `ports.http` | `-http-port` | number | `8500` | Port of the HTTP API. |",
		"| `ports.grpc_tls` | `-grpc-tls-port` | number | `-1`, `8503` on servers | Port of gRPC with TLS. |",
		"| `reconnect_timeout` |  | duration | `72h` | Time after which a failed node is forgotten, at least 8h. |",
		"| `verify_incoming_rpc` | `tls.internal_rpc.verify_incoming` |",
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("the page lacks %s", line)
		}
	}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "|") && strings.Contains(line, "*reload*") && !strings.HasSuffix(line, "*reload* |\n") && !strings.Contains(line, "*template*") {
			t.Errorf("malformed row %s", line)
		}
	}
}
