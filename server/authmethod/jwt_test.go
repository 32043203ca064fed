package authmethod_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/filter"
	"github.com/curia-mesh/curia/connect/jwt/jwttest"
	"github.com/curia-mesh/curia/server/api"
	"github.com/curia-mesh/curia/server/authmethod"
)

// signer signs tokens, and is an OpenID provider over HTTPS.
type signer struct {
	*httptest.Server
	*jwttest.Signer
	asked  atomic.Int32    // how often its keys were asked for
	issuer string          // what it says that it is; empty is the truth
	answer http.Handler    // in place of its keys, if set
	codes  chan url.Values // what was exchanged for a token
	token  string          // that a code is exchanged for
}

func newSigner(t *testing.T) *signer {
	s := &signer{Signer: jwttest.New(t, "k1"), codes: make(chan url.Values, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if s.answer != nil {
			s.answer.ServeHTTP(w, r)
			return
		}
		w.Write(jwttest.Keys(s.Signer))
	})
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		issuer := s.URL
		if s.issuer != "" {
			issuer = s.issuer
		}
		json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": s.URL + "/keys", "authorization_endpoint": s.URL + "/auth", "token_endpoint": s.URL + "/token"})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		s.codes <- r.PostForm
		json.NewEncoder(w).Encode(map[string]string{"id_token": s.token})
	})
	s.Server = httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

// ca is the certificate that its server shows, in PEM.
func (s *signer) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func (s *signer) publicPEM(t *testing.T) string {
	der, err := x509.MarshalPKIXPublicKey(s.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type claims = jwttest.Claims

// sign makes a token that counts for an hour, with other claims in place of the usual ones; nil leaves one out.
func (s *signer) sign(t *testing.T, other claims) string {
	t.Helper()
	return s.Sign(t, claims{"iss": "https://issuer", "aud": "curia", "sub": "web", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"a", "b"}, "org": claims{"unit": "u1"}}, other)
}

func method(kind catalog.AuthMethodType, config map[string]any) *catalog.AuthMethod {
	return &catalog.AuthMethod{Name: "m", Type: kind, Config: config}
}

// jwtMethod trusts a key of the signer.
func (s *signer) jwtMethod(t *testing.T, other map[string]any) *catalog.AuthMethod {
	config := map[string]any{
		"JWTValidationPubKeys": []string{s.publicPEM(t)}, "JWTSupportedAlgs": []string{"ES256"}, "BoundIssuer": "https://issuer", "BoundAudiences": []string{"curia"},
		"ClaimMappings": map[string]string{"sub": "name", "/org/unit": "unit", "none": "none"}, "ListClaimMappings": map[string]string{"groups": "groups"},
	}
	maps.Copy(config, other)
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	return method(catalog.AuthJWT, config)
}

func refused(t *testing.T, who *authmethod.Subject, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("who logs in is %+v, %v, want an error that says %q", who, err, says)
	}
}

