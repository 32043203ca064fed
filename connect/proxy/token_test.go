package proxy_test

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/jwt"
	"github.com/curia-mesh/curia/connect/jwt/jwttest"
	"github.com/curia-mesh/curia/connect/proxy"
)

// provider is the one of an entry named name, with the signer's key unless the entry has others.
func provider(t testing.TB, s *jwttest.Signer, name string, e catalog.JWTProvider) *jwt.Provider {
	t.Helper()
	e.Kind, e.Name = catalog.EntryJWTProvider, name
	if e.JSONWebKeySet == nil {
		e.JSONWebKeySet = &catalog.JSONWebKeySet{Local: &catalog.LocalJWKS{JWKS: base64.StdEncoding.EncodeToString(jwttest.Keys(s))}}
	}
	e.Normalize()
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := jwt.NewProvider(&e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func needs(provider string, claims ...*catalog.JWTClaim) *catalog.JWTRequirement {
	return &catalog.JWTRequirement{Providers: []*catalog.JWTRequirementProvider{{Name: provider, VerifyClaims: claims}}}
}

// tokenPolicy allows web all that a token goes with, or what permissions say.
func tokenPolicy(t testing.TB, need *catalog.JWTRequirement, permissions ...*catalog.IntentionPermission) *connect.Policy {
	t.Helper()
	source := &catalog.SourceIntention{Name: "web", Type: "consul", Permissions: permissions}
	if len(permissions) == 0 {
		source.Action = catalog.IntentionAllow
	}
	e := &catalog.ServiceIntentions{EntryHead: catalog.EntryHead{Kind: catalog.EntryServiceIntentions, Name: "api"}, Sources: []*catalog.SourceIntention{source}, JWT: need}
	e.Normalize()
	p, err := connect.NewPolicy(e, nil, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asked makes a request with lines of fields and holds the status against what is wanted.
func asked(t *testing.T, addr, what, target string, status int, fields ...string) *http.Response {
	t.Helper()
	r, body := ask(t, addr, "GET "+target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+strings.Join(append(fields, ""), "\r\n")+"\r\n")
	if r.StatusCode != status {
		t.Errorf("%s: %s, want %d: %s", what, r.Status, status, body)
	}
	return r
}

func TestTokens(t *testing.T) {
	s, stranger := jwttest.New(t, "k"), jwttest.New(t, "k")
	app := answering(t, echo)
	addr := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
		p.incoming.Policy = tokenPolicy(t, needs("okta"))
		p.incoming.Tokens = map[string]*jwt.Provider{"okta": provider(t, s, "okta", catalog.JWTProvider{Issuer: "okta"})}
	}).addr
	until := time.Now().Add(time.Hour).Unix()
	good := s.Sign(t, nil, map[string]any{"iss": "okta", "exp": until})
	other := s.Sign(t, nil, map[string]any{"iss": "okta", "exp": until, "n": 1})
	r := asked(t, addr, "without a token", "/", 401)
	if got := r.Header.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("asked for by %q", got)
	}
	r = asked(t, addr, "a stranger's", "/", 401, "Authorization: Bearer "+stranger.Sign(t, nil, map[string]any{"iss": "okta", "exp": until}))
	if got := r.Header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
		t.Errorf("refused with %q", got)
	}
	asked(t, addr, "an expired one", "/", 401, "Authorization: Bearer "+s.Sign(t, nil, map[string]any{"iss": "okta", "exp": 1}))
	asked(t, addr, "another scheme", "/", 401, "Authorization: Basic "+good)
	asked(t, addr, "two that differ", "/?access_token="+other, 401, "Authorization: Bearer "+good)
	asked(t, addr, "two in one field", "/", 401, "Authorization: Bearer "+good+", Bearer "+good)
	if seen := app.seen(); seen != "" {
		t.Errorf("the application was sent %q", seen)
	}
	asked(t, addr, "a good one", "/", 200, "Authorization: bearer "+good, "X-Other: stays")
	asked(t, addr, "one in the query", "/?a=b&access_token="+good, 200)
	asked(t, addr, "the same one twice", "/?access_token="+good, 200, "Authorization: Bearer "+good)
	seen := app.seen()
	if strings.Contains(strings.ToLower(seen), "authorization") || !strings.Contains(strings.ToLower(seen), "x-other: stays") {
		t.Errorf("the token is passed on, or another field is not: %q", seen)
	}
}

