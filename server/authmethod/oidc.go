package authmethod

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect/fetch"
	"github.com/curia-mesh/curia/server/api"
)

const (
	// browserTime is how long somebody may take to log in with a browser.
	browserTime = 10 * time.Minute
	// maxLogins bounds the logins with a browser that are under way.
	maxLogins = 8192
)

// login is one with a browser that is under way. It is known to the leader that began it only.
type login struct {
	method      string
	redirect    string
	clientNonce string
	nonce       string
	verifier    string // of PKCE (RFC 7636); empty without
	until       time.Time
}

func (c *jwtConfig) checkOIDC() (err error) {
	switch {
	case c.OIDCDiscoveryURL == "" || c.OIDCClientID == "":
		return catalog.Errorf(catalog.Invalid, "Config: set OIDCDiscoveryURL and OIDCClientID")
	case len(c.AllowedRedirectURIs) == 0:
		return catalog.Errorf(catalog.Invalid, "Config: AllowedRedirectURIs is empty: browsers could be sent nowhere")
	case c.JWKSURL != "" || c.JWKSCACert != "" || len(c.JWTValidationPubKeys) > 0 || c.BoundIssuer != "":
		return catalog.Errorf(catalog.Invalid, "Config: JWKSURL, JWKSCACert, JWTValidationPubKeys and BoundIssuer are for the type jwt")
	}
	for _, text := range c.AllowedRedirectURIs {
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && fetch.Local(u.Hostname())) {
			return catalog.Errorf(catalog.Invalid, "AllowedRedirectURIs: %q: want https://host/path, or http on this machine", text)
		}
	}
	if err := fetch.CheckURL("OIDCDiscoveryURL", c.OIDCDiscoveryURL); err != nil {
		return err
	}
	c.roots, err = fetch.Pool("OIDCDiscoveryCACert", c.OIDCDiscoveryCACert)
	return err
}

// AuthURL returns where to send the browser of who logs in.
// Source: https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth
func (s *Service) AuthURL(ctx context.Context, m *catalog.AuthMethod, req *api.OIDCLogin) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	c, err := readOIDC(m)
	if err != nil {
		return "", err
	}
	if !slices.Contains(c.AllowedRedirectURIs, req.RedirectURI) {
		return "", catalog.Errorf(catalog.Denied, "Permission denied: auth method %s: the redirect_uri %.256q is not among its AllowedRedirectURIs", m.Name, req.RedirectURI)
	}
	about, err := s.provider(ctx, c)
	if err != nil {
		return "", refusal(m, err)
	}
	address, err := url.Parse(about.AuthEndpoint)
	if err != nil {
		return "", refusal(m, err)
	}
	l := &login{
		method: m.Name, redirect: req.RedirectURI, clientNonce: req.ClientNonce, nonce: random(), until: time.Now().Add(browserTime),
	}
	q := address.Query()
	if c.OIDCClientUsePKCE == nil || *c.OIDCClientUsePKCE {
		l.verifier = random() + random()
		sum := sha256.Sum256([]byte(l.verifier))
		q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
		q.Set("code_challenge_method", "S256")
	}
	state := random()
	if err := s.begin(state, l); err != nil {
		return "", err
	}
	q.Set("response_type", "code")
	q.Set("client_id", c.OIDCClientID)
	q.Set("redirect_uri", req.RedirectURI)
	q.Set("scope", strings.Join(append([]string{"openid"}, c.OIDCScopes...), " "))
	q.Set("state", state)
	q.Set("nonce", l.nonce)
	if len(c.OIDCACRValues) > 0 {
		q.Set("acr_values", strings.Join(c.OIDCACRValues, " "))
	}
	address.RawQuery = q.Encode()
	return address.String(), nil
}

func readOIDC(m *catalog.AuthMethod) (*jwtConfig, error) {
	if m.Type != catalog.AuthOIDC {
		return nil, catalog.Errorf(catalog.Invalid, "auth method %s is of the type %s: only oidc is for browsers", m.Name, m.Type)
	}
	return readJWT(m)
}

