package catalog

// RequestLimit bounds the requests that each client address may make of the servers, by family of
// endpoints.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/control-plane-request-limit
type RequestLimit struct {
	EntryHead
	Mode            string         // "permissive" (only logged), "enforcing" or "disabled"
	ReadRate        float64        // requests per second for all families together
	WriteRate       float64        // as ReadRate
	ACL             *ReadWriteRate `json:",omitempty"`
	Catalog         *ReadWriteRate `json:",omitempty"`
	ConfigEntry     *ReadWriteRate `json:",omitempty"`
	ConnectCA       *ReadWriteRate `json:",omitempty"`
	Coordinate      *ReadWriteRate `json:",omitempty"`
	DiscoveryChain  *ReadWriteRate `json:",omitempty"`
	ServerDiscovery *ReadWriteRate `json:",omitempty"`
	Health          *ReadWriteRate `json:",omitempty"`
	Intention       *ReadWriteRate `json:",omitempty"`
	KV              *ReadWriteRate `json:",omitempty"`
	Tenancy         *ReadWriteRate `json:",omitempty"`
	PreparedQuery   *ReadWriteRate `json:",omitempty"`
	Session         *ReadWriteRate `json:",omitempty"`
	Txn             *ReadWriteRate `json:",omitempty"`
	AutoConfig      *ReadWriteRate `json:",omitempty"`
	FederationState *ReadWriteRate `json:",omitempty"`
	Internal        *ReadWriteRate `json:",omitempty"`
	PeerStream      *ReadWriteRate `json:",omitempty"`
	Peering         *ReadWriteRate `json:",omitempty"`
	DataPlane       *ReadWriteRate `json:",omitempty"`
	DNS             *ReadWriteRate `json:",omitempty"`
	Subscribe       *ReadWriteRate `json:",omitempty"`
	Resource        *ReadWriteRate `json:",omitempty"`
}

// ReadWriteRate are requests per second.
type ReadWriteRate struct {
	ReadRate  float64
	WriteRate float64
}

// Normalize implements ConfigEntry.
func (e *RequestLimit) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *RequestLimit) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *RequestLimit) Clone() ConfigEntry { return clone(e) }