// What a token claims is asked for by the whole intention, or by one permission.
func TestClaimsOfTokens(t *testing.T) {
	s := jwttest.New(t, "k")
	app := answering(t, echo)
	admin := &catalog.JWTClaim{Path: []string{"perms", "role"}, Value: "admin"}
	addr := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
		p.incoming.Policy = tokenPolicy(t, nil,
			&catalog.IntentionPermission{Action: "allow", HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/admin"}, JWT: needs("okta", admin)},
			&catalog.IntentionPermission{Action: "allow", HTTP: &catalog.IntentionHTTPPermission{PathPrefix: "/"}})
		p.incoming.Tokens = map[string]*jwt.Provider{"okta": provider(t, s, "okta", catalog.JWTProvider{})}
		p.incoming.Explain = true
	}).addr
	bearer := func(claims map[string]any) string { return "Authorization: Bearer " + s.Sign(t, nil, claims) }
	asked(t, addr, "what needs none", "/x", 200)
	asked(t, addr, "a bad one where none is needed", "/x", 200, "Authorization: Bearer bad")
	asked(t, addr, "without a token", "/admin", 401)
	asked(t, addr, "without a token, in another way", "//x/../%61dmin/;y", 401)
	asked(t, addr, "with the role", "/admin", 200, bearer(map[string]any{"perms": map[string]any{"role": "admin"}}))
	asked(t, addr, "with the role among others", "/admin", 200, bearer(map[string]any{"perms": map[string]any{"role": []string{"user", "admin"}}}))
	r := asked(t, addr, "with another role", "/admin", 403, bearer(map[string]any{"perms": map[string]any{"role": "user"}}))
	if got := r.Header.Get("X-Curia-Denied-By"); !strings.Contains(got, "permission 1, whose token lacks the claims") {
		t.Errorf("denied by %q", got)
	}
	asked(t, addr, "with the role elsewhere", "/admin", 403, bearer(map[string]any{"role": "admin"}))
}

// Where a token is, and what of it is passed on, is as its provider says; nobody else may say what a token claims.
func TestWhereTokensAre(t *testing.T) {
	s := jwttest.New(t, "k")
	app := answering(t, echo)
	good := s.Sign(t, nil, map[string]any{"sub": "ann"})
	payload := strings.Split(good, ".")[1]
	places := []*catalog.JWTLocation{
		{Header: &catalog.JWTLocationHeader{Name: "X-Token", ValuePrefix: "Token-", Forward: true}},
		{Header: &catalog.JWTLocationHeader{Name: "X-Secret"}},
		{Cookie: &catalog.JWTLocationCookie{Name: "jwt"}},
		{QueryParam: &catalog.JWTLocationQueryParam{Name: "t"}},
	}
	addr := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
		p.incoming.Policy = tokenPolicy(t, nil,
			&catalog.IntentionPermission{Action: "allow", HTTP: &catalog.IntentionHTTPPermission{PathExact: "/open"}},
			&catalog.IntentionPermission{Action: "allow", JWT: needs("okta")})
		p.incoming.Tokens = map[string]*jwt.Provider{"okta": provider(t, s, "okta", catalog.JWTProvider{
			Locations: places, Forwarding: &catalog.JWTForwarding{HeaderName: "X-Claims", PadForwardPayloadHeader: true},
		})}
	}).addr
	asked(t, addr, "where nobody said", "/", 401, "Authorization: Bearer "+good)
	asked(t, addr, "behind a prefix", "/", 200, "X-Token: Token-"+good)
	asked(t, addr, "without the prefix", "/", 401, "X-Token: "+good)
	asked(t, addr, "in a field", "/", 200, "x-secret: "+good)
	asked(t, addr, "in a cookie", "/", 200, "Cookie: a=b; jwt="+good+"; c=d")
	asked(t, addr, "in the query", "/?t="+good, 200)
	asked(t, addr, "none, and its claims made up", "/open", 200, "X-Claims: forged")
	asked(t, addr, "one, and its claims made up", "/", 200, "X-Secret: "+good, "X-CLAIMS: forged")
	seen := app.seen()
	pad := strings.Repeat("=", (4-len(payload)%4)%4)
	for text, want := range map[string]int{"X-Claims: " + payload + pad + "\r\n": 5, "forged": 0, "oken: Token-" + good: 1, "ecret": 0, "jwt=" + good: 1, "t=" + good: 2} {
		if got := strings.Count(seen, text); got != want {
			t.Errorf("the application was sent %q %d times, want %d: %q", text, got, want, seen)
		}
	}
}

