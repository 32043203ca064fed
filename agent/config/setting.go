package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// setting is one row of the table: all there is to know about one setting.
type setting struct {
	Key  string // in files, with dots between the levels
	Flag string // without the dash; further names, parted by spaces, are older
	Env  string // environment variables, the first that is set counts
	Help string
	// Def is the default, Srv that of servers and Dev that of the development profile, where they differ.
	Def, Srv, Dev any
	Reload        bool // a change takes effect without a restart
	Secret        bool // never shown
	Template      bool // may be written as a go-sockaddr template
	Check         func(value any) error
	Moved         string // the setting that this former key belongs to
	Unused        bool   // accepted for compatibility, and without effect

	index []int // of the field
}

// group is a chapter of the table.
type group struct {
	title string
	rows  []setting
}

// index is the table, in order and by key.
type index struct {
	groups []group
	rows   []*setting
	byKey  map[string]*setting
}

// table returns the table. It does not change.
var table = sync.OnceValue(func() index {
	t := index{groups: groups(), byKey: map[string]*setting{}}
	fields := map[string][]int{}
	fieldIndexes(reflect.TypeFor[Config](), "", nil, fields)
	for _, g := range t.groups {
		for i := range g.rows {
			row := &g.rows[i]
			row.index = fields[row.Key] // a test says if there is none
			t.rows = append(t.rows, row)
			t.byKey[row.Key] = row
		}
	}
	return t
})

func groups() []group {
	return []group{
		{"Node", nodeSettings()},
		{"Addresses and ports", addressSettings()},
		{"Joining", joinSettings()},
		{"Services and checks", serviceSettings()},
		{"DNS", dnsSettings()},
		{"HTTP API and web interface", httpSettings()},
		{"Logs and telemetry", telemetrySettings()},
		{"Servers", serverSettings()},
		{"Gossip", gossipSettings()},
		{"TLS", tlsSettings()},
		{"Access control", aclSettings()},
		{"Mesh", meshSettings()},
		{"Accepted without effect", unusedSettings()},
		{"Former keys", formerSettings()},
	}
}

// fieldIndexes finds the fields of t by their keys: the json tags from t down, with dots between them.
func fieldIndexes(t reflect.Type, prefix string, path []int, found map[string][]int) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		index := append(slices.Clone(path), i)
		switch {
		case tag == "-":
		case f.Anonymous:
			fieldIndexes(f.Type, prefix, index, found)
		case f.Type.Kind() == reflect.Struct:
			fieldIndexes(f.Type, prefix+tag+".", index, found)
		default:
			found[prefix+tag] = index
		}
	}
}

func (s *setting) field(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

func (s *setting) get(c *Config) any { return s.field(c).Interface() }

// put sets the setting of c to value, or adds value if it is a list or map.
func (s *setting) put(c *Config, value reflect.Value) {
	field := s.field(c)
	switch field.Kind() {
	case reflect.Slice:
		field.Set(reflect.AppendSlice(field, value))
	case reflect.Map:
		if field.IsNil() {
			field.Set(reflect.MakeMap(field.Type()))
		}
		for _, key := range value.MapKeys() {
			field.SetMapIndex(key, value.MapIndex(key))
		}
	default:
		field.Set(value.Convert(field.Type()))
	}
}

// parse reads the text of a flag or environment variable and puts it into c.
func (s *setting) parse(c *Config, text string) error {
	var value any
	var err error
	switch s.get(c).(type) {
	case string:
		value = text
	case bool:
		if value, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("want true or false, got %q", text)
		}
	case int, uint32:
		if value, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("want a whole number, got %q", text)
		}
	case float64:
		if value, err = strconv.ParseFloat(text, 64); err != nil {
			return fmt.Errorf("want a number, got %q", text)
		}
	case time.Duration:
		if value, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("want a duration such as 10s, got %q", text)
		}
	case []string:
		value = []string{text}
	case map[string]string:
		key, said, _ := strings.Cut(text, ":")
		value = map[string]string{key: said}
	default:
		return fmt.Errorf("%s cannot be set by a flag", s.Key)
	}
	s.put(c, reflect.ValueOf(value))
	return nil
}

// value returns the default for c, nil if the zero value is it.
func (s *setting) value(c *Config) any {
	switch {
	case c.Dev && s.Dev != nil:
		return s.Dev
	case c.Server && s.Srv != nil:
		return s.Srv
	}
	return s.Def
}

// kind names the setting's type for people.
func (s *setting) kind() string {
	switch v := s.get(&Config{}).(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int, uint32, float64:
		return "number"
	case time.Duration:
		return "duration"
	case []string:
		return "list of strings"
	case map[string]string, map[string]time.Duration, map[string]any:
		return "map"
	default:
		if reflect.TypeOf(v).Kind() == reflect.Map {
			return "map of objects"
		}
		return "list of objects"
	}
}
