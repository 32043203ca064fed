package catalog

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

// JWTProvider says which tokens are believed, and where they are found.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/jwt-provider
type JWTProvider struct {
	EntryHead
	JSONWebKeySet    *JSONWebKeySet  `json:",omitempty"`
	Issuer           string          `json:",omitempty"`
	Audiences        []string        `json:",omitempty"`
	Locations        []*JWTLocation  `json:",omitempty"`
	Forwarding       *JWTForwarding  `json:",omitempty"`
	ClockSkewSeconds int             `json:",omitempty"`
	CacheConfig      *JWTCacheConfig `json:",omitempty"`
}

// JSONWebKeySet is where the keys are (RFC 7517): exactly one place.
type JSONWebKeySet struct {
	Local  *LocalJWKS  `json:",omitempty"`
	Remote *RemoteJWKS `json:",omitempty"`
}

// LocalJWKS are keys that are written down: exactly one field is set.
type LocalJWKS struct {
	JWKS     string `json:",omitempty"` // base64
	Filename string `json:",omitempty"` // on the disk of each proxy
}

// RemoteJWKS are keys that a server gives out.
type RemoteJWKS struct {
	URI                 string           `json:",omitempty"`
	RequestTimeoutMs    int              `json:",omitempty"`
	CacheDuration       time.Duration    `json:",omitempty"`
	FetchAsynchronously bool             `json:",omitempty"`
	UseSNI              bool             `json:",omitempty"`
	RetryPolicy         *JWKSRetryPolicy `json:",omitempty"`
	JWKSCluster         *JWKSCluster     `json:",omitempty"`
}

// JWKSRetryPolicy says how often keys are asked for again.
type JWKSRetryPolicy struct {
	NumRetries         int           `json:",omitempty"`
	RetryPolicyBackOff *RetryBackOff `json:",omitempty"`
}

// RetryBackOff is how long is waited in between.
type RetryBackOff struct {
	BaseInterval time.Duration `json:",omitempty"`
	MaxInterval  time.Duration `json:",omitempty"`
}

// JWKSCluster says how the server of keys is reached.
type JWKSCluster struct {
	DiscoveryType   string               `json:",omitempty"`
	TLSCertificates *JWKSTLSCertificates `json:",omitempty"`
	ConnectTimeout  time.Duration        `json:",omitempty"`
}

// JWKSTLSCertificates are the authorities that the server of keys is checked against: exactly one field
// is set.
type JWKSTLSCertificates struct {
	CaCertificateProviderInstance *JWKSCertificateInstance `json:",omitempty"`
	TrustedCA                     *JWKSTrustedCA           `json:",omitempty"`
}

// JWKSCertificateInstance names certificates that the proxy knows.
type JWKSCertificateInstance struct {
	InstanceName    string `json:",omitempty"`
	CertificateName string `json:",omitempty"`
}

// JWKSTrustedCA are certificates: exactly one field is set.
type JWKSTrustedCA struct {
	Filename            string `json:",omitempty"`
	EnvironmentVariable string `json:",omitempty"`
	InlineString        string `json:",omitempty"`
	InlineBytes         []byte `json:",omitempty"`
}

// JWTLocation is where in a request a token is: exactly one field is set.
type JWTLocation struct {
	Header     *JWTLocationHeader     `json:",omitempty"`
	QueryParam *JWTLocationQueryParam `json:",omitempty"`
	Cookie     *JWTLocationCookie     `json:",omitempty"`
}

// JWTLocationHeader is a header that holds a token.
type JWTLocationHeader struct {
	Name        string `json:",omitempty"`
	ValuePrefix string `json:",omitempty"`
	Forward     bool   `json:",omitempty"`
}

// JWTLocationQueryParam is a query parameter that holds a token.
type JWTLocationQueryParam struct {
	Name string `json:",omitempty"`
}

// JWTLocationCookie is a cookie that holds a token.
type JWTLocationCookie struct {
	Name string `json:",omitempty"`
}

// JWTForwarding is how the payload of a token is passed on.
type JWTForwarding struct {
	HeaderName              string `json:",omitempty"`
	PadForwardPayloadHeader bool   `json:",omitempty"`
}

