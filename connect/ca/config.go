package ca

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// Bounds and defaults of what is signed.
// Source: https://developer.hashicorp.com/consul/docs/secure-mesh/certificate/built-in
const (
	MinLeafTTL     = time.Hour
	MaxLeafTTL     = 8760 * time.Hour
	defaultPerSec  = 50
	defaultLeaf    = "72h"
	defaultRoot    = "87600h"
	defaultBetween = "8760h"
)

// Config is the settings of a provider, read.
type Config struct {
	LeafTTL         time.Duration
	IntermediateTTL time.Duration
	RootTTL         time.Duration
	Key             connect.KeySpec
	// CSRMaxPerSecond bounds the rate of requests, unless CSRMaxConcurrent bounds how many are signed at
	// once. 0 is no bound.
	CSRMaxPerSecond  float64
	CSRMaxConcurrent int
	// RootCert is a root that the operator brings, in PEM.
	RootCert string
	Vault    VaultConfig
	State    map[string]string
}

// setting is one key of a provider's settings.
type setting struct {
	name   string // as the API spells it; files write leaf_cert_ttl for LeafCertTTL
	secret bool
	only   string // the one provider that has it; empty for all
	put    func(c *Config, v any) error
}

func settings() []setting {
	return []setting{
		{name: "LeafCertTTL", put: span(func(c *Config) *time.Duration { return &c.LeafTTL })},
		{name: "IntermediateCertTTL", put: span(func(c *Config) *time.Duration { return &c.IntermediateTTL })},
		{name: "RootCertTTL", put: span(func(c *Config) *time.Duration { return &c.RootTTL })},
		{name: "PrivateKeyType", put: text(func(c *Config) *string { return &c.Key.Type })},
		{name: "PrivateKeyBits", put: number(func(c *Config, n float64) { c.Key.Bits = int(n) })},
		{name: "CSRMaxPerSecond", put: number(func(c *Config, n float64) { c.CSRMaxPerSecond = n })},
		{name: "CSRMaxConcurrent", put: number(func(c *Config, n float64) { c.CSRMaxConcurrent = int(n) })},
		{name: "SkipValidate", put: ignored},
		{name: "RotationPeriod", put: ignored}, // of old clients
		{name: "test_state", put: func(c *Config, v any) (err error) { c.State, err = texts(v); return err }},
		{name: "PrivateKey", secret: true, only: BuiltIn},
		{name: "RootCert", only: BuiltIn, put: text(func(c *Config) *string { return &c.RootCert })},
		{name: "Token", secret: true, only: Vault},
		{name: "AuthMethod", only: Vault, secret: true},
		{name: "Address", only: Vault, put: text(func(c *Config) *string { return &c.Vault.Address })},
		{name: "RootPKIPath", only: Vault, put: text(func(c *Config) *string { return &c.Vault.RootPath })},
		{name: "RootPKINamespace", only: Vault, put: text(func(c *Config) *string { return &c.Vault.RootNamespace })},
		{name: "IntermediatePKIPath", only: Vault, put: text(func(c *Config) *string { return &c.Vault.IntermediatePath })},
		{name: "IntermediatePKINamespace", only: Vault, put: text(func(c *Config) *string { return &c.Vault.IntermediateNamespace })},
		{name: "Namespace", only: Vault, put: text(func(c *Config) *string { return &c.Vault.Namespace })},
		{name: "CAFile", only: Vault, put: text(func(c *Config) *string { return &c.Vault.CAFile })},
		{name: "CAPath", only: Vault, put: text(func(c *Config) *string { return &c.Vault.CAPath })},
		{name: "CertFile", only: Vault, put: text(func(c *Config) *string { return &c.Vault.CertFile })},
		{name: "KeyFile", only: Vault, put: text(func(c *Config) *string { return &c.Vault.KeyFile })},
		{name: "TLSServerName", only: Vault, put: text(func(c *Config) *string { return &c.Vault.ServerName })},
		{name: "TLSSkipVerify", only: Vault, put: func(c *Config, v any) (err error) { c.Vault.SkipVerify, err = boolean(v); return err }},
	}
}

// plain is a setting's name without what files and the API spell differently.
func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// Defaults are the settings of a provider for which the operator says nothing.
func Defaults() map[string]any {
	return map[string]any{"LeafCertTTL": defaultLeaf, "IntermediateCertTTL": defaultBetween, "RootCertTTL": defaultRoot}
}

