package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/curia-mesh/curia/agent/decode"
)

// Warning is something in a configuration that works and should be seen to.
type Warning struct {
	Where string // such as server.hcl:12, "" when it is no single place
	Text  string
}

func (w Warning) String() string {
	if w.Where == "" {
		return w.Text
	}
	return w.Where + ": " + w.Text
}

// Load reads the configuration that args name, in this order, where the later one counts: defaults, what servers
// have told, files, fragments, environment variables, flags. Lists are added up and maps are merged. The result is complete
// and valid. The error holds all that is wrong, a line for each, with the file and line where that is known.
func Load(args Args) (*Config, []Warning, error) {
	l := &loader{args: args, config: &Config{}, origin: map[string]string{}}
	l.config.Dev = args.Dev
	sources, err := read(args.Paths, args.Format)
	l.fail(err)
	sources = append([]source{{"settings from the servers", false, args.Base}}, sources...)
	for i, fragment := range args.HCL {
		sources = append(sources, source{fmt.Sprintf("-hcl %d", i+1), true, []byte(fragment)})
	}
	for _, s := range sources {
		l.source(s)
	}
	l.environment()
	l.flags()
	l.former()
	l.defaults()
	if len(l.errs) == 0 {
		l.resolve()
	}
	l.validate()
	for _, dir := range empty(args.Paths, args.Format) {
		text := fmt.Sprintf("the directory %s holds no configuration: files there are read if they are called *.hcl or *.json", dir)
		l.warnings = append(l.warnings, Warning{Text: text})
		if len(l.errs) > 0 { // it may be why
			l.fail(errors.New(text))
		}
	}
	if err := errors.Join(l.errs...); err != nil {
		return nil, l.warnings, err
	}
	return l.config, l.warnings, nil
}

// String names the configuration without showing any of it, lest a log holds its secrets.
func (c *Config) String() string { return "configuration of node " + c.NodeName }

// MarshalJSON writes what Sanitized returns.
func (c *Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.Sanitized()) }

// loader is the work of Load.
type loader struct {
	args     Args
	config   *Config
	origin   map[string]string // where a setting was set, by its key
	warnings []Warning
	errs     []error
}

func (l *loader) fail(err error) {
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// failAt adds an error about the setting with the key.
func (l *loader) failAt(key string, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if where := l.origin[key]; where != "" {
		l.fail(fmt.Errorf("%s: %s: %w", where, key, err))
		return
	}
	l.fail(fmt.Errorf("%s: %w", key, err))
}

func (l *loader) warn(key, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{l.origin[key], fmt.Sprintf(format, args...)})
}

func (l *loader) set(key string) bool { return l.origin[key] != "" }

// source adds one document.
func (l *loader) source(s source) {
	if len(bytes.TrimSpace(s.data)) == 0 {
		return
	}
	var one Config
	lines := map[string]int{}
	opts := []decode.Option{decode.Strict(), decode.Seen(func(f decode.Field) {
		row := table().byKey[f.Path]
		if _, again := lines[f.Path]; again && row != nil && row.field(&one).Kind() == reflect.Slice {
			l.fail(fmt.Errorf("%s:%d: %s: is set twice in one object", s.name, f.Line, f.Path))
		}
		lines[f.Path] = f.Line
		if f.Alias != "" && row != nil {
			l.warnings = append(l.warnings, Warning{fmt.Sprintf("%s:%d", s.name, f.Line), fmt.Sprintf("%s is called %s now", f.Alias, f.Path)})
		}
	})}
	var err error
	if s.hcl {
		err = decode.HCL(s.data, &one, opts...)
	} else {
		err = decode.JSON(s.data, &one, append(opts, decode.File())...)
	}
	if err != nil {
		l.fail(placed(s.name, err))
		return
	}
	l.definitions(s.name, &one, lines)
	for _, row := range table().rows {
		if line, found := lines[row.Key]; found {
			row.put(l.config, row.field(&one))
			l.origin[row.Key] = fmt.Sprintf("%s:%d", s.name, line)
		}
	}
}

