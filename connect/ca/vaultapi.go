package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// VaultConfig says where Vault is and which of its PKI engines to use. Files lie on the servers.
// Source: https://developer.hashicorp.com/consul/docs/secure-mesh/certificate/vault
type VaultConfig struct {
	Address                                       string
	RootPath, IntermediatePath                    string
	RootNamespace, IntermediateNamespace          string
	Namespace                                     string
	CAFile, CAPath, CertFile, KeyFile, ServerName string
	SkipVerify                                    bool
}

func (c *VaultConfig) validate() error {
	u, err := url.Parse(c.Address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return catalog.Errorf(catalog.Invalid, "CA setting Address %q: want http://host:port or https://host:port of Vault", c.Address)
	}
	for name, path := range map[string]string{"RootPKIPath": c.RootPath, "IntermediatePKIPath": c.IntermediatePath} {
		if strings.Trim(path, "/") == "" || path != url.PathEscape(path) && strings.ContainsAny(path, "?#%") || strings.Contains(path, "..") {
			return catalog.Errorf(catalog.Invalid, "CA setting %s %q: want the path of a PKI engine of Vault", name, path)
		}
	}
	return nil
}

// Bounds of what Vault is asked.
const (
	vaultTimeout = 30 * time.Second
	vaultAnswer  = 1 << 20 // bytes
)

// authMethod is how to log in where there is no token.
type authMethod struct {
	Type      string
	MountPath string
	Params    map[string]any
}

// vaultAPI speaks the few endpoints of Vault's HTTP API that a CA needs. Vault's own client would bring
// along more than it does here: eight modules, and another version of HCL.
// Source: https://developer.hashicorp.com/vault/api-docs/secret/pki
type vaultAPI struct {
	cfg    VaultConfig
	client *http.Client
	fixed  catalog.Secret // the token of the settings
	login  *authMethod

	mu    sync.Mutex
	token string    // of the login
	until time.Time // when to log in anew
}

func newVaultAPI(cfg VaultConfig, secrets map[string]catalog.Secret) (*vaultAPI, error) {
	v := &vaultAPI{cfg: cfg, fixed: secrets["Token"]}
	if method := secrets["AuthMethod"].Reveal(); method != "" {
		v.login = &authMethod{}
		if json.Unmarshal([]byte(method), v.login) != nil || v.login.Type == "" {
			return nil, catalog.Errorf(catalog.Invalid, "CA setting AuthMethod: want an object with Type, MountPath and Params")
		}
	}
	if v.login == nil && v.fixed.Reveal() == "" {
		return nil, catalog.Errorf(catalog.Invalid, "the CA provider vault needs Token or AuthMethod")
	}
	tls, err := vaultTLS(cfg)
	if err != nil {
		return nil, err
	}
	v.client = &http.Client{Timeout: vaultTimeout, Transport: &http.Transport{TLSClientConfig: tls, Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute}}
	return v, nil
}

func vaultTLS(cfg VaultConfig) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName, InsecureSkipVerify: cfg.SkipVerify}
	files := []string{}
	if cfg.CAFile != "" {
		files = append(files, cfg.CAFile)
	} else if cfg.CAPath != "" {
		files, _ = filepath.Glob(filepath.Join(cfg.CAPath, "*"))
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "CA certificate of Vault: %w", err)
		}
		if out.RootCAs == nil {
			out.RootCAs = x509.NewCertPool()
		}
		if !out.RootCAs.AppendCertsFromPEM(text) {
			return nil, catalog.Errorf(catalog.Invalid, "CA certificate of Vault: %s holds no certificate in PEM", f)
		}
	}
	if cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "client certificate for Vault: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// vaultError is an answer of Vault that is none.
type vaultError struct {
	status int
	text   string
}

func (e *vaultError) Error() string { return fmt.Sprintf("vault: %d %s", e.status, e.text) }

func isStatus(err error, status int) bool {
	var e *vaultError
	return errors.As(err, &e) && e.status == status
}

// call makes a request and decodes the data of the answer. A token that no longer holds is replaced once,
// where it comes from a login.
func (v *vaultAPI) call(ctx context.Context, method, namespace, path string, body, data any) error {
	token, err := v.authorize(ctx, false)
	if err != nil {
		return err
	}
	err = v.send(ctx, method, namespace, token, path, body, data)
	if v.login != nil && isStatus(err, http.StatusForbidden) {
		if token, err = v.authorize(ctx, true); err == nil {
			err = v.send(ctx, method, namespace, token, path, body, data)
		}
	}
	return err
}

// authorize returns a token, logging in where that is how to get one.
func (v *vaultAPI) authorize(ctx context.Context, anew bool) (string, error) {
	if v.login == nil {
		return v.fixed.Reveal(), nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.token != "" && !anew && time.Now().Before(v.until) {
		return v.token, nil
	}
	var answer struct {
		ClientToken   string `json:"client_token"`
		LeaseDuration int64  `json:"lease_duration"`
	}
	path := "auth/" + strings.Trim(cmp.Or(v.login.MountPath, v.login.Type), "/") + "/login"
	if err := v.do(ctx, http.MethodPost, v.cfg.Namespace, "", path, v.login.Params, "auth", &answer); err != nil {
		return "", fmt.Errorf("login by %s: %w", v.login.Type, err)
	}
	v.token, v.until = answer.ClientToken, time.Now().Add(time.Duration(answer.LeaseDuration)*time.Second/2)
	if answer.LeaseDuration == 0 {
		v.until = time.Now().Add(time.Hour)
	}
	return v.token, nil
}

func (v *vaultAPI) send(ctx context.Context, method, namespace, token, path string, body, data any) error {
	return v.do(ctx, method, cmp.Or(namespace, v.cfg.Namespace), token, path, body, "data", data)
}

func (v *vaultAPI) do(ctx context.Context, method, namespace, token, path string, body any, part string, into any) error {
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(v.cfg.Address, "/")+"/v1/"+path, sent)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Request", "true")
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if namespace != "" {
		req.Header.Set("X-Vault-Namespace", namespace)
	}
	answer, err := v.client.Do(req)
	if err != nil {
		return catalog.Errorf(catalog.Unavailable, "vault: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, vaultAnswer))
	if err != nil {
		return catalog.Errorf(catalog.Unavailable, "vault: %w", err)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		var told struct{ Errors []string }
		json.Unmarshal(text, &told) // else the status says it
		return catalog.Errorf(catalog.Unavailable, "%w", &vaultError{answer.StatusCode, strings.Join(told.Errors, "; ")})
	}
	if into == nil || len(text) == 0 {
		return nil
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return catalog.Errorf(catalog.Unavailable, "vault: %s answered no JSON: %w", path, err)
	}
	if err := json.Unmarshal(parts[part], into); err != nil {
		return catalog.Errorf(catalog.Unavailable, "vault: answer to %s: %w", path, err)
	}
	return nil
}

// encodeSecret is the text of a secret setting: objects as JSON.
func encodeSecret(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case map[string]any:
		if len(v) == 0 {
			return "", nil
		}
		text, err := json.Marshal(v)
		return string(text), err
	}
	return "", fmt.Errorf("want text or an object, got %T", v)
}
