package catalog

import (
	"iter"
	"reflect"
)

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
func (e *RequestLimit) Normalize() {
	if e.Mode == "" {
		e.Mode = "permissive"
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *RequestLimit) Validate() error {
	c := e.check()
	c.oneOf("Mode", e.Mode, "permissive", "enforcing", "disabled")
	atLeast0(c, "ReadRate", e.ReadRate)
	atLeast0(c, "WriteRate", e.WriteRate)
	for name, r := range e.Families() {
		atLeast0(c, name+".ReadRate", r.ReadRate)
		atLeast0(c, name+".WriteRate", r.WriteRate)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *RequestLimit) Clone() ConfigEntry { return clone(e) }

// Families yields the families of endpoints that have limits of their own, by name.
func (e *RequestLimit) Families() iter.Seq2[string, *ReadWriteRate] {
	return func(yield func(string, *ReadWriteRate) bool) {
		v := reflect.ValueOf(e).Elem()
		for i := range v.NumField() {
			rate, ok := v.Field(i).Interface().(*ReadWriteRate)
			if ok && rate != nil && !yield(v.Type().Field(i).Name, rate) {
				return
			}
		}
	}
}
