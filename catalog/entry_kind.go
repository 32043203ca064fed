package catalog

import (
	"encoding/json"
	"fmt"
)

// AnyEntry is a config entry of whatever kind, for the log, the wire and snapshots: at most one field is
// set. Its JSON is that of the entry, as clients know it.
type AnyEntry struct {
	ServiceDefaults       *ServiceDefaults       `json:",omitempty"`
	ProxyDefaults         *ProxyDefaults         `json:",omitempty"`
	ServiceRouter         *ServiceRouter         `json:",omitempty"`
	ServiceSplitter       *ServiceSplitter       `json:",omitempty"`
	ServiceResolver       *ServiceResolver       `json:",omitempty"`
	ServiceIntentions     *ServiceIntentions     `json:",omitempty"`
	JWTProvider           *JWTProvider           `json:",omitempty"`
	Mesh                  *Mesh                  `json:",omitempty"`
	ExportedServices      *ExportedServices      `json:",omitempty"`
	TerminatingGateway    *TerminatingGateway    `json:",omitempty"`
	IngressGateway        *IngressGateway        `json:",omitempty"`
	APIGateway            *APIGateway            `json:",omitempty"`
	BoundAPIGateway       *BoundAPIGateway       `json:",omitempty"`
	HTTPRoute             *HTTPRoute             `json:",omitempty"`
	TCPRoute              *TCPRoute              `json:",omitempty"`
	InlineCertificate     *InlineCertificate     `json:",omitempty"`
	FileSystemCertificate *FileSystemCertificate `json:",omitempty"`
	SamenessGroup         *SamenessGroup         `json:",omitempty"`
	RequestLimit          *RequestLimit          `json:",omitempty"`
	KVReplication         *KVReplication         `json:",omitempty"`
}

// entryType is what is known of a kind.
type entryType struct {
	kind  EntryKind
	blank func() ConfigEntry
	get   func(*AnyEntry) ConfigEntry // nil when the field is
	set   func(*AnyEntry, ConfigEntry) bool
}

// entryTypes is the one registry of kinds.
var entryTypes = []entryType{
	entryOf(EntryServiceDefaults, func(a *AnyEntry) **ServiceDefaults { return &a.ServiceDefaults }),
	entryOf(EntryProxyDefaults, func(a *AnyEntry) **ProxyDefaults { return &a.ProxyDefaults }),
	entryOf(EntryServiceRouter, func(a *AnyEntry) **ServiceRouter { return &a.ServiceRouter }),
	entryOf(EntryServiceSplitter, func(a *AnyEntry) **ServiceSplitter { return &a.ServiceSplitter }),
	entryOf(EntryServiceResolver, func(a *AnyEntry) **ServiceResolver { return &a.ServiceResolver }),
	entryOf(EntryServiceIntentions, func(a *AnyEntry) **ServiceIntentions { return &a.ServiceIntentions }),
	entryOf(EntryJWTProvider, func(a *AnyEntry) **JWTProvider { return &a.JWTProvider }),
	entryOf(EntryMesh, func(a *AnyEntry) **Mesh { return &a.Mesh }),
	entryOf(EntryExportedServices, func(a *AnyEntry) **ExportedServices { return &a.ExportedServices }),
	entryOf(EntryTerminatingGateway, func(a *AnyEntry) **TerminatingGateway { return &a.TerminatingGateway }),
	entryOf(EntryIngressGateway, func(a *AnyEntry) **IngressGateway { return &a.IngressGateway }),
	entryOf(EntryAPIGateway, func(a *AnyEntry) **APIGateway { return &a.APIGateway }),
	entryOf(EntryBoundAPIGateway, func(a *AnyEntry) **BoundAPIGateway { return &a.BoundAPIGateway }),
	entryOf(EntryHTTPRoute, func(a *AnyEntry) **HTTPRoute { return &a.HTTPRoute }),
	entryOf(EntryTCPRoute, func(a *AnyEntry) **TCPRoute { return &a.TCPRoute }),
	entryOf(EntryInlineCertificate, func(a *AnyEntry) **InlineCertificate { return &a.InlineCertificate }),
	entryOf(EntryFileSystemCertificate, func(a *AnyEntry) **FileSystemCertificate { return &a.FileSystemCertificate }),
	entryOf(EntrySamenessGroup, func(a *AnyEntry) **SamenessGroup { return &a.SamenessGroup }),
	entryOf(EntryRequestLimit, func(a *AnyEntry) **RequestLimit { return &a.RequestLimit }),
	entryOf(EntryKVReplication, func(a *AnyEntry) **KVReplication { return &a.KVReplication }),
}

func entryOf[T any, P interface {
	*T
	ConfigEntry
}](kind EntryKind, field func(*AnyEntry) *P) entryType {
	return entryType{
		kind: kind,
		blank: func() ConfigEntry {
			e := P(new(T))
			e.Head().Kind = kind
			return e
		},
		get: func(a *AnyEntry) ConfigEntry {
			if e := *field(a); e != nil {
				return e
			}
			return nil
		},
		set: func(a *AnyEntry, e ConfigEntry) bool {
			p, ok := e.(P)
			if ok {
				*field(a) = p
			}
			return ok
		},
	}
}

// EntryKinds lists the kinds of config entries.
func EntryKinds() []EntryKind {
	kinds := make([]EntryKind, len(entryTypes))
	for i, t := range entryTypes {
		kinds[i] = t.kind
	}
	return kinds
}

// Valid reports whether k is a known kind.
func (k EntryKind) Valid() bool { return NewEntry(k) != nil }

// NewEntry returns an empty entry of a kind, nil when there is no such kind.
func NewEntry(kind EntryKind) ConfigEntry {
	for _, t := range entryTypes {
		if t.kind == kind {
			return t.blank()
		}
	}
	return nil
}

// AnyOf puts an entry into a box.
func AnyOf(e ConfigEntry) *AnyEntry {
	a := &AnyEntry{}
	for _, t := range entryTypes {
		if t.set(a, e) {
			return a
		}
	}
	panic(fmt.Sprintf("catalog: %T is no registered config entry", e)) // a programming error
}

// Kind is the kind that the type of what is in the box stands for, "" when nothing is.
func (a *AnyEntry) Kind() EntryKind {
	for _, t := range entryTypes {
		if t.get(a) != nil {
			return t.kind
		}
	}
	return ""
}

// Entry is what is in the box, nil when nothing is.
func (a *AnyEntry) Entry() ConfigEntry {
	if a == nil {
		return nil
	}
	for _, t := range entryTypes {
		if e := t.get(a); e != nil {
			return e
		}
	}
	return nil
}

// MarshalJSON writes the entry as the API shows it.
func (a *AnyEntry) MarshalJSON() ([]byte, error) { return json.Marshal(a.Entry()) }

// UnmarshalJSON reads an entry as the API shows it.
func (a *AnyEntry) UnmarshalJSON(data []byte) error {
	var head struct{ Kind EntryKind }
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	e := NewEntry(head.Kind)
	if e == nil {
		return Errorf(Invalid, "unknown kind of config entry %q", head.Kind)
	}
	if err := json.Unmarshal(data, e); err != nil {
		return err
	}
	*a = *AnyOf(e)
	return nil
}