// JWTCacheConfig bounds how many tokens are remembered.
type JWTCacheConfig struct {
	Size int `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *JWTProvider) Normalize() {
	if e.ClockSkewSeconds == 0 {
		e.ClockSkewSeconds = defaultClockSkew
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *JWTProvider) Validate() error {
	c := e.check()
	e.JSONWebKeySet.validate(c)
	for i, l := range e.Locations {
		l.validate(c, fmt.Sprintf("Locations[%d]", i))
	}
	if e.Forwarding != nil {
		c.header("Forwarding.HeaderName", e.Forwarding.HeaderName)
	}
	atLeast0(c, "ClockSkewSeconds", e.ClockSkewSeconds)
	if e.CacheConfig != nil {
		atLeast0(c, "CacheConfig.Size", e.CacheConfig.Size)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *JWTProvider) Clone() ConfigEntry { return clone(e) }

// defaultClockSkew is in seconds.
const defaultClockSkew = 30

func (s *JSONWebKeySet) validate(c *checker) {
	if s == nil || count(s.Local != nil, s.Remote != nil) != 1 {
		c.fail("JSONWebKeySet", "must have exactly one of Local and Remote")
		return
	}
	if l := s.Local; l != nil {
		keys, err := base64.StdEncoding.DecodeString(l.JWKS)
		switch {
		case count(l.JWKS != "", l.Filename != "") != 1:
			c.fail("JSONWebKeySet.Local", "must have exactly one of JWKS and Filename")
		case err != nil:
			c.fail("JSONWebKeySet.Local.JWKS", "is not in base64: %v", err)
		case l.JWKS != "" && json.Unmarshal(keys, &map[string]any{}) != nil:
			c.fail("JSONWebKeySet.Local.JWKS", "is no set of keys: want an object in JSON, in base64")
		}
		return
	}
	s.Remote.validate(c, "JSONWebKeySet.Remote")
}

func (r *RemoteJWKS) validate(c *checker, at string) {
	u, err := url.Parse(r.URI)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.fail(at+".URI", "%.128q is no URL of http or https", r.URI)
	}
	atLeast0(c, at+".RequestTimeoutMs", r.RequestTimeoutMs)
	atLeast0(c, at+".CacheDuration", r.CacheDuration)
	if p := r.RetryPolicy; p != nil {
		atLeast0(c, at+".RetryPolicy.NumRetries", p.NumRetries)
		if b := p.RetryPolicyBackOff; b != nil {
			atLeast0(c, at+".RetryPolicy.RetryPolicyBackOff.BaseInterval", b.BaseInterval)
			if b.MaxInterval != 0 && b.MaxInterval < b.BaseInterval {
				c.fail(at+".RetryPolicy.RetryPolicyBackOff.MaxInterval", "%v is below BaseInterval %v", b.MaxInterval, b.BaseInterval)
			}
		}
	}
	if k := r.JWKSCluster; k != nil {
		k.validate(c, at+".JWKSCluster")
	}
}

func (k *JWKSCluster) validate(c *checker, at string) {
	c.oneOf(at+".DiscoveryType", k.DiscoveryType, "", "STRICT_DNS", "STATIC", "LOGICAL_DNS", "EDS", "ORIGINAL_DST")
	atLeast0(c, at+".ConnectTimeout", k.ConnectTimeout)
	t := k.TLSCertificates
	if t == nil {
		return
	}
	if count(t.CaCertificateProviderInstance != nil, t.TrustedCA != nil) != 1 {
		c.fail(at+".TLSCertificates", "must have exactly one of CaCertificateProviderInstance and TrustedCA")
	}
	if a := t.TrustedCA; a != nil && count(a.Filename != "", a.EnvironmentVariable != "", a.InlineString != "", len(a.InlineBytes) > 0) != 1 {
		c.fail(at+".TLSCertificates.TrustedCA", "must have exactly one of Filename, EnvironmentVariable, InlineString and InlineBytes")
	}
}

func (l *JWTLocation) validate(c *checker, at string) {
	if l == nil || count(l.Header != nil, l.QueryParam != nil, l.Cookie != nil) != 1 {
		c.fail(at, "must have exactly one of Header, QueryParam and Cookie")
		return
	}
	switch {
	case l.Header != nil:
		c.header(at+".Header.Name", l.Header.Name)
	case l.QueryParam != nil && l.QueryParam.Name == "":
		c.fail(at+".QueryParam.Name", "is missing")
	case l.Cookie != nil && !isToken(l.Cookie.Name):
		c.fail(at+".Cookie.Name", "%.64q is no name of a cookie", l.Cookie.Name)
	}
}