func TestJWT(t *testing.T) {
	s, service := newSigner(t), authmethod.New()
	m := s.jwtMethod(t, nil)
	if err := service.Check(m); err != nil {
		t.Fatal(err)
	}
	who, err := service.Login(t.Context(), m, s.sign(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(who.Variables, who.Fields); got != "map[value.name:web value.none: value.unit:u1] {{[a b]} {web  u1}}" {
		t.Error(got)
	}
	selects := func(selector string, want, valid bool) {
		t.Helper()
		keep, err := filter.Compile(selector)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := keep.Accepts(who.Fields); got != want || (err == nil) != valid {
			t.Errorf("%s: %v, %v", selector, got, err)
		}
	}
	selects("value.name == web and b in list.groups", true, true)
	selects("value.unit == u2", false, true)
	selects("value.nane == web", false, false) // no such claim is mapped
	now := time.Now()
	f := func(says string, other claims) {
		t.Helper()
		who, err := service.Login(t.Context(), m, s.sign(t, other))
		if says == "" && err == nil {
			return
		}
		refused(t, who, err, says)
	}
	f("expired", claims{"exp": now.Add(-2 * time.Minute).Unix()})
	f("", claims{"exp": now.Add(-30 * time.Second).Unix()}) // within the clocks' skew
	f("not count yet", claims{"nbf": now.Add(5 * time.Minute).Unix()})
	f("issued in the future", claims{"iat": now.Add(5 * time.Minute).Unix(), "nbf": now.Unix()})
	f("neither iat nor", claims{"iat": nil, "exp": nil})
	f("expired", claims{"iat": now.Add(-10 * time.Minute).Unix(), "exp": nil})
	f("", claims{"iat": now.Unix(), "exp": nil})
	f("", claims{"iat": nil})
	f("no time", claims{"exp": "tomorrow"})
	f("issuer", claims{"iss": "https://other"})
	f("issuer", claims{"iss": nil})
	f("audience", claims{"aud": "other"})
	f("audience", claims{"aud": nil})
	f("", claims{"aud": []string{"other", "curia"}})
	unbound := s.jwtMethod(t, map[string]any{"BoundAudiences": nil})
	who, err = service.Login(t.Context(), unbound, s.sign(t, nil))
	refused(t, who, err, "no BoundAudiences")
}

// TestForgedJWT: what nobody has signed that is trusted is refused: unsigned, signed with the public key as a shared
// secret, by a stranger, changed, or no token at all.
func TestForgedJWT(t *testing.T) {
	s, stranger, service := newSigner(t), newSigner(t), authmethod.New()
	m := s.jwtMethod(t, nil)
	good := s.sign(t, nil)
	part := strings.Split(good, ".")
	b64 := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	shared := jose.SigningKey{Algorithm: jose.HS256, Key: []byte(s.publicPEM(t))}
	confused := jwttest.With(t, shared, claims{"sub": "web", "aud": "curia", "iss": "https://issuer", "exp": time.Now().Add(time.Hour).Unix()})
	for name, bearer := range map[string]string{
		"alg none":           b64(`{"alg":"none"}`) + "." + part[1] + ".",
		"alg None":           b64(`{"alg":"None"}`) + "." + part[1] + "." + part[2],
		"shared secret":      confused,
		"a stranger":         stranger.sign(t, nil),
		"another body":       part[0] + "." + b64(`{"sub":"admin","exp":99999999999}`) + "." + part[2],
		"no signature":       part[0] + "." + part[1] + ".",
		"two parts":          part[0] + "." + part[1],
		"a key of its own":   b64(`{"alg":"ES256","jwk":{"kty":"EC"}}`) + "." + part[1] + "." + part[2],
		"text":               "hello",
		"empty":              "",
		"a megabyte of dots": strings.Repeat(".", 1<<20),
	} {
		if who, err := service.Login(t.Context(), m, bearer); err == nil {
			t.Errorf("%s: %+v is let in", name, who)
		} else if strings.Contains(err.Error(), part[1]) {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
	}
}

func TestJWTSettings(t *testing.T) {
	s, service := newSigner(t), authmethod.New()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err) // this build makes no such keys
	}
	der, _ := x509.MarshalPKIXPublicKey(&small.PublicKey)
	weak := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	private, _ := x509.MarshalPKCS8PrivateKey(s.Key)
	for says, other := range map[string]map[string]any{
		"HS256":           {"JWTSupportedAlgs": []string{"HS256"}},
		"none":            {"JWTSupportedAlgs": []string{"none"}},
		"set one of":      {"JWTValidationPubKeys": nil},
		"one of JWT":      {"JWKSURL": s.URL + "/keys"},
		"want https":      {"JWTValidationPubKeys": nil, "JWKSURL": "http://example.com/keys"},
		"no PEM":          {"JWTValidationPubKeys": []string{"x"}},
		"2048":            {"JWTValidationPubKeys": []string{weak}},
		"key 1":           {"JWTValidationPubKeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}},
		"no certificate":  {"JWTValidationPubKeys": nil, "JWKSURL": s.URL + "/keys", "JWKSCACert": "x"},
		"unknown field":   {"Odd": true},
		"two claims":      {"ClaimMappings": map[string]string{"a": "x", "b": "x"}},
		"the type oidc":   {"OIDCClientID": "x"},
		"letters, digits": {"ClaimMappings": map[string]string{"a": "x}"}},
	} {
		if err := service.Check(s.jwtMethod(t, other)); catalog.CodeOf(err) != catalog.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v, want one that says %q", other, err, says)
		}
	}
}

// TestJWKS: keys come from their address over HTTPS, are remembered, and are asked for anew when the signer has others,
// though not all the time.
func TestJWKS(t *testing.T) {
	s, service := newSigner(t), authmethod.New()
	m := s.jwtMethod(t, map[string]any{"JWTValidationPubKeys": nil, "JWKSURL": s.URL + "/keys", "JWKSCACert": s.ca()})
	for range 3 {
		if _, err := service.Login(t.Context(), m, s.sign(t, nil)); err != nil {
			t.Fatal(err)
		}
	}
	stranger := newSigner(t)
	for range 20 {
		who, err := service.Login(t.Context(), m, stranger.sign(t, nil))
		refused(t, who, err, "has signed")
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the keys were asked for %d times, want once", n)
	}
}

// TestBadJWKS: whoever answers for the signer with too much, with another place or with nothing useful is refused.
func TestBadJWKS(t *testing.T) {
	s := newSigner(t)
	m := s.jwtMethod(t, map[string]any{"JWTValidationPubKeys": nil, "JWKSURL": s.URL + "/keys", "JWKSCACert": s.ca()})
	many := jose.JSONWebKeySet{}
	for range 200 {
		many.Keys = append(many.Keys, jose.JSONWebKey{Key: s.Key.Public()})
	}
	sent := 0
	for says, answer := range map[string]http.HandlerFunc{
		"more than": func(w http.ResponseWriter, _ *http.Request) { // 100 MB, if anybody took them
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 100 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
				sent++
			}
		},
		"sends elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/else", http.StatusFound) },
		"no JSON":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"500":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"at most 128":     func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(many) },
	} {
		s.answer = answer
		who, err := authmethod.New().Login(t.Context(), m, s.sign(t, nil))
		refused(t, who, err, says)
	}
	if sent > 50 {
		t.Errorf("%d MB were taken", sent)
	}
	s.answer = nil
	strange := s.jwtMethod(t, map[string]any{"JWTValidationPubKeys": nil, "JWKSURL": s.URL + "/keys"})
	who, err := authmethod.New().Login(t.Context(), strange, s.sign(t, nil))
	refused(t, who, err, "certificate")
}

