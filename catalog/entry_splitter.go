package catalog

import (
	"cmp"
	"fmt"
	"math"
)

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
func (e *ServiceSplitter) Normalize() {
	for i := range e.Splits {
		if s := &e.Splits[i]; s.Weight >= 0 && s.Weight <= 100 {
			s.Weight = float32(float64(hundredths(s.Weight)) / 100)
		}
	}
	e.Hash = EntryHash(e)
}

// Validate implements ConfigEntry.
func (e *ServiceSplitter) Validate() error {
	c := e.check()
	if len(e.Splits) == 0 {
		c.fail("Splits", "is empty")
	}
	sum, seen := int64(0), map[[2]string]bool{}
	for i, s := range e.Splits {
		at := fmt.Sprintf("Splits[%d]", i)
		if !(s.Weight >= 0 && s.Weight <= 100) {
			c.fail(at+".Weight", "%v is not between 0 and 100", s.Weight)
		}
		sum += hundredths(s.Weight)
		c.target(at+".Service", s.Service)
		key := [2]string{cmp.Or(s.Service, e.Name), s.ServiceSubset}
		if seen[key] {
			c.fail(at, "leads where another one leads")
		}
		seen[key] = true
		c.modifiers(at+".RequestHeaders", s.RequestHeaders)
		c.modifiers(at+".ResponseHeaders", s.ResponseHeaders)
	}
	if sum != 100*100 {
		c.fail("Splits", "have weights that make %v together: want 100", float64(sum)/100)
	}
	return c.err()
}

// Clone implements ConfigEntry.
func (e *ServiceSplitter) Clone() ConfigEntry { return clone(e) }

// hundredths is a weight in the unit in which weights are told apart.
func hundredths(weight float32) int64 { return int64(math.Round(float64(weight) * 100)) }
