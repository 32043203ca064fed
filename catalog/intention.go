package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Intention is who may reach whom, as the endpoints of intentions show it: one source of an entry of kind
// service-intentions, which is where all intentions are stored.
// Source: https://developer.hashicorp.com/consul/api-docs/connect/intentions
type Intention struct {
	// ID is the UUID of an intention that was made without naming its destination; others have none.
	ID                  string `json:",omitempty"`
	Description         string `json:",omitempty"`
	SourceNS            string // DefaultTenancy
	SourceName          string // Wildcard for every service
	SourcePeer          string `json:",omitempty"`
	SourceSamenessGroup string `json:",omitempty"`
	DestinationNS       string // DefaultTenancy
	DestinationName     string // Wildcard for every service
	// The partitions are DefaultTenancy or empty, and never shown: there is one.
	SourcePartition, DestinationPartition string                 `json:",omitempty"`
	SourceType                            string                 // SourceConsul
	Action                                IntentionAction        `json:",omitempty"`
	Permissions                           []*IntentionPermission `json:",omitempty"`
	JWT                                   *JWTRequirement        `json:",omitempty"`
	Meta                                  map[string]string      `json:",omitempty"`
	Precedence                            int                    // computed, see IntentionPrecedence
	CreatedAt                             *time.Time             `json:",omitempty"` // of those with an ID, as the rest
	UpdatedAt                             *time.Time             `json:",omitempty"`
	Hash                                  []byte                 `json:",omitempty"`
	CreateIndex                           uint64
	ModifyIndex                           uint64
}

// DefaultTenancy is the one namespace and the one partition.
const DefaultTenancy = "default"

// Source is what the intention says as an entry holds it.
func (i *Intention) Source() *SourceIntention {
	return &SourceIntention{
		Name: i.SourceName, Peer: i.SourcePeer, SamenessGroup: i.SourceSamenessGroup, Type: SourceConsul,
		Action: i.Action, Permissions: i.Permissions, Description: i.Description,
		LegacyID: i.ID, LegacyMeta: i.Meta, LegacyCreateTime: i.CreatedAt, LegacyUpdateTime: i.UpdatedAt,
	}
}

// Normalize fills what a writer may leave out. Names that say the one namespace are as good as those that
// say none.
func (i *Intention) Normalize() {
	i.SourceNS, i.DestinationNS = cmp.Or(i.SourceNS, DefaultTenancy), cmp.Or(i.DestinationNS, DefaultTenancy)
	for _, p := range []*string{&i.SourcePartition, &i.DestinationPartition} {
		if *p == DefaultTenancy {
			*p = ""
		}
	}
	i.SourceType = cmp.Or(i.SourceType, SourceConsul)
	i.Action = IntentionAction(strings.ToLower(string(i.Action)))
}

// Validate checks what the entry that it goes into does not show any more.
func (i *Intention) Validate() error {
	for _, ns := range []struct{ field, value string }{{"SourceNS", i.SourceNS}, {"DestinationNS", i.DestinationNS}} {
		if ns.value != DefaultTenancy && ns.value != Wildcard {
			return Errorf(Invalid, "intention: %s %q does not exist: there is only %q", ns.field, ns.value, DefaultTenancy)
		}
	}
	switch {
	case i.SourcePartition+i.DestinationPartition != "":
		return Errorf(Invalid, "intention: partition %q does not exist: there is only %q", cmp.Or(i.SourcePartition, i.DestinationPartition), DefaultTenancy)
	case i.SourceName == "":
		return Errorf(Invalid, "intention: set SourceName to a service, or to %q for all", Wildcard)
	case i.DestinationName == "":
		return Errorf(Invalid, "intention: set DestinationName to a service, or to %q for all", Wildcard)
	case i.SourceType != SourceConsul:
		return Errorf(Invalid, "intention: SourceType %q is not supported: leave it out or set it to %q", i.SourceType, SourceConsul)
	case i.Action == "" && len(i.Permissions) == 0:
		return Errorf(Invalid, "intention: set Action to %q, %q or %q", IntentionAllow, IntentionDeny, IntentionAudit)
	}
	return nil
}

// Intentions are what an entry says, the most specific first.
func (e *ServiceIntentions) Intentions() []*Intention {
	list := make([]*Intention, len(e.Sources))
	for i, s := range e.Sources {
		list[i] = e.intention(s)
	}
	return list
}

// intention shows one source of the entry.
func (e *ServiceIntentions) intention(s *SourceIntention) *Intention {
	i := &Intention{
		ID: s.LegacyID, Description: s.Description, Meta: e.Meta,
		SourceNS: DefaultTenancy, SourceName: s.Name, SourcePeer: s.Peer, SourceSamenessGroup: s.SamenessGroup, SourceType: SourceConsul,
		DestinationNS: DefaultTenancy, DestinationName: e.Name,
		Action: s.Action, Permissions: s.Permissions, JWT: e.JWT, Precedence: s.Precedence,
		CreatedAt: s.LegacyCreateTime, UpdatedAt: s.LegacyUpdateTime, CreateIndex: e.CreateIndex, ModifyIndex: e.ModifyIndex,
	}
	if i.ID != "" {
		i.Meta = s.LegacyMeta
		if said, err := json.Marshal(s); err == nil {
			sum := sha256.Sum256(said)
			i.Hash = sum[:]
		}
	}
	return i
}

// ByRequest reports whether the intentions look at single requests rather than at connections only.
func (e *ServiceIntentions) ByRequest() bool {
	return e.JWT != nil && e.Name != Wildcard || slices.ContainsFunc(e.Sources, func(s *SourceIntention) bool { return len(s.Permissions) > 0 })
}

// Find returns the place of a source in the entry, -1 when there is none such.
func (e *ServiceIntentions) Find(name, peer, group string) int {
	return slices.IndexFunc(e.Sources, func(s *SourceIntention) bool {
		return s.Name == name && s.Peer == peer && s.SamenessGroup == group
	})
}

// SortIntentions orders intentions as they are evaluated: the higher precedence first, then by name.
func SortIntentions(list []*Intention) {
	slices.SortStableFunc(list, func(a, b *Intention) int {
		return cmp.Or(cmp.Compare(b.Precedence, a.Precedence), strings.Compare(a.DestinationName, b.DestinationName),
			strings.Compare(a.SourceName, b.SourceName), strings.Compare(a.SourcePeer, b.SourcePeer),
			strings.Compare(a.SourceSamenessGroup, b.SourceSamenessGroup))
	})
}
