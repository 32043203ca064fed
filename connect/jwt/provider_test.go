package jwt_test

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/jwt"
	"github.com/curia-mesh/curia/connect/jwt/jwttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// usual is what a token says, and counts for an hour.
func usual() claims {
	return claims{"iss": "okta", "aud": "api", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
}

type claims = jwttest.Claims

func provider(t testing.TB, e *catalog.JWTProvider) *jwt.Provider {
	t.Helper()
	e.EntryHead = catalog.EntryHead{Kind: catalog.EntryJWTProvider, Name: "okta"}
	e.Normalize()
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := jwt.NewProvider(e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// written is an entry that holds the signers' keys.
func written(all ...*jwttest.Signer) *catalog.JWTProvider {
	return &catalog.JWTProvider{JSONWebKeySet: &catalog.JSONWebKeySet{Local: &catalog.LocalJWKS{JWKS: base64.StdEncoding.EncodeToString(jwttest.Keys(all...))}}}
}

// verify holds what becomes of a token against what is wanted: nothing is that it counts.
func verify(t *testing.T, p *jwt.Provider, what, bearer, says string) {
	t.Helper()
	got, err := p.Verify(t.Context(), []byte(bearer), time.Now())
	switch {
	case says == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case says == "" && got["sub"] != "ann":
		t.Errorf("%s: it says %v", what, got)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("%s: %v, %v: want an error that says %q", what, got, err, says)
	case err != nil && len(bearer) > 20 && strings.Contains(err.Error(), bearer[:20]):
		t.Errorf("%s: the error holds the token: %v", what, err)
	}
}

func TestWhatATokenSays(t *testing.T) {
	s := jwttest.New(t, "k1")
	e := written(s)
	e.Issuer, e.Audiences = "okta", []string{"web", "api"}
	p := provider(t, e)
	now := time.Now()
	for what, c := range map[string]struct {
		other claims
		says  string
	}{
		"as it should be":                     {nil, ""},
		"of another issuer":                   {claims{"iss": "auth0"}, "another issuer"},
		"of none":                             {claims{"iss": nil}, "another issuer"},
		"for another audience":                {claims{"aud": "db"}, "audiences"},
		"for none":                            {claims{"aud": nil}, "audiences"},
		"for several":                         {claims{"aud": []string{"db", "api"}}, ""},
		"expired":                             {claims{"exp": now.Add(-time.Minute).Unix()}, "expired"},
		"expired as far as clocks may be off": {claims{"exp": now.Add(-20 * time.Second).Unix()}, ""},
		"from the future":                     {claims{"nbf": now.Add(time.Minute).Unix()}, "not count yet"},
		"from a future that clocks may mean":  {claims{"nbf": now.Add(20 * time.Second).Unix()}, ""},
		"without an end":                      {claims{"exp": nil}, ""},
		"with an end that is no time":         {claims{"exp": "tomorrow"}, "no time"},
	} {
		verify(t, p, what, s.Sign(t, usual(), c.other), c.says)
	}
	good := s.Sign(t, usual(), claims{"exp": now.Add(time.Second).Unix()})
	verify(t, p, "now", good, "")
	if _, err := p.Verify(t.Context(), []byte(good), now.Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a token that was seen before counts when it has expired: %v", err)
	}
	if got, known, err := p.Again([]byte(good)); !known || err != nil || got["sub"] != "ann" {
		t.Errorf("a token that was verified is asked about again: %v, %v, %v", got, known, err)
	}
	open := provider(t, written(s))
	verify(t, open, "of whoever, for whomever, where the entry does not say", s.Sign(t, usual(), claims{"iss": "x", "aud": "y"}), "")
}

// What nobody has signed who is believed counts for nothing: unsigned, signed with the public key as a shared secret, by
// a stranger, changed, or no token at all.
func TestForgedTokens(t *testing.T) {
	s, stranger := jwttest.New(t, "k1"), jwttest.New(t, "k1")
	p := provider(t, written(s))
	good := s.Sign(t, usual(), nil)
	part := strings.Split(good, ".")
	b64 := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	raw := jwttest.Keys(s)
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: raw})
	all := claims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	verify(t, p, "good", good, "")
	for name, bearer := range map[string]string{
		"alg none":                b64(`{"alg":"none"}`) + "." + part[1] + ".",
		"alg nOnE":                b64(`{"alg":"nOnE"}`) + "." + part[1] + "." + part[2],
		"a shared secret":         jwttest.With(t, jose.SigningKey{Algorithm: jose.HS256, Key: block}, all),
		"the keys as one":         jwttest.With(t, jose.SigningKey{Algorithm: jose.HS512, Key: raw}, all),
		"a stranger":              stranger.Sign(t, usual(), nil),
		"another body":            part[0] + "." + b64(`{"sub":"ann","exp":99999999999}`) + "." + part[2],
		"no signature":            part[0] + "." + part[1] + ".",
		"two parts":               part[0] + "." + part[1],
		"a key of its own":        b64(`{"alg":"ES256","kid":"k1","jwk":{"kty":"EC"}}`) + "." + part[1] + "." + part[2],
		"a key from elsewhere":    b64(`{"alg":"ES256","kid":"k1","jku":"https://evil/keys"}`) + "." + part[1] + "." + part[2],
		"a critical header":       b64(`{"alg":"ES256","kid":"k1","crit":["exp"]}`) + "." + part[1] + "." + part[2],
		"claims that are a list":  part[0] + "." + b64(`[1]`) + "." + part[2],
		"text":                    "hello",
		"nothing":                 "",
		"more than anybody needs": strings.Repeat("a", jwt.MaxToken+1),
		"a megabyte of dots":      strings.Repeat(".", 60<<10),
	} {
		if got, err := p.Verify(t.Context(), []byte(bearer), time.Now()); err == nil {
			t.Errorf("%s counts: %v", name, got)
		}
	}
}

// Keys that are too weak, symmetric, or for another purpose verify nothing.
func TestUnfitKeys(t *testing.T) {
	weak := &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1023), big.NewInt(1)), E: 65537}
	if n := weak.N.BitLen(); n != 1024 {
		t.Fatalf("a key of %d bits", n)
	}
	set := func(keys ...jose.JSONWebKey) *catalog.JWTProvider {
		text, _ := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		e := &catalog.JWTProvider{JSONWebKeySet: &catalog.JSONWebKeySet{Local: &catalog.LocalJWKS{JWKS: base64.StdEncoding.EncodeToString(text)}}}
		e.EntryHead = catalog.EntryHead{Kind: catalog.EntryJWTProvider, Name: "okta"}
		return e
	}
	for what, e := range map[string]*catalog.JWTProvider{
		"none":   set(),
		"weak":   set(jose.JSONWebKey{Key: weak}),
		"shared": set(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), Algorithm: "HS256"}),
	} {
		if _, err := jwt.NewProvider(e); err == nil || !strings.Contains(err.Error(), "no key that may verify") {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := jwttest.New(t, "k1")
	p, err := jwt.NewProvider(set(jose.JSONWebKey{Key: s.Key.Public(), KeyID: "k1", Use: "enc"}, jose.JSONWebKey{Key: s.Key.Public(), KeyID: "k1", Algorithm: "ES384"}))
	if err != nil {
		t.Fatal(err)
	}
	verify(t, p, "signed with a key for something else", s.Sign(t, usual(), nil), "none of the provider's keys")
}

// remote serves keys.
type remote struct {
	*httptest.Server
	asked atomic.Int32
}

func newRemote(t testing.TB, do http.HandlerFunc) *remote {
	r := &remote{}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		do(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func serve(all ...*jwttest.Signer) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(jwttest.Keys(all...)) }
}

// entry is one whose keys the server gives out.
func (r *remote) entry(change func(*catalog.RemoteJWKS)) *catalog.JWTProvider {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
	from := &catalog.RemoteJWKS{URI: r.URL + "/keys", JWKSCluster: &catalog.JWKSCluster{TLSCertificates: &catalog.JWKSTLSCertificates{TrustedCA: &catalog.JWKSTrustedCA{InlineString: string(ca)}}}}
	if change != nil {
		change(from)
	}
	return &catalog.JWTProvider{JSONWebKeySet: &catalog.JSONWebKeySet{Remote: from}}
}

// Keys are fetched once for all who need them at the same time, kept, and not asked for each time somebody shows a token
// that nobody has signed.
func TestRemoteKeysAreAskedForOnce(t *testing.T) {
	s, stranger := jwttest.New(t, "k1"), jwttest.New(t, "k2")
	release := make(chan struct{})
	r := newRemote(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write(jwttest.Keys(s))
	})
	p := provider(t, r.entry(nil))
	good := s.Sign(t, usual(), nil)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { verify(t, p, "side by side", good, "") })
	}
	close(release)
	all.Wait()
	for range 20 {
		verify(t, p, "a stranger's", stranger.Sign(t, usual(), nil), "none of the provider's keys")
	}
	verify(t, p, "a good one", good, "")
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the keys were asked for %d times, want once", n)
	}
}

