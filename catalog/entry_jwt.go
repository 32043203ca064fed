package catalog

import "time"

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
func (e *JWTProvider) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *JWTProvider) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *JWTProvider) Clone() ConfigEntry { return clone(e) }