func TestDiscovery(t *testing.T) {
	s := newSigner(t)
	m := s.jwtMethod(t, map[string]any{"JWTValidationPubKeys": nil, "BoundIssuer": nil, "OIDCDiscoveryURL": s.URL, "OIDCDiscoveryCACert": s.ca()})
	if _, err := authmethod.New().Login(t.Context(), m, s.sign(t, claims{"iss": s.URL})); err != nil {
		t.Fatal(err)
	}
	who, err := authmethod.New().Login(t.Context(), m, s.sign(t, nil))
	refused(t, who, err, "issuer")
	s.issuer = "https://other"
	who, err = authmethod.New().Login(t.Context(), m, s.sign(t, claims{"iss": s.URL}))
	refused(t, who, err, "says that it is")
}

// TestBrowser: a login with a browser goes to the provider and comes back, once, to who began it.
func TestBrowser(t *testing.T) {
	s, service := newSigner(t), authmethod.New()
	m := method(catalog.AuthOIDC, map[string]any{
		"OIDCDiscoveryURL": s.URL, "OIDCDiscoveryCACert": s.ca(), "OIDCClientID": "curia", "OIDCClientSecret": "shh", "AllowedRedirectURIs": []string{"http://localhost:8550/oidc/callback"},
		"JWTSupportedAlgs": []string{"ES256"}, "ClaimMappings": map[string]string{"sub": "name"},
	})
	if err := service.Check(m); err != nil {
		t.Fatal(err)
	}
	begin := func() url.Values {
		address, err := service.AuthURL(t.Context(), m, &api.OIDCLogin{RedirectURI: "http://localhost:8550/oidc/callback", ClientNonce: "mine"})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil || !strings.HasPrefix(address, s.URL+"/auth?") {
			t.Fatal(address, err)
		}
		return u.Query()
	}
	end := func(q url.Values, nonce string, other claims) (*authmethod.Subject, error) {
		all := claims{"iss": s.URL, "nonce": q.Get("nonce")}
		maps.Copy(all, other)
		s.token = s.sign(t, all)
		who, err := service.Callback(t.Context(), m, &api.OIDCLogin{State: q.Get("state"), Code: "c", ClientNonce: nonce})
		select {
		case form := <-s.codes:
			if form.Get("code") != "c" || form.Get("code_verifier") == "" {
				t.Errorf("exchanged %v", form)
			}
		default:
		}
		return who, err
	}
	q := begin()
	who, err := end(q, "mine", nil)
	if err != nil || who.Variables["value.name"] != "web" {
		t.Fatal(who, err)
	}
	who, err = end(q, "mine", nil)
	refused(t, who, err, "begin anew")
	who, err = end(begin(), "theirs", nil)
	refused(t, who, err, "somebody else")
	who, err = end(begin(), "mine", claims{"nonce": "another"})
	refused(t, who, err, "another login")
	who, err = end(begin(), "mine", claims{"aud": "another"})
	refused(t, who, err, "audience")
	_, err = service.AuthURL(t.Context(), m, &api.OIDCLogin{RedirectURI: "https://evil"})
	refused(t, nil, err, "redirect_uri")
}
