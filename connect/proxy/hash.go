package proxy

import (
	"hash/fnv"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// hashPolicy is a part of a request that decides which endpoint it goes to.
type hashPolicy struct {
	field    string // "header", "cookie", "query_parameter"; empty for the caller's address
	name     string
	terminal bool
}

func newHash(b *catalog.LoadBalancer) []hashPolicy {
	if b == nil {
		return nil
	}
	var all []hashPolicy
	for _, p := range b.HashPolicies {
		h := hashPolicy{p.Field, p.FieldValue, p.Terminal}
		if p.SourceIP {
			h.field = ""
		}
		if h.field == "header" {
			h.name = strings.ToLower(h.name)
		}
		all = append(all, h)
	}
	return all
}

// hash64 is that of a request, 0 where it has none of the parts.
func (r *route) hash64(q *query, c *client) uint64 {
	var sum uint64
	for _, p := range r.hash {
		var value string
		some := true
		switch p.field {
		case "header":
			value, some = q.field(p.name)
		case "cookie":
			cookies, _ := q.field("cookie")
			value, some = cookie(cookies, p.name)
		case "query_parameter":
			value, some = param(q.raw, p.name)
		default:
			value = hostOf(c.remote)
		}
		if !some {
			continue
		}
		h := fnv.New64a()
		h.Write([]byte(value))
		sum = (sum<<1 | sum>>63) ^ h.Sum64()
		if p.terminal {
			break
		}
	}
	return sum
}

func cookie(line, name string) (string, bool) {
	for part := range strings.SplitSeq(line, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}
