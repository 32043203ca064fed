package proxy

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/jwt"
	"github.com/curia-mesh/curia/rpc/http1/wire"
)

// tokens are those of a request. One is looked at when an intention asks for it, and once.
type tokens struct {
	exchange  *exchange
	providers map[string]*jwt.Provider
	looked    []looked
	later     bool // the request was allowed before: nothing is waited for, and that time has passed does not matter
}

// looked is what was found of a provider's token.
type looked struct {
	by     *jwt.Provider
	name   string
	bearer []byte
	claims jwt.Claims
	err    error
}

// tokenTime bounds how long a request waits for a provider's keys.
const tokenTime = 10 * time.Second

// Claims implements connect.Tokens.
func (t *tokens) Claims(name string) (map[string]any, error) {
	for i := range t.looked {
		if l := &t.looked[i]; l.name == name {
			return l.claims, l.err
		}
	}
	l := looked{name: name, by: t.providers[name]}
	if l.by == nil {
		l.err = catalog.Errorf(catalog.Unavailable, "the provider %q is not known here", name)
	} else if l.bearer, l.err = t.find(l.by.Locations); l.err == nil {
		l.claims, l.err = t.verify(l.by, l.bearer)
	}
	t.looked = append(t.looked, l)
	return l.claims, l.err
}

func (t *tokens) verify(p *jwt.Provider, bearer []byte) (jwt.Claims, error) {
	if t.later {
		claims, known, err := p.Again(bearer)
		if !known {
			err = errUndecided
		}
		return claims, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), tokenTime)
	defer cancel()
	return p.Verify(ctx, bearer, t.exchange.begun)
}

// errUndecided means that it cannot be said at present whether a token counts.
var errUndecided = errors.New("the provider's keys are not at hand")

// find is the token at one of several places. Two that differ are refused: others may believe the other one.
// Source: RFC 6750, 2
func (t *tokens) find(places []*catalog.JWTLocation) (found []byte, err error) {
	add := func(token []byte) {
		switch {
		case len(token) == 0:
		case found == nil:
			found = token
		case !bytes.Equal(found, token):
			err = errors.New("the request carries more than one token")
		}
	}
	for _, at := range places {
		switch {
		case at.Header != nil:
			t.fields(at.Header.Name, func(value []byte) {
				if prefix := at.Header.ValuePrefix; len(value) >= len(prefix) && strings.EqualFold(view(value[:len(prefix)]), prefix) {
					add(bytes.Trim(value[len(prefix):], " \t"))
				}
			})
		case at.Cookie != nil:
			t.fields("cookie", func(value []byte) {
				for part := range bytes.SplitSeq(value, []byte{';'}) {
					if name, token, _ := bytes.Cut(bytes.Trim(part, " \t"), []byte{'='}); view(name) == at.Cookie.Name {
						add(bytes.Trim(token, `"`))
					}
				}
			})
		case at.QueryParam != nil && len(t.exchange.query) > 0:
			for part := range bytes.SplitSeq(t.exchange.query[1:], []byte{'&'}) {
				if name, token, _ := bytes.Cut(part, []byte{'='}); view(name) == at.QueryParam.Name {
					add(token)
				}
			}
		}
	}
	if found == nil {
		err = connect.ErrNoToken
	}
	return found, err
}

// fields calls back with the value of each field of a name.
func (t *tokens) fields(name string, do func(value []byte)) {
	x := t.exchange
	for i := range x.head.Fields {
		if f := &x.head.Fields[i]; wire.Fold(f.Name.Of(x.text), name) {
			do(f.Value.Of(x.text))
		}
	}
}

// carriesTokens has the intentions of a listener see the tokens of the request, and takes away what only this proxy may say
// about them.
func (x *exchange) carriesTokens(conf *Listener) {
	x.tokens = tokens{exchange: x, providers: conf.Tokens, looked: x.tokens.looked[:0], later: x.tokens.later}
	x.asked.Tokens = &x.tokens
	for _, p := range conf.Tokens {
		if p.Forwarding != nil {
			x.without(p.Forwarding.HeaderName)
		}
	}
}

// passTokens has what was verified passed on as its providers say: the token, or what it claims, or neither.
func (x *exchange) passTokens() {
	for i := range x.tokens.looked {
		l := &x.tokens.looked[i]
		if l.err != nil {
			continue
		}
		for _, at := range l.by.Locations {
			if at.Header != nil && !at.Header.Forward {
				x.without(at.Header.Name)
			}
		}
		if f := l.by.Forwarding; f != nil {
			x.lines = append(append(x.lines, f.HeaderName...), ": "...)
			x.lines = append(l.by.Payload(x.lines, l.bearer), '\r', '\n')
		}
	}
}

// without has a field not passed on.
func (x *exchange) without(name string) {
	switch k := wire.KindOf([]byte(name)); {
	case framing>>k&1 != 0: // not to be changed
	case protected>>k&1 != 0:
		x.drop |= 1 << k
	default:
		x.named = append(append(x.named, strings.ToLower(name)...), ',')
	}
}

// unproven answers a request that lacks the token that an intention asks for.
// Source: RFC 6750, 3
func (x *exchange) unproven(d near, conf *Listener, v connect.Decision) {
	x.client.listening.deny("request without a token that counts", conf, x.client, v)
	status, fields, reason := http.StatusUnauthorized, "WWW-Authenticate: Bearer\r\n", "an intention asks for a token: "+v.Token.Error()
	switch {
	case catalog.CodeOf(v.Token) == catalog.Unavailable:
		status, fields, reason = http.StatusServiceUnavailable, "", "an intention asks for a token, whose signer's keys are not to be had"
	case v.Token != connect.ErrNoToken:
		fields = "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n"
	}
	if conf.Explain {
		fields += string(appendField(nil, "X-Curia-Denied-By", v.String()))
	}
	x.reject(d, status, flagToken, reason, fields)
}
