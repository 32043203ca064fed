package httpapi

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/acl"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
	"github.com/curia-mesh/curia/server/api"
)

const typePEM = "application/pem-certificate-chain"

func connectRoutes() []Route {
	return []Route{
		{Path: "/v1/connect/ca/roots", Doc: "list the mesh's trusted root certificates, with `pem` as one file", ACL: "none", Methods: get(caRoots)},
		{Path: "/v1/connect/ca/configuration", Doc: "read and change who signs the mesh's certificates, and how", ACL: "operator:write",
			Methods: []Method{{Name: http.MethodGet, Handle: caConfiguration, ACL: "operator:read"}, {Name: http.MethodPut, Handle: caConfigure}}},
		{Path: "/v1/agent/connect/ca/roots", Doc: "list the trusted root certificates, from the agent's cache", ACL: "none", Methods: get(agentRoots)},
		{Path: "/v1/agent/connect/ca/leaf/{service...}", Doc: "get the certificate of a service, with its key", ACL: "service:write", Methods: get(agentLeaf)},
		{Path: "/v1/agent/connect/proxy/{view}", Doc: "show how the proxy of this node's sidecars does: `status`, `config`, `clusters` or `endpoints`", ACL: "agent:read", Local: true, Methods: get(agentProxy)},
		{Path: "/v1/agent/connect/authorize", Doc: "decide whether a client may connect to a service", ACL: "service:write", Methods: post(agentAuthorize)},
	}
}

func caRoots(c *call) error {
	pem, err := c.flag("pem")
	if err != nil {
		return err
	}
	if !pem {
		return query(c, api.CARoots, nothing)
	}
	rep, _, err := send(c, api.CARoots, nothing)
	if err != nil {
		return err
	}
	var file strings.Builder
	for _, root := range rep.Roots {
		file.WriteString(root.RootCert)
	}
	c.w.Header().Set("Content-Type", typePEM)
	c.write(http.StatusOK, []byte(file.String()))
	return nil
}

func agentRoots(c *call) error { return cached(c, api.CARoots, nothing) }

func caConfiguration(c *call) error {
	rep, _, err := send(c, api.CAConfig, nothing)
	if err != nil {
		return err
	}
	return c.json(rep)
}

func caConfigure(c *call) error {
	req := &catalog.CAConfig{}
	if err := c.decode(req); err != nil {
		return err
	}
	if _, _, err := send(c, api.CASet, req); err != nil {
		return err
	}
	return c.done()
}

// leafWait is how long a reader waits for another certificate who does not say.
const leafWait = 10 * time.Minute

func agentLeaf(c *call) error {
	service := c.r.PathValue("service")
	if service == "" {
		return catalog.Errorf(catalog.Invalid, "missing service name: want %s", c.route.Path)
	}
	h, err := c.header()
	if err != nil {
		return err
	}
	if own := c.api.config.Load().Datacenter; h.Datacenter != "" && h.Datacenter != own {
		return badRequest("certificates are of the agent's own datacenter %q, not of %q", own, h.Datacenter)
	}
	if err := connect.Service("consul", "dc1", service).Validate(); err != nil { // of any cluster
		return badRequest("service: %w", err)
	}
	if err := c.needService(service, acl.Write); err != nil { // each time, whoever the certificate was made for
		return err
	}
	cert, err := c.api.Leaves.Get(c.ctx(), service, h.Token, h.MinIndex, cmp.Or(h.MaxWait, leafWait))
	if err != nil {
		return err
	}
	out := c.w.Header()
	out[headerIndex] = []string{strconv.FormatUint(cert.ModifyIndex, 10)}
	out[headerCache] = valueMiss // as with Consul: it does not come from the cache of queries
	return c.json(cert)
}

// authorizeRequest names a connection that somebody wants to make.
// Source: https://developer.hashicorp.com/consul/api-docs/agent/connect#authorize
type authorizeRequest struct {
	Target           string
	ClientCertURI    string
	ClientCertSerial string
}

type authorizeReply struct {
	Authorized bool
	Reason     string
}

// byDefault is the reason that clients know for decisions that no intention has made.
const byDefault = "Default behavior configured by ACLs"

func agentAuthorize(c *call) error {
	req := &authorizeRequest{}
	if err := c.decode(req); err != nil {
		return err
	}
	if req.Target == "" {
		return badRequest("missing Target: name the service that is connected to")
	}
	id, err := connect.ParseID(req.ClientCertURI)
	if err != nil {
		return badRequest("ClientCertURI: %w", err)
	}
	if id.Kind != connect.KindService {
		return badRequest("ClientCertURI: %s is a %s, want a service", id, id.Kind)
	}
	if err := c.needService(req.Target, acl.Write); err != nil {
		return err
	}
	reply, err := c.mayConnect(id.Name, req.Target)
	if err != nil {
		return err
	}
	rep, _, err := send(c, api.CARoots, nothing)
	if err != nil {
		return err
	}
	if id.TrustDomain != rep.TrustDomain {
		return c.json(authorizeReply{Reason: "the client is of trust domain " + id.TrustDomain + ", this cluster's is " + rep.TrustDomain})
	}
	return c.json(*reply)
}

// mayConnect decides about a connection by the intentions in the agent's cache. One that is allowed or
// denied by request is no connection that may be opened unseen.
func (c *call) mayConnect(source, destination string) (*authorizeReply, error) {
	q := &api.IntentionQuery{Source: source, Destination: destination}
	answer, _, err := watch.Get(c.ctx(), c.api.Cache, api.IntentionAuthorize, rpc.Header{Token: c.token()}, q)
	if err != nil {
		return nil, err
	}
	rep := answer.Value().(*api.Authorization)
	if rep.Source == "" {
		return &authorizeReply{rep.Allowed, byDefault}, nil
	}
	return &authorizeReply{rep.Allowed, fmt.Sprintf("Matched intention: %s => %s", rep.Source, rep.Destination)}, nil
}

// agentProxy shows the proxy that runs this node's sidecars. It blocks while the index is the one given.
func agentProxy(c *call) error {
	h, err := c.header()
	if err != nil {
		return err
	}
	if c.api.Proxy == nil {
		return notFound("this agent runs no sidecars: see the settings connect.enabled and connect.proxy")
	}
	shown, index, err := c.api.Proxy.Show(c.ctx(), c.r.PathValue("view"), h.MinIndex, waitSpan(h.MaxWait))
	if err != nil {
		return err
	}
	c.w.Header()[headerIndex] = []string{strconv.FormatUint(index, 10)}
	return c.json(shown)
}
