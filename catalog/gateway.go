package catalog

// GatewayService is a service together with a gateway that leads to it, as config entries say.
// Source: https://developer.hashicorp.com/consul/api-docs/catalog#list-services-for-gateway
type GatewayService struct {
	Gateway      ServiceName
	Service      ServiceName
	GatewayKind  Kind
	Port         int      `json:",omitempty"` // of the listener
	Protocol     string   `json:",omitempty"` // of the listener
	Hosts        []string `json:",omitempty"`
	CAFile       string   `json:",omitempty"`
	CertFile     string   `json:",omitempty"`
	KeyFile      string   `json:",omitempty"`
	SNI          string   `json:",omitempty"`
	FromWildcard bool     `json:",omitempty"` // the entry names it as part of all services
	// CreateIndex and ModifyIndex are those of the entry.
	CreateIndex, ModifyIndex uint64
}

// ServiceName names a service in answers that tell it from where it is.
type ServiceName struct{ Name string }
