package catalog

// Mesh are the settings of the whole mesh.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/mesh
type Mesh struct {
	EntryHead
	TransparentProxy                 MeshTransparentProxy
	AllowEnablingPermissiveMutualTLS bool         `json:",omitempty"`
	ValidateClusters                 bool         `json:",omitempty"`
	TLS                              *MeshTLS     `json:",omitempty"`
	HTTP                             *MeshHTTP    `json:",omitempty"`
	Peering                          *MeshPeering `json:",omitempty"`
}

// MeshTransparentProxy is about captured traffic.
type MeshTransparentProxy struct {
	MeshDestinationsOnly bool // what leads out of the mesh is refused
}

// MeshTLS bounds what is spoken between proxies.
type MeshTLS struct {
	Incoming *TLSBounds `json:",omitempty"`
	Outgoing *TLSBounds `json:",omitempty"`
}

// TLSBounds are the versions and ciphers that are spoken.
type TLSBounds struct {
	TLSMinVersion string   `json:",omitempty"`
	TLSMaxVersion string   `json:",omitempty"`
	CipherSuites  []string `json:",omitempty"`
}

// MeshHTTP is about HTTP in the mesh.
type MeshHTTP struct {
	SanitizeXForwardedClientCert bool
	Incoming                     *MeshIncomingHTTP `json:",omitempty"`
}

// MeshIncomingHTTP is about requests that arrive at services.
type MeshIncomingHTTP struct {
	RequestNormalization *RequestNormalization `json:",omitempty"`
}

// RequestNormalization says how paths are written before intentions look at them.
type RequestNormalization struct {
	InsecureDisablePathNormalization bool   `json:",omitempty"`
	MergeSlashes                     bool   `json:",omitempty"`
	PathWithEscapedSlashesAction     string `json:",omitempty"`
	HeadersWithUnderscoresAction     string `json:",omitempty"`
}

// MeshPeering is about peered clusters.
type MeshPeering struct {
	PeerThroughMeshGateways bool `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *Mesh) Normalize() {
	if e.Name == MeshName {
		e.Name = ""
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *Mesh) Validate() error {
	c := e.check()
	if e.Name != "" {
		c.fail("Name", "%.64q: there is only %q", e.Name, MeshName)
	}
	if t := e.TLS; t != nil {
		c.meshTLS("TLS.Incoming", t.Incoming)
		c.meshTLS("TLS.Outgoing", t.Outgoing)
	}
	if e.HTTP != nil && e.HTTP.Incoming != nil && e.HTTP.Incoming.RequestNormalization != nil {
		n := e.HTTP.Incoming.RequestNormalization
		at := "HTTP.Incoming.RequestNormalization"
		c.oneOf(at+".PathWithEscapedSlashesAction", n.PathWithEscapedSlashesAction, "", "IMPLEMENTATION_SPECIFIC_DEFAULT", "KEEP_UNCHANGED",
			"REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")
		c.oneOf(at+".HeadersWithUnderscoresAction", n.HeadersWithUnderscoresAction, "", "ALLOW", "REJECT_REQUEST", "DROP_HEADER")
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *Mesh) Clone() ConfigEntry { return clone(e) }

func (c *checker) meshTLS(field string, b *TLSBounds) {
	if b != nil {
		c.tls(field, b.TLSMinVersion, b.TLSMaxVersion, b.CipherSuites)
	}
}
