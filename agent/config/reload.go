package config

import (
	"reflect"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Reloadable compares two configurations that Load returned. It returns the keys of the settings that
// differ: those that a running agent takes up, and those that wait for a restart.
func Reloadable(old, new *Config) (changed, ignored []string) {
	for _, row := range table().rows {
		if row.Moved != "" || row.Unused || reflect.DeepEqual(row.get(old), row.get(new)) {
			continue
		}
		if row.Reload {
			changed = append(changed, row.Key)
		} else {
			ignored = append(ignored, row.Key)
		}
	}
	return changed, ignored
}

// Sanitized returns the configuration in the form of a file, with "hidden" in place of each secret that is
// set. Of services, checks, watches and config entries it has the names only. It shares lists and maps with
// c: read it only.
func (c *Config) Sanitized() map[string]any {
	out := map[string]any{"dev": c.Dev}
	for _, row := range table().rows {
		if row.Moved != "" || row.Unused {
			continue
		}
		object := out
		names := strings.Split(row.Key, ".")
		for _, name := range names[:len(names)-1] {
			inner, ok := object[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
				object[name] = inner
			}
			object = inner
		}
		object[names[len(names)-1]] = row.show(c)
	}
	return out
}

// hidden stands in place of a secret.
const hidden = "hidden"

// show returns the value in the form in which a file holds it, without what is secret.
func (s *setting) show(c *Config) any {
	if s.Secret {
		if s.field(c).IsZero() {
			return ""
		}
		return hidden
	}
	switch v := s.get(c).(type) {
	case string:
		return redact(v)
	case time.Duration:
		return v.String()
	case []string:
		return each(v, redact)
	case map[string]string:
		return v
	case map[string]time.Duration:
		texts := make(map[string]string, len(v))
		for key, d := range v {
			texts[key] = d.String()
		}
		return texts
	case []*catalog.ServiceDefinition:
		return each(v, serviceID)
	case []*catalog.AgentCheck:
		return each(v, checkID)
	case []Watch:
		return each(v, func(w Watch) string { return w.Type })
	case []map[string]any:
		return each(v, func(entry map[string]any) string { return entryKind(entry) })
	default:
		return v
	}
}

func each[T any](all []T, name func(T) string) []string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = name(one)
	}
	return names
}

// redact hides what is secret in text that may name a place: the keys that cloud providers are asked with,
// and the password of a URL.
func redact(text string) string {
	if strings.Contains(text, "provider=") {
		for word := range strings.FieldsSeq(text) {
			if strings.HasPrefix(word, "provider=") {
				return word + " " + hidden
			}
		}
	}
	if at := strings.LastIndexByte(text, '@'); at >= 0 && strings.Contains(text, "://") {
		scheme, _, _ := strings.Cut(text, "://")
		return scheme + "://" + hidden + text[at:]
	}
	return text
}