func random() string {
	b := make([]byte, 24)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// provider returns what the provider says of itself.
func (s *Service) provider(ctx context.Context, c *jwtConfig) (*provider, error) {
	set := s.keySet(c)
	if _, err := set.Get(ctx, false); err != nil {
		return nil, err
	}
	about := set.about.Load()
	for setting, address := range map[string]string{"authorization_endpoint": about.AuthEndpoint, "token_endpoint": about.TokenEndpoint} {
		if err := fetch.CheckURL(setting, address); err != nil {
			return nil, catalog.Errorf(catalog.Unavailable, "the provider's %w", err)
		}
	}
	return about, nil
}

// begin remembers a login, in place of those that took too long.
func (s *Service) begin(state string, l *login) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.logins) >= maxLogins {
		for other, old := range s.logins {
			if time.Now().After(old.until) {
				delete(s.logins, other)
			}
		}
	}
	if len(s.logins) >= maxLogins {
		return catalog.Errorf(catalog.Limited, "%d logins with a browser are under way: try again later", maxLogins)
	}
	s.logins[state] = l
	return nil
}

// end forgets a login and returns it: a state is good once.
func (s *Service) end(m *catalog.AuthMethod, req *api.OIDCLogin) (*login, error) {
	s.mu.Lock()
	l := s.logins[req.State]
	delete(s.logins, req.State)
	s.mu.Unlock()
	switch {
	case l == nil || time.Now().After(l.until):
		return nil, errors.New("this login was not begun here, took too long, or has ended already: begin anew")
	case l.method != m.Name || subtle.ConstantTimeCompare([]byte(l.clientNonce), []byte(req.ClientNonce)) != 1:
		return nil, errors.New("this login was begun by somebody else: begin anew")
	}
	return l, nil
}

// Callback returns whom the provider says it is.
func (s *Service) Callback(ctx context.Context, m *catalog.AuthMethod, req *api.OIDCLogin) (*Subject, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	c, err := readOIDC(m)
	if err != nil {
		return nil, err
	}
	who, err := s.callback(ctx, c, m, req)
	if err != nil {
		return nil, refusal(m, err)
	}
	return who, nil
}

func (s *Service) callback(ctx context.Context, c *jwtConfig, m *catalog.AuthMethod, req *api.OIDCLogin) (*Subject, error) {
	l, err := s.end(m, req)
	if err != nil {
		return nil, err
	}
	about, err := s.provider(ctx, c)
	if err != nil {
		return nil, err
	}
	bearer, err := c.exchange(ctx, about, l, req.Code)
	if err != nil {
		return nil, err
	}
	claims, issuer, err := s.verify(ctx, c, bearer)
	if err != nil {
		return nil, err
	}
	audiences := c.BoundAudiences
	if len(audiences) == 0 {
		audiences = []string{c.OIDCClientID}
	}
	if err := c.checkClaims(claims, issuer, audiences, time.Now()); err != nil {
		return nil, err
	}
	nonce, _ := claims["nonce"].(string)
	if subtle.ConstantTimeCompare([]byte(nonce), []byte(l.nonce)) != 1 {
		return nil, errors.New("the token is of another login")
	}
	return c.subject(claims), nil
}

// exchange trades the provider's code for the token of who has logged in.
func (c *jwtConfig) exchange(ctx context.Context, about *provider, l *login, code string) (string, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {l.redirect}, "client_id": {c.OIDCClientID}}
	if l.verifier != "" {
		form.Set("code_verifier", l.verifier)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, about.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if c.OIDCClientSecret != "" {
		r.SetBasicAuth(url.QueryEscape(c.OIDCClientID), url.QueryEscape(c.OIDCClientSecret))
	}
	body, err := fetch.Do(fetch.Client(c.roots), r)
	if err != nil {
		return "", err
	}
	answer := struct {
		IDToken string `json:"id_token"`
	}{}
	if err := json.Unmarshal(body, &answer); err != nil || answer.IDToken == "" {
		return "", errors.New("the provider gives no id_token for the code")
	}
	return answer.IDToken, nil
}
