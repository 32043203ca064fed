package proxy

import (
	"math/bits"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/balance"
)

// hashPolicy is a part of a request that decides which endpoint it goes to.
type hashPolicy struct {
	field    string // "header", "cookie", "query_parameter"; empty for the caller's address
	name     string
	terminal bool
	gives    bool   // a cookie to who has none
	rest     string // of the field that gives it, behind the value
}

func newHash(b *catalog.LoadBalancer) []hashPolicy {
	if b == nil {
		return nil
	}
	var all []hashPolicy
	for _, p := range b.HashPolicies {
		h := hashPolicy{field: p.Field, name: p.FieldValue, terminal: p.Terminal}
		if p.SourceIP {
			h.field = ""
		}
		if h.field == "header" {
			h.name = strings.ToLower(h.name)
		}
		if k := p.CookieConfig; k != nil && h.field == "cookie" {
			h.give(k)
		}
		all = append(all, h)
	}
	return all
}

// give has a cookie given to who has none, as its configuration says: for as long as the caller's session, or for a time.
// Source: RFC 6265, 5.2
func (h *hashPolicy) give(k *catalog.CookieConfig) {
	h.gives = k.Session || k.TTL > 0
	c := http.Cookie{Name: h.name, Value: "-", Path: or(k.Path, "/"), HttpOnly: true}
	if k.TTL > 0 {
		c.MaxAge = int((k.TTL + time.Second - 1) / time.Second)
	}
	_, rest, found := strings.Cut(c.String(), "=-") // nothing is left of a name that is none
	h.gives, h.rest = h.gives && found, rest+"\r\n"
}

// hash64 is that of a request, 0 where it has none of the parts.
func (x *exchange) hash64(q *query) uint64 {
	var sum uint64
	x.given = x.given[:0]
	for i := range x.route.hash {
		p := &x.route.hash[i]
		var value string
		some := true
		switch p.field {
		case "header":
			value, some = q.field(p.name)
		case "cookie":
			cookies, _ := q.field("cookie")
			if value, some = cookie(cookies, p.name); !some && p.gives {
				value, some = x.giveCookie(p), true
			}
		case "query_parameter":
			value, some = param(q.raw, p.name)
		default:
			value = hostOf(x.client.remote)
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

// giveCookie has the response give a cookie, and returns its value, which tells nothing of who gets it.
func (x *exchange) giveCookie(p *hashPolicy) string {
	var id [16]byte
	for i := range id {
		id[i] = "0123456789abcdef"[rand.Uint32()&15]
	}
	x.given = append(append(append(x.given, "Set-Cookie: "...), p.name...), '=')
	x.given = append(append(x.given, id[:]...), p.rest...)
	return string(id[:])
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