// Split gives settings the names that the API has for them, and takes the secrets out. A secret that is
// empty is none. Unknown settings, and those of other providers, are refused.
func Split(provider string, raw map[string]any) (open map[string]any, secrets map[string]catalog.Secret, err error) {
	if provider != BuiltIn && provider != Vault {
		return nil, nil, unknownProvider(provider)
	}
	known := map[string]setting{}
	for _, s := range settings() {
		if s.only == "" || s.only == provider {
			known[plain(s.name)] = s
		}
	}
	open, secrets = map[string]any{}, map[string]catalog.Secret{}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		s, ok := known[plain(name)]
		if !ok {
			return nil, nil, catalog.Errorf(catalog.Invalid, "CA provider %q has no setting %q", provider, name)
		}
		if !s.secret {
			open[s.name] = raw[name]
			continue
		}
		secret, err := encodeSecret(raw[name])
		if err != nil {
			return nil, nil, catalog.Errorf(catalog.Invalid, "CA setting %s: %w", s.name, err)
		}
		if secret != "" {
			secrets[s.name] = catalog.NewSecret(secret)
		}
	}
	return open, secrets, nil
}

// Parse reads settings that Split has gone through.
func Parse(provider string, open map[string]any) (*Config, error) {
	c := &Config{Key: connect.DefaultKey, CSRMaxPerSecond: defaultPerSec}
	list := settings()
	merged := Defaults()
	maps.Copy(merged, open)
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		at := slices.IndexFunc(list, func(s setting) bool { return s.name == name && s.put != nil })
		if at < 0 {
			return nil, catalog.Errorf(catalog.Invalid, "CA provider %q has no setting %q", provider, name)
		}
		if err := list[at].put(c, merged[name]); err != nil {
			return nil, catalog.Errorf(catalog.Invalid, "CA setting %s: %w", name, err)
		}
	}
	return c, c.validate(provider)
}

func (c *Config) validate(provider string) error {
	refuse := func(format string, args ...any) error {
		return catalog.Errorf(catalog.Invalid, "CA settings: "+format, args...)
	}
	switch {
	case c.LeafTTL < MinLeafTTL || c.LeafTTL > MaxLeafTTL:
		return refuse("LeafCertTTL %v is not between %v and %v", c.LeafTTL, MinLeafTTL, MaxLeafTTL)
	case c.IntermediateTTL < c.LeafTTL:
		return refuse("IntermediateCertTTL %v is shorter than LeafCertTTL %v", c.IntermediateTTL, c.LeafTTL)
	case c.RootTTL < c.IntermediateTTL:
		return refuse("RootCertTTL %v is shorter than IntermediateCertTTL %v", c.RootTTL, c.IntermediateTTL)
	case c.CSRMaxPerSecond < 0 || math.IsNaN(c.CSRMaxPerSecond) || math.IsInf(c.CSRMaxPerSecond, 0):
		return refuse("CSRMaxPerSecond %v is below zero", c.CSRMaxPerSecond)
	case c.CSRMaxConcurrent < 0:
		return refuse("CSRMaxConcurrent %v is below zero", c.CSRMaxConcurrent)
	}
	if err := c.Key.Validate(); err != nil {
		return err
	}
	if provider == Vault {
		return c.Vault.validate()
	}
	return nil
}

func ignored(*Config, any) error { return nil }

func text(field func(*Config) *string) func(*Config, any) error {
	return func(c *Config, v any) error {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("want text, got %T", v)
		}
		*field(c) = s
		return nil
	}
}

func boolean(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		return strconv.ParseBool(v)
	}
	return false, fmt.Errorf("want true or false, got %T", v)
}

// toNumber reads a number as JSON, HCL, msgpack or text bring it.
func toNumber(v any) (float64, error) {
	switch v := v.(type) {
	case float64:
		return v, nil
	case float32:
		return float64(v), nil
	case int:
		return float64(v), nil
	case int64:
		return float64(v), nil
	case uint64:
		return float64(v), nil
	case string:
		return strconv.ParseFloat(v, 64)
	}
	return 0, fmt.Errorf("want a number, got %T", v)
}

func number(put func(*Config, float64)) func(*Config, any) error {
	return func(c *Config, v any) error {
		n, err := toNumber(v)
		if err != nil {
			return err
		}
		if math.Abs(n) > math.MaxInt32 || math.IsNaN(n) {
			return fmt.Errorf("%v is out of range", n)
		}
		put(c, n)
		return nil
	}
}

// span reads a time span: text with a unit, or a number of nanoseconds.
func span(field func(*Config) *time.Duration) func(*Config, any) error {
	return func(c *Config, v any) error {
		if s, ok := v.(string); ok {
			d, err := time.ParseDuration(s)
			if err != nil {
				return fmt.Errorf("%q is no duration: want a number with a unit, such as 72h", s)
			}
			*field(c) = d
			return nil
		}
		n, err := toNumber(v)
		if err != nil {
			return err
		}
		if math.IsNaN(n) || math.Abs(n) >= math.MaxInt64 {
			return fmt.Errorf("%v is no number of nanoseconds", n)
		}
		*field(c) = time.Duration(n)
		return nil
	}
}

func texts(v any) (map[string]string, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("want an object, got %T", v)
	}
	out := map[string]string{}
	for k, e := range m {
		s, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("%s: want text, got %T", k, e)
		}
		out[k] = s
	}
	return out, nil
}