// Keys that cannot be had are nobody's fault who asks, and keep nobody else.
func TestTokensWithoutKeys(t *testing.T) {
	s := jwttest.New(t, "k")
	reached, hang := make(chan struct{}), make(chan struct{})
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(reached)
		<-hang
		w.Write(jwttest.Keys(s))
	}))
	t.Cleanup(keys.Close)
	app := answering(t, echo)
	addr := mesh(t, proxy.HTTP, app.addr, func(p *pair) {
		p.incoming.Policy = tokenPolicy(t, nil,
			&catalog.IntentionPermission{Action: "allow", HTTP: &catalog.IntentionHTTPPermission{PathExact: "/open"}},
			&catalog.IntentionPermission{Action: "allow", HTTP: &catalog.IntentionHTTPPermission{PathExact: "/gone"}, JWT: needs("gone")},
			&catalog.IntentionPermission{Action: "allow", JWT: needs("slow")})
		p.incoming.Tokens = map[string]*jwt.Provider{"slow": provider(t, s, "slow", catalog.JWTProvider{
			JSONWebKeySet: &catalog.JSONWebKeySet{Remote: &catalog.RemoteJWKS{URI: keys.URL}},
		})}
	}).addr
	good := "Authorization: Bearer " + s.Sign(t, nil, map[string]any{"sub": "ann"})
	asked(t, addr, "of a provider that is not there", "/gone", 503, good)
	done := make(chan struct{})
	go func() { // ends when the keys are there
		defer close(done)
		asked(t, addr, "whose keys come late", "/", 200, good)
	}()
	<-reached
	asked(t, addr, "that needs none, meanwhile", "/open", 200)
	close(hang)
	<-done
}

// A stream whose token was good goes on when a snapshot comes, though it has expired meanwhile or the keys are not at hand;
// one without a token that is asked for from then on is cut.
func TestStreamsWithTokens(t *testing.T) {
	s := jwttest.New(t, "k")
	more := make(chan struct{})
	app := listen(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		<-more
		io.WriteString(c, "5\r\nagain\r\n0\r\n\r\n")
		io.Copy(io.Discard, c)
	})
	okta := provider(t, s, "okta", catalog.JWTProvider{})
	p := mesh(t, proxy.HTTP, app, func(p *pair) {
		p.incoming.Policy = tokenPolicy(t, nil, &catalog.IntentionPermission{Action: "allow", HTTP: &catalog.IntentionHTTPPermission{PathExact: "/open"}},
			&catalog.IntentionPermission{Action: "allow", JWT: needs("okta")})
		p.incoming.Tokens = map[string]*jwt.Provider{"okta": okta}
	})
	open := func(path, fields string) net.Conn {
		c := dial(t, p.addr)
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n")
		if got, err := readUntil(c, "hello"); err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		return c
	}
	with := open("/", "Authorization: Bearer "+s.Sign(t, nil, map[string]any{"sub": "ann", "exp": time.Now().Add(-29 * time.Second).Unix()})+"\r\n")
	without := open("/open", "")
	next := *p.incoming
	next.Policy = tokenPolicy(t, needs("okta"))
	fresh := provider(t, s, "okta", catalog.JWTProvider{JSONWebKeySet: &catalog.JSONWebKeySet{Remote: &catalog.RemoteJWKS{URI: "http://127.0.0.1:9"}}})
	for _, tokens := range []map[string]*jwt.Provider{{"okta": okta}, {"okta": fresh}} {
		next := next
		next.Tokens = tokens
		if err := p.in.Update(&proxy.Snapshot{Listeners: []*proxy.Listener{&next}}); err != nil {
			t.Fatal(err)
		}
	}
	if rest, err := io.ReadAll(without); strings.Contains(string(rest), "0\r\n\r\n") {
		t.Errorf("a stream without the token that is asked for now ended in order: %q, %v", rest, err)
	}
	close(more)
	if got, err := readUntil(with, "again\r\n0\r\n\r\n"); err != nil {
		t.Errorf("a stream with a good token was ended: %q, %v", got, err)
	}
}
