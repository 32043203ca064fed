package frontdoor_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/connect/jwt/jwttest"
)

// provider is an OpenID provider at which everybody is who they say.
type provider struct {
	*httptest.Server
	t    *testing.T
	sign *jwttest.Signer

	mu   sync.Mutex
	asks map[string]url.Values // what was asked for, by the code that it was answered with
	deny bool
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, sign: jwttest.New(t, "k"), asks: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(jwttest.Keys(p.sign))
	})
	mux.HandleFunc("/auth", p.auth)
	mux.HandleFunc("/token", p.token)
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	return p
}

// auth sends the browser back with a code.
func (p *provider) auth(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.mu.Lock()
	defer p.mu.Unlock()
	code := fmt.Sprint("code-", len(p.asks))
	p.asks[code] = q
	back := url.Values{"state": {q.Get("state")}, "code": {code}}
	if p.deny {
		back = url.Values{"state": {q.Get("state")}, "error": {"access_denied"}, "error_description": {"not you"}}
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// token gives the token of who has the code, and the verifier of the challenge (RFC 7636).
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	p.mu.Lock()
	q, ok := p.asks[r.PostForm.Get("code")]
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") {
		http.Error(w, "bad code", http.StatusBadRequest)
		return
	}
	text := p.sign.Sign(p.t, jwttest.Claims{"iss": p.URL, "aud": "curia", "sub": "ann", "nonce": q.Get("nonce"), "exp": time.Now().Add(time.Hour).Unix()}, nil)
	json.NewEncoder(w).Encode(map[string]string{"id_token": text})
}

// TestBrowserLogin logs in by the command line with a browser, which is sent to a provider and back. Whoever comes back with
// the state of another login is sent away, and one whom the provider refuses gets no token.
func TestBrowserLogin(t *testing.T) {
	p := newProvider(t)
	n := testkit.New(t, testkit.Settings{"acl": testkit.Settings{"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": bossToken, "agent": bossToken}}})
	n.Spawn(t)
	put := func(path string, body any) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		n.Do(t, http.MethodPut, path, string(text), "X-Consul-Token", bossToken).Want(t, http.StatusOK)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", testkit.FreePorts(t).HTTP)
	put("/v1/acl/policy", map[string]any{"Name": "of-ann", "Rules": `key_prefix "ann/" { policy = "write" }`})
	put("/v1/acl/auth-method", map[string]any{"Name": "people", "Type": "oidc", "Config": map[string]any{
		"OIDCDiscoveryURL": p.URL, "OIDCDiscoveryCACert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})),
		"OIDCClientID": "curia", "JWTSupportedAlgs": []string{"ES256"}, "AllowedRedirectURIs": []string{"http://" + listen + "/oidc/callback"},
		"ClaimMappings": map[string]string{"sub": "name"},
	}})
	put("/v1/acl/binding-rule", map[string]any{"AuthMethod": "people", "BindType": "policy", "BindName": "of-${value.name}"})
	sink := filepath.Join(t.TempDir(), "token")
	login := func(browse func(address string)) (out string, err error) {
		t.Helper()
		cmd := exec.Command(testkit.Program(), "login", "-http-addr="+n.Addr(), "-method=people", "-type=oidc", "-oidc-callback-listen-addr="+listen, "-token-sink-file="+sink)
		cmd.Env = append(testkit.Environment(), "PATH=")
		pipe, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		lines := bufio.NewScanner(io.TeeReader(pipe, &all))
		for lines.Scan() {
			if address := strings.TrimSpace(lines.Text()); strings.HasPrefix(address, p.URL) {
				browse(address)
			}
		}
		return all.String(), cmd.Wait()
	}
	browser := p.Client()
	get := func(address string) (status int, body string) {
		t.Helper()
		r, err := browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(text)
	}
	out, err := login(func(address string) {
		for _, stray := range []string{"", "?code=x", "?state=x&code=y", "?error=access_denied&state=x"} {
			if status, _ := get("http://" + listen + "/oidc/callback" + stray); status != http.StatusBadRequest {
				t.Errorf("%s: status %d", stray, status)
			}
		}
		if status, _ := get("http://" + listen + "/"); status != http.StatusNotFound {
			t.Errorf("status %d", status)
		}
		if status, body := get(address); status != http.StatusOK || !strings.Contains(body, "You are logged in") {
			t.Errorf("the browser is told %d %s", status, body)
		}
	})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(sink)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	token, err := os.ReadFile(sink)
	if err != nil {
		t.Fatal(err)
	}
	n.Do(t, http.MethodPut, "/v1/kv/ann/k", "v", "X-Consul-Token", string(token)).Want(t, http.StatusOK)
	n.Do(t, http.MethodPut, "/v1/kv/bob/k", "v", "X-Consul-Token", string(token)).Want(t, http.StatusForbidden)
	if strings.Contains(out, string(token)) {
		t.Error("the token is shown in the terminal")
	}

	if err := os.Remove(sink); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.deny = true
	p.mu.Unlock()
	out, err = login(func(address string) {
		if status, _ := get(address); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
	if _, there := os.Stat(sink); err == nil || there == nil || !strings.Contains(out, "access_denied") {
		t.Errorf("%v, %v: %s", err, there, out)
	}
	for _, elsewhere := range []string{"0.0.0.0:8550", "10.0.0.1:8550", "example.com:8550", "8550"} {
		if out, code := n.Run(t, "login", "-method=people", "-type=oidc", "-oidc-callback-listen-addr="+elsewhere, "-token-sink-file="+sink); code == 0 || !strings.Contains(out, "oidc-callback-listen-addr") {
			t.Errorf("%s: %d %s", elsewhere, code, out)
		}
	}
}
