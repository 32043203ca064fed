package proxy

import (
	"net/http"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/canon"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// authorize decides about a request by the intentions of its listener.
//
// Applications differ in whether /admin;a=b and /admin/ are /admin. So a request with such a path has to be allowed in
// each of these forms: without parameters, as any other path; without the slash at its end, unless an intention denies
// just that.
func (x *exchange) authorize(conf *Listener) connect.Decision {
	p, who := conf.Policy, x.client.caller
	d := p.Connection(who)
	if d.Verdict != connect.ByRequest {
		return d
	}
	x.asked.Method = view(x.head.Method.Of(x.text))
	x.asked.Header = x.fields(p.Headers())
	x.asked.Path = view(x.path)
	if d = p.Request(who, &x.asked); d.Verdict != connect.Allow {
		return d
	}
	path := x.path
	var bare bool
	if x.bare, bare = canon.Bare(x.bare[:0], path); bare {
		path = x.bare
		x.asked.Path = view(path)
		if d = worse(d, p.Request(who, &x.asked)); d.Verdict != connect.Allow {
			return d
		}
	}
	if n := len(path) - 1; n > 0 && path[n] == '/' {
		x.asked.Path = view(path[:n])
		if o := p.Request(who, &x.asked); o.Permission >= 0 {
			d = worse(d, o)
		}
	}
	return d
}

// worse is of two decisions the one that allows less; the second where they allow as much and it has more to say.
func worse(a, b connect.Decision) connect.Decision {
	if a.Verdict == connect.Allow && (b.Verdict != connect.Allow || b.Audited && !a.Audited) {
		return b
	}
	return a
}

// fields are the values of those fields that intentions look at. They last as long as the request.
func (x *exchange) fields(names []string) http.Header {
	if len(names) == 0 {
		return nil
	}
	if x.header == nil {
		x.header = make(http.Header, len(names))
	}
	clear(x.header)
	x.values = x.values[:0]
	for _, name := range names {
		from := len(x.values)
		for i := range x.head.Fields {
			if f := &x.head.Fields[i]; wire.Fold(f.Name.Of(x.text), name) {
				x.values = append(x.values, view(f.Value.Of(x.text)))
			}
		}
		if len(x.values) > from {
			x.header[name] = x.values[from:len(x.values):len(x.values)]
		}
	}
	return x.header
}
