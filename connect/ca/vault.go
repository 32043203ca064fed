package ca

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// vault lets two PKI engines of Vault do the work: one holds the root, the other an intermediate by which
// leaves are signed. Both keys stay there. What Vault signs is checked here: a certificate that it made of
// its own mind is not handed out.
type vault struct {
	p       Params
	api     *vaultAPI
	root    string
	secrets map[string]catalog.Secret

	mu      sync.Mutex
	between *x509.Certificate // the intermediate; nil until it was looked up
}

// leafRole is the role of the intermediate engine by which leaves are signed.
const leafRole = "leaf-cert"

func openVault(ctx context.Context, p Params) (Provider, error) {
	api, err := newVaultAPI(p.Config.Vault, p.Secrets)
	if err != nil {
		return nil, err
	}
	v := &vault{p: p, api: api, root: p.Root, secrets: p.Secrets}
	if v.root == "" {
		if v.root, err = v.makeRoot(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := checkRoot(v.root, p.TrustDomain); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *vault) onRoot(ctx context.Context, method, path string, body, data any) error {
	c := v.p.Config.Vault
	return v.api.call(ctx, method, c.RootNamespace, strings.Trim(c.RootPath, "/")+"/"+path, body, data)
}

func (v *vault) onBetween(ctx context.Context, method, path string, body, data any) error {
	c := v.p.Config.Vault
	return v.api.call(ctx, method, c.IntermediateNamespace, strings.Trim(c.IntermediatePath, "/")+"/"+path, body, data)
}

// makeRoot returns the root engine's certificate, and makes engine and certificate where they are not.
func (v *vault) makeRoot(ctx context.Context) (string, error) {
	c := v.p.Config.Vault
	if err := v.mount(ctx, c.RootNamespace, c.RootPath, v.p.Config.RootTTL); err != nil {
		return "", err
	}
	var present struct{ Certificate string }
	err := v.onRoot(ctx, http.MethodGet, "cert/ca", nil, &present)
	if err != nil && !isStatus(err, http.StatusNotFound) && !isStatus(err, http.StatusBadRequest) && !isStatus(err, http.StatusInternalServerError) {
		return "", err
	}
	if err == nil && present.Certificate != "" {
		return normalPEM(present.Certificate), nil
	}
	body := v.keyBody("Curia mesh CA root", v.p.Config.RootTTL)
	if err := v.onRoot(ctx, http.MethodPost, "root/generate/internal", body, &present); err != nil {
		return "", fmt.Errorf("making a root: %w", err)
	}
	return normalPEM(present.Certificate), nil
}

func (v *vault) keyBody(name string, ttl time.Duration) map[string]any {
	id := connect.ID{Kind: connect.KindTrustDomain, TrustDomain: v.p.TrustDomain}
	return map[string]any{
		"common_name": name, "uri_sans": id.String(), "ttl": seconds(ttl), "key_type": v.p.Config.Key.Type, "key_bits": v.p.Config.Key.Bits,
		"exclude_cn_from_sans": true,
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }

// mount makes a PKI engine at a path unless there is one.
func (v *vault) mount(ctx context.Context, namespace, path string, ttl time.Duration) error {
	path = strings.Trim(path, "/")
	err := v.api.call(ctx, http.MethodPost, namespace, "sys/mounts/"+path, map[string]any{
		"type": "pki", "description": "certificates of the mesh " + v.p.TrustDomain, "config": map[string]any{"max_lease_ttl": seconds(ttl)},
	}, nil)
	if isStatus(err, http.StatusBadRequest) { // it is in use, or what is wrong shows at its first use
		return nil
	}
	if isStatus(err, http.StatusForbidden) { // an operator may have made it, and allows no more than its use
		return nil
	}
	return err
}

// normalPEM ends a certificate as PEM does.
func normalPEM(text string) string { return strings.TrimSpace(text) + "\n" }

// Root implements Provider.
func (v *vault) Root() string { return v.root }

// Secrets implements Provider.
func (v *vault) Secrets() map[string]catalog.Secret { return v.secrets }

// intermediate returns the certificate that signs leaves, and makes it where there is none of this root.
func (v *vault) intermediate(ctx context.Context, anew bool) (*x509.Certificate, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.between != nil && !anew {
		return v.between, nil
	}
	root, err := connect.ParseCertificate(v.root)
	if err != nil {
		return nil, err
	}
	c := v.p.Config.Vault
	if err := v.mount(ctx, c.IntermediateNamespace, c.IntermediatePath, v.p.Config.IntermediateTTL); err != nil {
		return nil, err
	}
	if !anew {
		var present struct{ Certificate string }
		if v.onBetween(ctx, http.MethodGet, "cert/ca", nil, &present) == nil {
			cert, err := connect.ParseCertificate(present.Certificate)
			if err == nil && cert.CheckSignatureFrom(root) == nil && time.Now().Before(halfLife(cert)) {
				if err := v.makeRole(ctx); err != nil {
					return nil, err
				}
				v.between = cert
				return cert, nil
			}
		}
	}
	cert, err := v.makeIntermediate(ctx)
	if err != nil {
		return nil, fmt.Errorf("making an intermediate: %w", err)
	}
	if err := cert.CheckSignatureFrom(root); err != nil {
		return nil, catalog.Errorf(catalog.Unavailable, "vault: the root engine has another root than before: %w", err)
	}
	v.between = cert
	return cert, nil
}

func (v *vault) makeIntermediate(ctx context.Context) (*x509.Certificate, error) {
	var asked struct{ CSR string }
	body := v.keyBody("Curia mesh CA intermediate", v.p.Config.IntermediateTTL)
	if err := v.onBetween(ctx, http.MethodPost, "intermediate/generate/internal", body, &asked); err != nil {
		return nil, err
	}
	var signed struct{ Certificate string }
	err := v.onRoot(ctx, http.MethodPost, "root/sign-intermediate", map[string]any{
		"csr": asked.CSR, "use_csr_values": true, "format": "pem", "ttl": seconds(v.p.Config.IntermediateTTL), "max_path_length": 0,
	}, &signed)
	if err != nil {
		return nil, err
	}
	if err := v.onBetween(ctx, http.MethodPost, "intermediate/set-signed", map[string]any{"certificate": signed.Certificate}, nil); err != nil {
		return nil, err
	}
	if err := v.makeRole(ctx); err != nil {
		return nil, err
	}
	return connect.ParseCertificate(normalPEM(signed.Certificate))
}

// makeRole says what the intermediate engine signs, under the present settings.
func (v *vault) makeRole(ctx context.Context) error {
	return v.onBetween(ctx, http.MethodPost, "roles/"+leafRole, map[string]any{
		"allow_any_name": true, "allowed_uri_sans": "spiffe://" + v.p.TrustDomain + "/*", "key_type": "any", "require_cn": false,
		"no_store": true, "max_ttl": seconds(v.p.Config.LeafTTL), "client_flag": true, "server_flag": true, "not_before_duration": seconds(skew),
	}, nil)
}

func halfLife(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 2)
}

// SignLeaf implements Provider.
func (v *vault) SignLeaf(ctx context.Context, csr *x509.CertificateRequest, id connect.ID) (string, error) {
	between, err := v.intermediate(ctx, false)
	if err != nil {
		return "", err
	}
	ttl := min(v.p.Config.LeafTTL, time.Until(between.NotAfter))
	var signed struct{ Certificate string }
	err = v.onBetween(ctx, http.MethodPost, "sign/"+leafRole, map[string]any{"csr": encodeCSR(csr), "ttl": seconds(ttl), "exclude_cn_from_sans": true}, &signed)
	if err != nil {
		return "", err
	}
	leaf, err := connect.ParseCertificate(normalPEM(signed.Certificate))
	if err != nil {
		return "", err
	}
	got, err := connect.IDOf(leaf)
	switch {
	case err != nil || got != id || leaf.IsCA || !connect.SameKey(leaf.PublicKey, csr.PublicKey):
		return "", catalog.Errorf(catalog.Unavailable, "vault: it signed another certificate than it was asked for: wanted %s", id)
	case leaf.CheckSignatureFrom(between) != nil:
		v.forget(between)
		return "", catalog.Errorf(catalog.Unavailable, "vault: the intermediate engine has another certificate than before: it is looked up anew")
	}
	return normalPEM(signed.Certificate) + connect.EncodeCertificate(between.Raw), nil
}

func (v *vault) forget(between *x509.Certificate) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.between == between {
		v.between = nil
	}
}

func encodeCSR(csr *x509.CertificateRequest) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr.Raw}))
}