// While keys are fetched anew nobody waits for them who can do with those at hand, and these are believed for a while
// when others cannot be had.
func TestKeysAtHandAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var down atomic.Bool
		k := jwt.NewKeys(func(ctx context.Context) (*jwt.Set, error) {
			if asked.Add(1); down.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &jwt.Set{}, nil
		}, 10*time.Second, 5*time.Minute, time.Hour)
		first, err := k.Get(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		time.Sleep(6 * time.Minute)
		for range 10 {
			begun := time.Now()
			got, err := k.Get(t.Context(), false)
			if err != nil || got != first || time.Since(begun) != 0 {
				t.Errorf("while the signer hangs: %v, %v after %v", got, err, time.Since(begun))
			}
			time.Sleep(3 * time.Second)
		}
		if n := asked.Load(); n != 4 { // each is given up after 10 s
			t.Errorf("asked %d times in half a minute, want 4", n)
		}
		time.Sleep(time.Hour)
		if got, err := k.Get(t.Context(), false); catalog.CodeOf(err) != catalog.Unavailable {
			t.Errorf("an hour later: %v, %v", got, err)
		}
		down.Store(false)
		time.Sleep(time.Minute)
		if got, err := k.Get(t.Context(), false); err != nil || got == first {
			t.Errorf("when the signer is back: %v, %v", got, err)
		}
	})
}

