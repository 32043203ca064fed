package catalog

import "time"

// FederationState is what a datacenter tells the others: the mesh gateways by which it is reached.
type FederationState struct {
	Datacenter         string
	MeshGateways       []*Instance `json:",omitempty"`
	UpdatedAt          time.Time
	PrimaryModifyIndex uint64
	CreateIndex        uint64
	ModifyIndex        uint64
}
