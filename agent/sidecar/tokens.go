package sidecar

import (
	"log/slog"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/jwt"
)

// tokens are the providers of tokens that a node's sidecars share, so that each one's keys are fetched once, and kept for
// as long as the entry says the same.
type tokens struct {
	log    *slog.Logger
	before map[said]*jwt.Provider
	now    map[said]*jwt.Provider
}

// said is what an entry says.
type said struct {
	name string
	hash uint64
}

// next are those of the next snapshot, which goes on with what there is.
func (t tokens) next() tokens {
	return tokens{log: t.log, before: t.now, now: map[said]*jwt.Provider{}}
}

// of returns the providers of a sidecar, nil for none. One that cannot be gone by is left out: none of its tokens counts.
func (t *tokens) of(entries map[string]*catalog.JWTProvider) map[string]*jwt.Provider {
	if len(entries) == 0 {
		return nil
	}
	all := make(map[string]*jwt.Provider, len(entries))
	for name, e := range entries {
		key := said{name, catalog.EntryHash(e)}
		p := t.now[key]
		if p == nil {
			if p = t.before[key]; p == nil {
				var err error
				if p, err = jwt.NewProvider(e); err != nil {
					t.log.Warn("no token of a provider counts", "provider", name, "err", err)
					continue
				}
			}
			t.now[key] = p
			p.Begin()
		}
		all[name] = p
	}
	return all
}