// placed puts the file and line before an error of decode.
func placed(name string, err error) error {
	var e *decode.Error
	if errors.As(err, &e) && e.Line > 0 {
		return fmt.Errorf("%s:%d: %w", name, e.Line, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (l *loader) environment() {
	for _, row := range table().rows {
		for name := range strings.FieldsSeq(row.Env) {
			text := l.args.getenv(name)
			if text == "" {
				continue
			}
			if err := row.parse(l.config, text); err != nil {
				l.fail(fmt.Errorf("environment variable %s: %w", name, err))
			}
			l.origin[row.Key] = "environment variable " + name
			break
		}
	}
}

func (l *loader) flags() {
	for _, f := range l.args.Flags {
		row, now := flagRow(f.Name)
		if row == nil {
			l.fail(fmt.Errorf("-%s is no flag of the agent", f.Name))
			continue
		}
		if err := row.parse(l.config, f.Value); err != nil {
			l.fail(fmt.Errorf("flag -%s: %w", f.Name, err))
			continue
		}
		l.origin[row.Key] = "flag -" + f.Name
		if now != "" {
			l.warn(row.Key, "-%s is called -%s now", f.Name, now)
		}
	}
}

// former moves what was set under a former key to where it belongs now.
func (l *loader) former() {
	for _, row := range table().rows {
		if row.Moved == "" || !l.set(row.Key) {
			continue
		}
		now := table().byKey[row.Moved]
		list := row.field(l.config).Kind() == reflect.Slice
		if list || !l.set(now.Key) {
			now.put(l.config, row.field(l.config))
			l.origin[now.Key] = l.origin[row.Key]
		}
		if row.Key != "service" && row.Key != "check" {
			l.warn(row.Key, "%s is called %s now", row.Key, row.Moved)
		}
	}
	// Before Consul 1.4 this key was what switched access control on.
	if l.set("acl_datacenter") && !l.set("acl.enabled") {
		l.config.ACL.Enabled = true
		l.origin["acl.enabled"] = l.origin["acl_datacenter"]
	}
	l.config.former = former{}
}

// defaults fills what nobody set. It comes last, since some defaults depend on what was set.
func (l *loader) defaults() {
	c := l.config
	if c.Dev && !l.set("server") {
		c.Server = true
	}
	for _, row := range table().rows {
		if value := row.value(c); value != nil && !l.set(row.Key) {
			row.put(c, reflect.ValueOf(value))
		}
	}
	if c.UI.Dir != "" && !l.set("ui_config.enabled") {
		c.UI.Enabled = true
	}
	if c.UI.MetricsProxy.BaseURL != "" && c.UI.MetricsProxy.PathAllowlist == nil {
		c.UI.MetricsProxy.PathAllowlist = []string{"/api/v1/query_range", "/api/v1/query"}
	}
	if c.Performance.RaftMultiplier == 0 {
		c.Performance.RaftMultiplier = 1
	}
	for _, key := range []string{"internal_rpc", "https", "grpc"} {
		l.tlsDefaults(key)
	}
}

// tlsDefaults fills one interface's TLS settings from tls.defaults.
func (l *loader) tlsDefaults(name string) {
	t := table()
	for _, row := range t.rows {
		rest, ok := strings.CutPrefix(row.Key, "tls.defaults.")
		if own := t.byKey["tls."+name+"."+rest]; ok && !l.set(own.Key) && rest != "use_auto_cert" {
			own.field(l.config).Set(row.field(l.config))
		}
	}
	// Who demands a name demands TLS: CVE-2018-19653. Who has a certificate from the servers shows them tokens for it.
	if t := &l.config.TLS.InternalRPC; t.VerifyServerHostname || l.config.Enrolls() {
		t.VerifyOutgoing = true
	}
	for _, tls := range []*TLSInterface{&l.config.TLS.InternalRPC, &l.config.TLS.HTTPS, &l.config.TLS.GRPC} {
		if tls.MinVersion == "" {
			tls.MinVersion = "TLSv1_2"
		}
	}
}
