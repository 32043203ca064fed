package proxy

import (
	"math/bits"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/balance"
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
		sum = bits.RotateLeft64(sum, 1) ^ balance.Hash(value)
		if p.terminal {
			break
		}
	}
	return sum
}

// hashConn is that of a connection, of which only the address of the caller is known.
func (r *route) hashConn(c *client) uint64 {
	for _, p := range r.hash {
		if p.field == "" {
			return balance.Hash(hostOf(c.remote))
		}
	}
	return 0
}

func cookie(line, name string) (string, bool) {
	for part := range strings.SplitSeq(line, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}