// Signer implements Provider.
func (v *vault) Signer() *x509.Certificate {
	if !v.mu.TryLock() {
		return nil // it is being looked up, or made
	}
	defer v.mu.Unlock()
	return v.between
}

// SignIntermediate implements Provider.
func (v *vault) SignIntermediate(ctx context.Context, csr *x509.CertificateRequest) (string, error) {
	var signed struct{ Certificate string }
	err := v.onRoot(ctx, http.MethodPost, "root/sign-intermediate", map[string]any{
		"csr": encodeCSR(csr), "use_csr_values": true, "format": "pem", "ttl": seconds(v.p.Config.IntermediateTTL), "max_path_length": 0,
	}, &signed)
	return normalPEM(signed.Certificate), err
}

// CrossSign implements Provider.
func (v *vault) CrossSign(ctx context.Context, root *x509.Certificate) (string, error) {
	var signed struct{ Certificate string }
	err := v.onRoot(ctx, http.MethodPost, "root/sign-self-issued", map[string]any{"certificate": connect.EncodeCertificate(root.Raw)}, &signed)
	if isStatus(err, http.StatusForbidden) {
		return "", catalog.Errorf(catalog.Conflict, "vault does not let this token cross-sign: allow root/sign-self-issued (sudo), or set ForceWithoutCrossSigning: %w", err)
	}
	return normalPEM(signed.Certificate), err
}

// Maintain implements Provider: the intermediate is made anew after half of its life.
func (v *vault) Maintain(ctx context.Context) error {
	between, err := v.intermediate(ctx, false)
	if err == nil && time.Now().After(halfLife(between)) {
		_, err = v.intermediate(ctx, true)
	}
	return err
}

// Cleanup implements Provider: the intermediate engine goes, unless next uses it. The root engine stays,
// as its root is trusted for a while yet, and others may use it.
func (v *vault) Cleanup(ctx context.Context, next Provider) error {
	c := v.p.Config.Vault
	if n, ok := next.(*vault); ok && n.p.Config.Vault.Address == c.Address && n.p.Config.Vault.IntermediatePath == c.IntermediatePath {
		return nil
	}
	return v.api.call(ctx, http.MethodDelete, c.IntermediateNamespace, "sys/mounts/"+strings.Trim(c.IntermediatePath, "/"), nil, nil)
}
