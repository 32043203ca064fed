package catalog

// ServiceSplitter spreads requests for a service over others by weight.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-splitter
type ServiceSplitter struct {
	EntryHead
	Splits []ServiceSplit `json:",omitempty"`
}

// ServiceSplit is one share.
type ServiceSplit struct {
	Weight          float32          // percent, to 0.01; all together make 100
	Service         string           `json:",omitempty"` // "" is the splitter's own
	ServiceSubset   string           `json:",omitempty"`
	RequestHeaders  *HeaderModifiers `json:",omitempty"`
	ResponseHeaders *HeaderModifiers `json:",omitempty"`
}

// Normalize implements ConfigEntry.
func (e *ServiceSplitter) Normalize() { e.Hash = EntryHash(e) }

// Validate implements ConfigEntry.
func (e *ServiceSplitter) Validate() error { return e.named() }

// Clone implements ConfigEntry.
func (e *ServiceSplitter) Clone() ConfigEntry { return clone(e) }