// Whoever answers for the signer with too much, with another place, late or with nothing useful is not believed, and the
// token's owner is told that it is nobody's fault.
func TestBadRemoteKeys(t *testing.T) {
	s := jwttest.New(t, "k1")
	var sent atomic.Int32
	late := make(chan struct{})
	defer close(late)
	for says, answer := range map[string]http.HandlerFunc{
		"more than": func(w http.ResponseWriter, _ *http.Request) { // 100 MB, if anybody took them
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 100 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
				sent.Add(1)
			}
		},
		"sends elsewhere":           func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/else", http.StatusFound) },
		"no JSON":                   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"503":                       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"context deadline exceeded": func(_ http.ResponseWriter, r *http.Request) { <-late },
	} {
		r := newRemote(t, answer)
		p := provider(t, r.entry(func(k *catalog.RemoteJWKS) { k.RequestTimeoutMs = 300 }))
		_, err := p.Verify(t.Context(), []byte(s.Sign(t, usual(), nil)), time.Now())
		if catalog.CodeOf(err) != catalog.Unavailable || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: want one that says %q", err, says)
		}
		if _, known, _ := p.Again([]byte(s.Sign(t, usual(), nil))); known {
			t.Errorf("%s: without keys it is known what counts", says)
		}
	}
	if n := sent.Load(); n > 50 {
		t.Errorf("%d MB were taken", n)
	}
	r := newRemote(t, serve(s))
	p := provider(t, &catalog.JWTProvider{JSONWebKeySet: &catalog.JSONWebKeySet{Remote: &catalog.RemoteJWKS{URI: r.URL}}})
	verify(t, p, "a server that nobody knows", s.Sign(t, usual(), nil), "certificate")
}

// A request for keys is made again as the entry says.
func TestRetriedKeys(t *testing.T) {
	s := jwttest.New(t, "k1")
	var tries atomic.Int32
	r := newRemote(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			w.WriteHeader(500)
			return
		}
		w.Write(jwttest.Keys(s))
	})
	p := provider(t, r.entry(func(k *catalog.RemoteJWKS) {
		k.RetryPolicy = &catalog.JWKSRetryPolicy{NumRetries: 2, RetryPolicyBackOff: &catalog.RetryBackOff{BaseInterval: time.Millisecond}}
	}))
	verify(t, p, "at the third try", s.Sign(t, usual(), nil), "")
}

// Keys in a file are those that are in it.
func TestKeysInAFile(t *testing.T) {
	s := jwttest.New(t, "k1")
	file := filepath.Join(t.TempDir(), "keys")
	entry := func() *catalog.JWTProvider {
		return &catalog.JWTProvider{JSONWebKeySet: &catalog.JSONWebKeySet{Local: &catalog.LocalJWKS{Filename: file}}}
	}
	verify(t, provider(t, entry()), "without a file", s.Sign(t, usual(), nil), "no such file")
	if err := os.WriteFile(file, jwttest.Keys(s), 0o600); err != nil {
		t.Fatal(err)
	}
	verify(t, provider(t, entry()), "with one", s.Sign(t, usual(), nil), "")
	if err := os.WriteFile(file, []byte(strings.Repeat(" ", 2<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	verify(t, provider(t, entry()), "with one that is too long", s.Sign(t, usual(), nil), "more than")
	e := entry()
	e.JSONWebKeySet.Local.Filename = t.TempDir()
	verify(t, provider(t, e), "with a directory", s.Sign(t, usual(), nil), "no file")
}

// FuzzVerify holds that nothing makes a token count that its signer has not signed, nor a panic.
func FuzzVerify(f *testing.F) {
	s := jwttest.New(f, "k1")
	p := provider(f, written(s))
	f.Add(s.Sign(f, usual(), nil)[:40])
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, bearer string) {
		if got, err := p.Verify(t.Context(), []byte(bearer), time.Now()); err == nil {
			t.Errorf("%q counts: %v", bearer, got)
		}
	})
}
