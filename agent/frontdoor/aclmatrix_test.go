package frontdoor_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/httpapi"
	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog/state"
)

const bossToken = "5f3c2a10-0000-4000-8000-00000000feed"

// probe is a request for one method of a route.
type probe struct {
	path, body string
	// rights are those of the table that it needs, where the table names several.
	rights httpapi.Rights
	// or is a resource of which write does as well.
	or string
	// odd is the status that it always has, whoever asks: what it asks for is over, or off.
	odd int
	// never is whether it is only made with tokens that must not: it would end the agent.
	never bool
	// stream answers have no end.
	stream bool
	// alike answers do not tell who may see: their bodies differ each time, or are empty.
	alike bool
}

// probes are what is asked of each method of the table of routes. {…} is filled in with what was made before.
var probes = map[string][]probe{
	"GET /v1/connect/ca/roots":                                {{path: "/v1/connect/ca/roots"}},
	"GET /v1/connect/ca/configuration":                        {{path: "/v1/connect/ca/configuration"}},
	"PUT /v1/connect/ca/configuration":                        {{path: "/v1/connect/ca/configuration", body: `{"Provider":"absent"}`}},
	"GET /v1/agent/connect/ca/roots":                          {{path: "/v1/agent/connect/ca/roots"}},
	"GET /v1/agent/connect/ca/leaf/{service...}":              {{path: "/v1/agent/connect/ca/leaf/web", alike: true}},
	"GET /v1/agent/connect/proxy/{view}":                      {{path: "/v1/agent/connect/proxy/status"}, {path: "/v1/agent/connect/proxy/config"}},
	"POST /v1/agent/connect/authorize":                        {{path: "/v1/agent/connect/authorize", body: `{"Target":"web","ClientCertURI":"spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/db","ClientCertSerial":"x"}`}},
	"GET /v1/agent/self":                                      {{path: "/v1/agent/self", alike: true}},
	"GET /v1/agent/host":                                      {{path: "/v1/agent/host", alike: true}},
	"GET /v1/agent/version":                                   {{path: "/v1/agent/version"}},
	"GET /v1/agent/members":                                   {{path: "/v1/agent/members"}},
	"GET /v1/agent/monitor":                                   {{path: "/v1/agent/monitor", stream: true}},
	"GET /v1/agent/metrics":                                   {{path: "/v1/agent/metrics", alike: true}},
	"GET /v1/agent/metrics/stream":                            {{path: "/v1/agent/metrics/stream", stream: true}},
	"PUT /v1/agent/reload":                                    {{path: "/v1/agent/reload"}},
	"PUT /v1/agent/maintenance":                               {{path: "/v1/agent/maintenance?enable=false"}},
	"PUT /v1/agent/join/{address...}":                         {{path: "/v1/agent/join/127.0.0.1:1"}},
	"PUT /v1/agent/leave":                                     {{path: "/v1/agent/leave", never: true}},
	"PUT /v1/agent/force-leave/{node...}":                     {{path: "/v1/agent/force-leave/nobody"}},
	"PUT /v1/agent/token/{kind...}":                           {{path: "/v1/agent/token/replication", body: `{"Token":"x"}`}},
	"GET /v1/agent/services":                                  {{path: "/v1/agent/services"}},
	"GET /v1/agent/service/{id...}":                           {{path: "/v1/agent/service/web"}},
	"PUT /v1/agent/service/register":                          {{path: "/v1/agent/service/register", body: `{"Name":"web","ID":"second","Port":81}`}},
	"PUT /v1/agent/service/deregister/{id...}":                {{path: "/v1/agent/service/deregister/second"}},
	"PUT /v1/agent/service/maintenance/{id...}":               {{path: "/v1/agent/service/maintenance/web?enable=false"}},
	"GET /v1/agent/health/service/id/{id...}":                 {{path: "/v1/agent/health/service/id/web"}},
	"GET /v1/agent/health/service/name/{name...}":             {{path: "/v1/agent/health/service/name/web"}},
	"GET /v1/agent/checks":                                    {{path: "/v1/agent/checks"}},
	"PUT /v1/agent/check/register":                            {{path: "/v1/agent/check/register", body: `{"ID":"c1","Name":"c","TTL":"1h"}`, rights: "node:write"}, {path: "/v1/agent/check/register", body: `{"ID":"c2","Name":"c","TTL":"1h","ServiceID":"web"}`, rights: "service:write"}},
	"PUT /v1/agent/check/pass/{id...}":                        {{path: "/v1/agent/check/pass/nodecheck", rights: "node:write"}, {path: "/v1/agent/check/pass/webcheck", rights: "service:write"}},
	"PUT /v1/agent/check/warn/{id...}":                        {{path: "/v1/agent/check/warn/nodecheck", rights: "node:write"}, {path: "/v1/agent/check/warn/webcheck", rights: "service:write"}},
	"PUT /v1/agent/check/fail/{id...}":                        {{path: "/v1/agent/check/fail/nodecheck", rights: "node:write"}, {path: "/v1/agent/check/fail/webcheck", rights: "service:write"}},
	"PUT /v1/agent/check/update/{id...}":                      {{path: "/v1/agent/check/update/nodecheck", body: `{"Status":"passing"}`, rights: "node:write"}, {path: "/v1/agent/check/update/webcheck", body: `{"Status":"passing"}`, rights: "service:write"}},
	"PUT /v1/agent/check/deregister/{id...}":                  {{path: "/v1/agent/check/deregister/nodecheck2", rights: "node:write"}, {path: "/v1/agent/check/deregister/webcheck2", rights: "service:write"}},
	"PUT /v1/catalog/register":                                {{path: "/v1/catalog/register", body: `{"Node":"n7","Address":"10.0.0.7","Service":{"Service":"seven"}}`}},
	"PUT /v1/catalog/deregister":                              {{path: "/v1/catalog/deregister", body: `{"Node":"n7"}`, rights: "node:write"}, {path: "/v1/catalog/deregister", body: `{"Node":"n2","ServiceID":"gone2"}`, rights: "service:write", or: "node"}},
	"GET /v1/catalog/datacenters":                             {{path: "/v1/catalog/datacenters"}},
	"GET /v1/catalog/nodes":                                   {{path: "/v1/catalog/nodes"}},
	"GET /v1/catalog/services":                                {{path: "/v1/catalog/services"}},
	"GET /v1/catalog/service/{service...}":                    {{path: "/v1/catalog/service/web"}},
	"GET /v1/catalog/connect/{service...}":                    {{path: "/v1/catalog/connect/web"}},
	"GET /v1/catalog/node/{node...}":                          {{path: "/v1/catalog/node/n2"}},
	"GET /v1/catalog/node-services/{node...}":                 {{path: "/v1/catalog/node-services/n2"}},
	"GET /v1/catalog/gateway-services/{gateway...}":           {{path: "/v1/catalog/gateway-services/door"}},
	"GET /v1/health/node/{node...}":                           {{path: "/v1/health/node/n2"}},
	"GET /v1/health/checks/{service...}":                      {{path: "/v1/health/checks/remote"}},
	"GET /v1/health/service/{service...}":                     {{path: "/v1/health/service/web"}},
	"GET /v1/health/connect/{service...}":                     {{path: "/v1/health/connect/web"}},
	"GET /v1/health/ingress/{service...}":                     {{path: "/v1/health/ingress/web"}},
	"GET /v1/health/state/{state...}":                         {{path: "/v1/health/state/any"}},
	"GET /v1/kv/{key...}":                                     {{path: "/v1/kv/a/1"}, {path: "/v1/kv/a/?recurse"}, {path: "/v1/kv/?keys"}, {path: "/v1/kv/a/1?raw"}},
	"PUT /v1/kv/{key...}":                                     {{path: "/v1/kv/a/2", body: "x"}, {path: "/v1/kv/a/2?cas=0", body: "x"}, {path: "/v1/kv/a//2", body: "x"}},
	"DELETE /v1/kv/{key...}":                                  {{path: "/v1/kv/a/2"}, {path: "/v1/kv/a/?recurse"}, {path: "/v1/kv/?recurse"}},
	"PUT /v1/config":                                          {{path: "/v1/config", body: `{"Kind":"service-defaults","Name":"web","Protocol":"http"}`, rights: "service:write"}, {path: "/v1/config", body: `{"Kind":"service-intentions","Name":"web","Sources":[{"Name":"db","Action":"allow"}]}`, rights: "intentions:write"}, {path: "/v1/config", body: `{"Kind":"mesh"}`, rights: "mesh:write"}, {path: "/v1/config", body: `{"Kind":"control-plane-request-limit","Name":"l"}`, rights: "operator:write"}},
	"GET /v1/config/{entry...}":                               {{path: "/v1/config/service-defaults/web", rights: "service:read"}, {path: "/v1/config/service-defaults", rights: "service:read"}, {path: "/v1/config/service-intentions/web", rights: "intentions:read"}, {path: "/v1/config/exported-services/default", rights: "mesh:read"}, {path: "/v1/config/control-plane-request-limit/l", rights: "operator:read"}, {path: "/v1/config/proxy-defaults/global", rights: "none"}},
	"DELETE /v1/config/{entry...}":                            {{path: "/v1/config/service-router/web", rights: "service:write"}, {path: "/v1/config/service-intentions/none", rights: "intentions:write"}, {path: "/v1/config/sameness-group/none", rights: "mesh:write"}, {path: "/v1/config/control-plane-request-limit/none", rights: "operator:write"}},
	"PUT /v1/session/create":                                  {{path: "/v1/session/create", body: `{"TTL":"1h"}`}},
	"PUT /v1/session/destroy/{id...}":                         {{path: "/v1/session/destroy/{session3}"}},
	"PUT /v1/session/renew/{id...}":                           {{path: "/v1/session/renew/{session}"}},
	"GET /v1/session/info/{id...}":                            {{path: "/v1/session/info/{session}"}},
	"GET /v1/session/node/{node...}":                          {{path: "/v1/session/node/n1"}},
	"GET /v1/session/list":                                    {{path: "/v1/session/list"}},
	"PUT /v1/txn":                                             {{path: "/v1/txn", body: `[{"KV":{"Verb":"get","Key":"a/1"}}]`, rights: "key:read"}, {path: "/v1/txn", body: `[{"KV":{"Verb":"set","Key":"a/1","Value":"eA=="}}]`, rights: "key:write"}, {path: "/v1/txn", body: `[{"KV":{"Verb":"delete-tree","Key":"a/3"}}]`, rights: "key:write"}, {path: "/v1/txn", body: `[{"KV":{"Verb":"get-tree","Key":"a/1"}}]`, rights: "key:read"}, {path: "/v1/txn", body: `[{"Node":{"Verb":"get","Node":{"Node":"n2"}}}]`, rights: "node:read"}, {path: "/v1/txn", body: `[{"Node":{"Verb":"delete","Node":{"Node":"n9"}}}]`, rights: "node:write"}, {path: "/v1/txn", body: `[{"Service":{"Verb":"get","Node":"n2","Service":{"ID":"remote"}}}]`, rights: "service:read"}, {path: "/v1/txn", body: `[{"Service":{"Verb":"delete","Node":"n2","Service":{"ID":"gone"}}}]`, rights: "service:write"}, {path: "/v1/txn", body: `[{"Session":{"Verb":"delete","Session":{"ID":"{session2}"}}}]`, rights: "session:write"}},
	"GET /v1/query":                                           {{path: "/v1/query"}},
	"POST /v1/query":                                          {{path: "/v1/query", body: `{"Name":"other","Service":{"Service":"web"}}`}},
	"GET /v1/query/{id}":                                      {{path: "/v1/query/{query}"}},
	"PUT /v1/query/{id}":                                      {{path: "/v1/query/{query}", body: `{"Name":"find","Service":{"Service":"web"}}`}},
	"DELETE /v1/query/{id}":                                   {{path: "/v1/query/{query2}"}},
	"GET /v1/query/{id}/execute":                              {{path: "/v1/query/find/execute"}},
	"GET /v1/query/{id}/explain":                              {{path: "/v1/query/find/explain"}},
	"GET /v1/internal/query-plan/{id}":                        {{path: "/v1/internal/query-plan/find"}},
	"GET /v1/internal/query-instances/{id}":                   {{path: "/v1/internal/query-instances/find"}},
	"GET /v1/internal/peer-trust/{service...}":                {{path: "/v1/internal/peer-trust/web"}},
	"GET /v1/internal/peer-servers/{gateway...}":              {{path: "/v1/internal/peer-servers/web"}},
	"GET /v1/peerings":                                        {{path: "/v1/peerings"}},
	"POST /v1/peering/token":                                  {{path: "/v1/peering/token", body: `{"PeerName":"east"}`}},
	"POST /v1/peering/establish":                              {{path: "/v1/peering/establish", body: `{"PeerName":"far","PeeringToken":"{peering}"}`}},
	"GET /v1/peering/{name...}":                               {{path: "/v1/peering/east"}},
	"DELETE /v1/peering/{name...}":                            {{path: "/v1/peering/none"}},
	"GET /v1/exported-services":                               {{path: "/v1/exported-services"}},
	"GET /api/multicluster/v2/exportedservices":               {{path: "/api/multicluster/v2/exportedservices"}},
	"GET /api/multicluster/v2/exportedservices/{name...}":     {{path: "/api/multicluster/v2/exportedservices/set"}},
	"PUT /api/multicluster/v2/exportedservices/{name...}":     {{path: "/api/multicluster/v2/exportedservices/set", body: `{"data":{"services":["web"],"consumers":[{"peer":"east"}]}}`}},
	"DELETE /api/multicluster/v2/exportedservices/{name...}":  {{path: "/api/multicluster/v2/exportedservices/none"}},
	"GET /v1/internal/ui/nodes":                               {{path: "/v1/internal/ui/nodes"}},
	"GET /v1/internal/ui/node/{node...}":                      {{path: "/v1/internal/ui/node/n2"}},
	"GET /v1/internal/ui/services":                            {{path: "/v1/internal/ui/services"}},
	"GET /v1/internal/ui/exported-services":                   {{path: "/v1/internal/ui/exported-services?peer=east"}},
	"GET /v1/internal/ui/catalog-overview":                    {{path: "/v1/internal/ui/catalog-overview"}},
	"GET /v1/internal/ui/service-topology/{service...}":       {{path: "/v1/internal/ui/service-topology/door?kind=ingress-gateway"}},
	"GET /v1/internal/ui/gateway-services-nodes/{gateway...}": {{path: "/v1/internal/ui/gateway-services-nodes/door"}},
	"GET /v1/internal/ui/gateway-intentions/{gateway...}":     {{path: "/v1/internal/ui/gateway-intentions/door"}},
	"GET /v1/internal/ui/metrics-proxy/{path...}":             {{path: "/v1/internal/ui/metrics-proxy/x"}},
	"GET /v1/internal/federation-states":                      {{path: "/v1/internal/federation-states"}},
	"GET /v1/internal/federation-states/mesh-gateways":        {{path: "/v1/internal/federation-states/mesh-gateways"}},
	"GET /v1/internal/federation-state/{dc}":                  {{path: "/v1/internal/federation-state/dc1"}},
	"GET /v1/internal/gateways/{kind}":                        {{path: "/v1/internal/gateways/ingress-gateway"}},
	"GET /v1/internal/mesh-services":                          {{path: "/v1/internal/mesh-services"}},
	"PUT /v1/internal/service-virtual-ip":                     {{path: "/v1/internal/service-virtual-ip", body: `{"Service":"web","ManualVIPs":["10.9.9.9"]}`}},
	"PUT /v1/event/fire/{name...}":                            {{path: "/v1/event/fire/deploy"}},
	"GET /v1/event/list":                                      {{path: "/v1/event/list"}},
	"GET /v1/coordinate/datacenters":                          {{path: "/v1/coordinate/datacenters"}},
	"GET /v1/coordinate/nodes":                                {{path: "/v1/coordinate/nodes"}},
	"GET /v1/coordinate/node/{node...}":                       {{path: "/v1/coordinate/node/n2"}},
	"PUT /v1/coordinate/update":                               {{path: "/v1/coordinate/update", body: coordinateOfN2}},
	"GET /v1/status/leader":                                   {{path: "/v1/status/leader"}},
	"GET /v1/status/peers":                                    {{path: "/v1/status/peers"}},
	"GET /v1/snapshot":                                        {{path: "/v1/snapshot", alike: true}},
	"PUT /v1/snapshot":                                        {{path: "/v1/snapshot", body: "no archive"}},
	"GET /v1/operator/raft/configuration":                     {{path: "/v1/operator/raft/configuration"}},
	"GET /v1/operator/raft/digest":                            {{path: "/v1/operator/raft/digest", alike: true}},
	"DELETE /v1/operator/raft/peer":                           {{path: "/v1/operator/raft/peer?id=nobody"}},
	"POST /v1/operator/raft/transfer-leader":                  {{path: "/v1/operator/raft/transfer-leader?id=nobody"}},
	"GET /v1/operator/autopilot/configuration":                {{path: "/v1/operator/autopilot/configuration"}},
	"PUT /v1/operator/autopilot/configuration":                {{path: "/v1/operator/autopilot/configuration", body: `{"CleanupDeadServers":true}`}},
	"GET /v1/operator/autopilot/health":                       {{path: "/v1/operator/autopilot/health", alike: true}},
	"GET /v1/operator/autopilot/state":                        {{path: "/v1/operator/autopilot/state", alike: true}},
	"GET /v1/operator/federation":                             {{path: "/v1/operator/federation"}},
	"GET /v1/operator/kv-replication":                         {{path: "/v1/operator/kv-replication"}},
	"PUT /v1/operator/federation/accept":                      {{path: "/v1/operator/federation/accept", alike: true}},
	"PUT /v1/operator/federation/promote":                     {{path: "/v1/operator/federation/promote", alike: true}},
	"GET /v1/operator/usage":                                  {{path: "/v1/operator/usage"}},
	"GET /v1/operator/join-token":                             {{path: "/v1/operator/join-token"}},
	"PUT /v1/operator/join-token":                             {{path: "/v1/operator/join-token", body: `{"Role":"client"}`}},
	"DELETE /v1/operator/join-token":                          {{path: "/v1/operator/join-token?id=none"}},
	"GET /v1/operator/keyring":                                {{path: "/v1/operator/keyring"}},
	"POST /v1/operator/keyring":                               {{path: "/v1/operator/keyring", body: aKey}},
	"PUT /v1/operator/keyring":                                {{path: "/v1/operator/keyring", body: aKey}},
	"DELETE /v1/operator/keyring":                             {{path: "/v1/operator/keyring", body: aKey}},
	"PUT /v1/acl/bootstrap":                                   {{path: "/v1/acl/bootstrap", odd: 403}},
	"POST /v1/acl/login":                                      {{path: "/v1/acl/login", body: `{"AuthMethod":"none","BearerToken":"x"}`, odd: 403}},
	"POST /v1/acl/logout":                                     {{path: "/v1/acl/logout", odd: -1}},
	"POST /v1/acl/oidc/auth-url":                              {{path: "/v1/acl/oidc/auth-url", body: `{"AuthMethod":"none"}`, odd: -1}},
	"POST /v1/acl/oidc/callback":                              {{path: "/v1/acl/oidc/callback", body: `{"AuthMethod":"none","State":"x","Code":"y"}`, odd: -1}},
	"GET /v1/acl/replication":                                 {{path: "/v1/acl/replication"}},
	"POST /v1/internal/acl/authorize":                         {{path: "/v1/internal/acl/authorize", body: `[{"Resource":"key","Access":"read","Segment":"a"}]`}},
	"GET /v1/acl/tokens":                                      {{path: "/v1/acl/tokens", alike: true}},
	"PUT /v1/acl/token":                                       {{path: "/v1/acl/token", body: `{"Description":"made"}`}},
	"GET /v1/acl/token/self":                                  {{path: "/v1/acl/token/self"}},
	"PUT /v1/acl/token/{id}/clone":                            {{path: "/v1/acl/token/{token}/clone", body: `{}`}},
	"GET /v1/acl/token/{id...}":                               {{path: "/v1/acl/token/{token}", alike: true}},
	"PUT /v1/acl/token/{id...}":                               {{path: "/v1/acl/token/{token}", body: `{"Description":"changed"}`}},
	"DELETE /v1/acl/token/{id...}":                            {{path: "/v1/acl/token/{token2}"}},
	"GET /v1/acl/policies":                                    {{path: "/v1/acl/policies", alike: true}},
	"PUT /v1/acl/policy":                                      {{path: "/v1/acl/policy", body: `{"Name":"made"}`}},
	"GET /v1/acl/policy/name/{name...}":                       {{path: "/v1/acl/policy/name/p1"}},
	"GET /v1/acl/policy/{id...}":                              {{path: "/v1/acl/policy/{policy}"}},
	"PUT /v1/acl/policy/{id...}":                              {{path: "/v1/acl/policy/{policy}", body: `{"Name":"p1"}`}},
	"DELETE /v1/acl/policy/{id...}":                           {{path: "/v1/acl/policy/{policy2}"}},
	"GET /v1/acl/roles":                                       {{path: "/v1/acl/roles"}},
	"PUT /v1/acl/role":                                        {{path: "/v1/acl/role", body: `{"Name":"made"}`}},
	"GET /v1/acl/role/name/{name...}":                         {{path: "/v1/acl/role/name/r1"}},
	"GET /v1/acl/role/{id...}":                                {{path: "/v1/acl/role/{role}"}},
	"PUT /v1/acl/role/{id...}":                                {{path: "/v1/acl/role/{role}", body: `{"Name":"r1"}`}},
	"DELETE /v1/acl/role/{id...}":                             {{path: "/v1/acl/role/{role2}"}},
	"GET /v1/acl/auth-methods":                                {{path: "/v1/acl/auth-methods"}},
	"PUT /v1/acl/auth-method":                                 {{path: "/v1/acl/auth-method", body: `{"Name":"made","Type":"absent"}`}},
	"GET /v1/acl/auth-method/{id...}":                         {{path: "/v1/acl/auth-method/none"}},
	"PUT /v1/acl/auth-method/{id...}":                         {{path: "/v1/acl/auth-method/none", body: `{"Name":"none","Type":"absent"}`}},
	"DELETE /v1/acl/auth-method/{id...}":                      {{path: "/v1/acl/auth-method/none"}},
	"GET /v1/acl/binding-rules":                               {{path: "/v1/acl/binding-rules"}},
	"PUT /v1/acl/binding-rule":                                {{path: "/v1/acl/binding-rule", body: `{"AuthMethod":"none","BindType":"role","BindName":"r1"}`}},
	"GET /v1/acl/binding-rule/{id...}":                        {{path: "/v1/acl/binding-rule/" + absentID}},
	"PUT /v1/acl/binding-rule/{id...}":                        {{path: "/v1/acl/binding-rule/" + absentID, body: `{"AuthMethod":"none","BindType":"role","BindName":"r1"}`}},
	"DELETE /v1/acl/binding-rule/{id...}":                     {{path: "/v1/acl/binding-rule/" + absentID}},
	"GET /v1/acl/templated-policies":                          {{path: "/v1/acl/templated-policies"}},
	"GET /v1/acl/templated-policy/name/{name...}":             {{path: "/v1/acl/templated-policy/name/builtin/service"}},
	"POST /v1/acl/templated-policy/preview/{name...}":         {{path: "/v1/acl/templated-policy/preview/builtin/service", body: `{"Name":"web"}`}},
	"GET /v1/connect/intentions":                              {{path: "/v1/connect/intentions"}},
	"POST /v1/connect/intentions":                             {{path: "/v1/connect/intentions", body: `{"SourceName":"x","DestinationName":"web","Action":"deny"}`}},
	"GET /v1/connect/intentions/exact":                        {{path: "/v1/connect/intentions/exact?source=db&destination=web"}},
	"PUT /v1/connect/intentions/exact":                        {{path: "/v1/connect/intentions/exact?source=db&destination=web", body: `{"Action":"allow"}`}},
	"DELETE /v1/connect/intentions/exact":                     {{path: "/v1/connect/intentions/exact?source=none&destination=web"}},
	"GET /v1/connect/intentions/match":                        {{path: "/v1/connect/intentions/match?by=destination&name=web"}},
	"GET /v1/connect/intentions/check":                        {{path: "/v1/connect/intentions/check?source=db&destination=web"}},
	"GET /v1/connect/intentions/{id...}":                      {{path: "/v1/connect/intentions/{intention}"}},
	"PUT /v1/connect/intentions/{id...}":                      {{path: "/v1/connect/intentions/{intention}", body: `{"SourceName":"old","DestinationName":"legacy","Action":"deny"}`}},
	"DELETE /v1/connect/intentions/{id...}":                   {{path: "/v1/connect/intentions/{intention}"}},
	"GET /v1/discovery-chain/{service...}":                    {{path: "/v1/discovery-chain/web"}},
	"POST /v1/discovery-chain/{service...}":                   {{path: "/v1/discovery-chain/web", body: `{}`}},
}

const (
	coordinateOfN2 = `{"Node":"n2","Coord":{"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":0.00001}}`
	aKey           = `{"Key":"MDEyMzQ1Njc4OWFiY2RlZg=="}`
	absentID       = "11111111-2222-3333-4444-555555555555"
)

// matrix is a cluster with ACLs, with something of everything in it.
type matrix struct {
	*testkit.Agent
	t      *testing.T
	made   map[string]string // names in braces
	tokens map[string]string // secrets by their rules
}

func (m *matrix) boss(method, path, body string) testkit.Reply {
	m.t.Helper()
	return m.Do(m.t, method, m.fill(path), m.fill(body), "X-Consul-Token", bossToken)
}

func (m *matrix) put(path, body string) testkit.Reply {
	m.t.Helper()
	return m.boss(http.MethodPut, path, body).Want(m.t, http.StatusOK)
}

var braces = regexp.MustCompile(`\{(\w+)\}`)

func (m *matrix) fill(text string) string {
	return braces.ReplaceAllStringFunc(text, func(name string) string {
		if made, ok := m.made[name[1:len(name)-1]]; ok {
			return made
		}
		return name
	})
}

// keep takes a field of an answer for what is named so.
func (m *matrix) keep(name, field string, r testkit.Reply) {
	m.t.Helper()
	all := map[string]any{}
	r.Want(m.t, http.StatusOK).JSON(m.t, &all)
	m.made[name], _ = all[field].(string)
	if m.made[name] == "" {
		m.t.Fatalf("%s has no %s: %s", name, field, r.Body)
	}
}

func (m *matrix) seed() {
	m.put("/v1/kv/a/1", "x")
	m.put("/v1/kv/b", "x")
	m.put("/v1/agent/service/register", `{"Name":"web","Port":80,"Connect":{"SidecarService":{}},"Check":{"CheckID":"webcheck","TTL":"1h"}}`)
	m.put("/v1/agent/check/register", `{"ID":"nodecheck","Name":"n","TTL":"1h"}`)
	m.put("/v1/agent/check/register", `{"ID":"nodecheck2","Name":"n","TTL":"1h"}`)
	m.put("/v1/agent/check/register", `{"ID":"webcheck2","Name":"n","TTL":"1h","ServiceID":"web"}`)
	for _, c := range []string{"nodecheck", "nodecheck2", "webcheck", "webcheck2"} {
		m.put("/v1/agent/check/pass/"+c, "")
	}
	m.put("/v1/catalog/register", `{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"remote"},"Checks":[{"CheckID":"of-remote","Name":"c","ServiceID":"remote","Status":"passing"},{"CheckID":"of-n2","Name":"c","Status":"passing"}]}`)
	m.put("/v1/catalog/register", `{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"gone"}}`)
	m.put("/v1/catalog/register", `{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"gone2"}}`)
	m.put("/v1/catalog/register", `{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"door","Kind":"ingress-gateway","Port":443}}`)
	m.put("/v1/catalog/register", `{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"legacy"}}`)
	m.put("/v1/catalog/register", `{"Node":"n9","Address":"10.0.0.9"}`)
	m.put("/v1/catalog/register", `{"Node":"n2","Address":"10.0.0.2","Service":{"Service":"gate","Kind":"mesh-gateway","Port":8443}}`)
	const federated = "/v1/internal/federation-states/mesh-gateways"
	for r := m.boss(http.MethodGet, federated, ""); !strings.Contains(r.Body, "gate"); { // until the leader has told of it
		r = m.boss(http.MethodGet, fmt.Sprintf("%s?index=%d", federated, r.Index()), "").Want(m.t, http.StatusOK)
	}
	m.put("/v1/coordinate/update", coordinateOfN2)
	m.put("/v1/event/fire/deploy", "")
	m.put("/v1/config", `{"Kind":"proxy-defaults","Name":"global"}`)
	m.put("/v1/config", `{"Kind":"service-defaults","Name":"web","Protocol":"http"}`)
	m.put("/v1/config", `{"Kind":"ingress-gateway","Name":"door","Listeners":[{"Port":443,"Protocol":"http","Services":[{"Name":"web"}]}]}`)
	m.put("/v1/config", `{"Kind":"exported-services","Name":"default","Services":[{"Name":"web","Consumers":[{"Peer":"east"}]}]}`)
	m.put("/v1/config", `{"Kind":"service-intentions","Name":"web","Sources":[{"Name":"db","Action":"allow"}]}`)
	m.put("/v1/config", `{"Kind":"control-plane-request-limit","Name":"l"}`)
	m.put("/api/multicluster/v2/exportedservices/set", probes["PUT /api/multicluster/v2/exportedservices/{name...}"][0].body)
	m.keep("session", "ID", m.put("/v1/session/create", `{"TTL":"1h"}`))
	m.keep("session2", "ID", m.put("/v1/session/create", `{"TTL":"1h"}`))
	m.keep("session3", "ID", m.put("/v1/session/create", `{"TTL":"1h"}`))
	m.keep("query", "ID", m.boss(http.MethodPost, "/v1/query", `{"Name":"find","Service":{"Service":"web"}}`))
	m.keep("query2", "ID", m.boss(http.MethodPost, "/v1/query", `{"Name":"found","Service":{"Service":"web"}}`))
	m.boss(http.MethodPost, "/v1/peering/token", `{"PeerName":"east"}`).Want(m.t, http.StatusOK)
	m.made["peering"] = base64.StdEncoding.EncodeToString([]byte(`{"ServerAddresses":["127.0.0.1:1"],"ServerName":"s","PeerID":"` + absentID + `","EstablishmentSecret":"` + absentID + `","Remote":{"Datacenter":"dc9"}}`))
	m.keep("intention", "ID", m.boss(http.MethodPost, "/v1/connect/intentions", `{"SourceName":"old","DestinationName":"legacy","Action":"allow"}`))
	m.keep("token", "AccessorID", m.put("/v1/acl/token", `{}`))
	m.keep("token2", "AccessorID", m.put("/v1/acl/token", `{}`))
	m.keep("policy", "ID", m.put("/v1/acl/policy", `{"Name":"p1"}`))
	m.keep("policy2", "ID", m.put("/v1/acl/policy", `{"Name":"p2"}`))
	m.keep("role", "ID", m.put("/v1/acl/role", `{"Name":"r1","Policies":[{"Name":"p1"}]}`))
	m.keep("role2", "ID", m.put("/v1/acl/role", `{"Name":"r2","Policies":[{"Name":"p1"}]}`))
}

// token returns the secret of a token with these rules.
func (m *matrix) token(rules string) string {
	if secret, ok := m.tokens[rules]; ok {
		return secret
	}
	name := fmt.Sprintf("matrix-%d", len(m.tokens))
	m.put("/v1/acl/policy", fmt.Sprintf(`{"Name":%q,"Rules":%q}`, name, rules))
	made := struct{ SecretID string }{}
	m.put("/v1/acl/token", fmt.Sprintf(`{"Policies":[{"Name":%q}]}`, name)).JSON(m.t, &made)
	m.tokens[rules] = made.SecretID
	return made.SecretID
}

// expired returns the secret of a token of management whose time is over. Tokens live for a minute at least: its time is
// ended in the store, where the leader removes it when it looks next.
func (m *matrix) expired() string {
	made := struct{ AccessorID, SecretID string }{}
	m.put("/v1/acl/token", `{"Policies":[{"Name":"global-management"}],"ExpirationTTL":"1h"}`).JSON(m.t, &made)
	_, index := state.Tokens(m.Store().Read(), nil)
	tx := m.Store().Write(index)
	token, _ := state.Token(tx, nil, made.AccessorID)
	over := *token
	past := time.Now().Add(-time.Second)
	over.ExpirationTime = &past
	if _, err := state.PutToken(tx, &over); err != nil {
		m.t.Fatal(err)
	}
	tx.Commit()
	return made.SecretID
}

// grant is the access to each resource; intentions are those of all services.
type grant map[string]string

var resources = []string{"acl", "agent", "event", "identity", "intentions", "key", "keyring", "mesh", "node", "operator", "peering", "query", "service", "session"}

// rules writes a grant for the names that begin with a prefix.
func (g grant) rules(prefix string) string {
	var b strings.Builder
	service := "deny"
	if g["service"] != "" {
		service = g["service"]
	}
	intentions := "deny"
	if g["intentions"] != "" {
		intentions = g["intentions"]
	}
	for _, r := range slices.Sorted(maps.Keys(g)) {
		switch r {
		case "service", "intentions":
		case "acl", "keyring", "mesh", "operator", "peering":
			fmt.Fprintf(&b, "%s = %q\n", r, g[r])
		default:
			fmt.Fprintf(&b, "%s_prefix %q { policy = %q }\n", r, prefix, g[r])
		}
	}
	if service != "deny" || intentions != "deny" {
		fmt.Fprintf(&b, "service_prefix %q { policy = %q intentions = %q }\n", prefix, service, intentions)
	}
	return b.String()
}

// needed are the rights of the table as a grant.
func needed(rights httpapi.Rights) grant {
	g := grant{}
	if rights == "none" {
		return g
	}
	for _, right := range strings.Split(string(rights), ", ") {
		resource, access, _ := strings.Cut(right, ":")
		g[resource] = strings.TrimSuffix(access, "-all")
	}
	return g
}

// allBut is everything but one resource, and what decides where no rule speaks of that.
func allBut(resource string) grant {
	g := grant{}
	for _, r := range resources {
		g[r] = "write"
	}
	delete(g, resource)
	switch resource {
	case "mesh", "peering":
		g["operator"] = "deny"
	case "query":
		g["acl"] = "read" // who may write ACLs sees all queries
	}
	return g
}

// nameless are the resources that there is one of.
var nameless = map[string]bool{"acl": true, "keyring": true, "mesh": true, "operator": true, "peering": true}

// TestACLMatrix (A28): what each method of each route needs is what the table of routes says: no more and no less. Each
// is asked without a token, with the anonymous one, with one that is deleted and one that has expired, with every right but one, with read where
// write is needed, with the right to other things, with exactly what is needed, and by management. Rows and rights come
// from the table; a route without a probe fails.
func TestACLMatrix(t *testing.T) {
	node := testkit.New(t, testkit.Settings{"acl": testkit.Settings{
		"enabled": true, "default_policy": "deny", "tokens": testkit.Settings{"initial_management": bossToken, "agent": bossToken},
	}, "enable_debug": true})
	m := &matrix{Agent: node.Start(t), t: t, made: map[string]string{}, tokens: map[string]string{}}
	m.seed()
	type row struct {
		method string
		probe
	}
	var rows []row
	known := map[string]bool{}
	for _, r := range httpapi.Routes() {
		for _, method := range r.Methods {
			key := method.Name + " " + r.Path
			known[key] = true
			all := probes[key]
			if len(all) == 0 {
				t.Errorf("%s has no probe", key)
			}
			alternatives := strings.Split(string(r.Rights(method.Name)), " | ")
			proved := map[string]bool{}
			for _, p := range all {
				if p.rights == "" {
					p.rights = httpapi.Rights(alternatives[0])
				}
				if !slices.Contains(alternatives, string(p.rights)) {
					t.Errorf("%s: the table does not say %s", key, p.rights)
				}
				proved[string(p.rights)] = true
				rows = append(rows, row{method.Name, p})
			}
			for _, a := range alternatives {
				if !proved[a] {
					t.Errorf("%s: no probe needs %s", key, a)
				}
			}
		}
	}
	for key := range probes {
		if !known[key] {
			t.Errorf("probe of %s, which is no route", key)
		}
	}
	rows = append(rows, row{http.MethodGet, probe{path: "/debug/pprof/cmdline", rights: "operator:read"}})
	order := func(r row) int { // what removes things comes last
		switch {
		case r.method == http.MethodGet:
			return 0
		case r.method == http.MethodDelete || strings.Contains(r.path, "deregister") || strings.Contains(r.path, "destroy"):
			return 2
		}
		return 1
	}
	slices.SortStableFunc(rows, func(a, b row) int { return order(a) - order(b) })
	deleted := m.token(`key_prefix "" { policy = "write" }`)
	accessor := struct{ AccessorID string }{}
	m.Do(t, http.MethodGet, "/v1/acl/token/self", "", "X-Consul-Token", deleted).JSON(t, &accessor)
	m.boss(http.MethodDelete, "/v1/acl/token/"+accessor.AccessorID, "").Want(t, http.StatusOK)
	expired := m.expired()
	asked := 0
	for _, r := range rows {
		rights := needed(r.rights)
		what := r.method + " " + r.path + " " + r.body
		ask := func(token string) testkit.Reply {
			asked++
			return m.ask(r.method, r.probe, token)
		}
		if r.odd != 0 {
			if got := ask(""); r.odd > 0 && got.Status != r.odd {
				t.Errorf("%s: status %d, want %d whoever asks: %s", what, got.Status, r.odd, got.Body)
			}
			continue
		}
		weak := map[string]string{}
		if len(rights) > 0 {
			weak["without a token"], weak["the anonymous token"] = "", "anonymous"
			weak["the right to others"] = m.token(rights.rules("zz-"))
			for resource, access := range rights {
				but := allBut(resource)
				delete(but, r.or)
				weak["everything but "+resource] = m.token(but.rules(""))
				if access == "write" {
					less := maps.Clone(but)
					less[resource] = "read"
					weak["only read of "+resource] = m.token(less.rules(""))
				}
			}
			if !slices.ContainsFunc(slices.Collect(maps.Keys(rights)), func(resource string) bool { return !nameless[resource] }) {
				delete(weak, "the right to others") // there are none
			}
		}
		got := map[string]testkit.Reply{}
		for who, token := range weak {
			got[who] = ask(token)
		}
		if len(rights) > 0 || !strings.HasPrefix(r.path, "/v1/") {
			for which, secret := range map[string]string{"a deleted": deleted, "an expired": expired} {
				if gone := ask(secret); gone.Status != http.StatusForbidden {
					t.Errorf("%s with %s token: status %d: %.200s", what, which, gone.Status, gone.Body)
				}
			}
		}
		if r.never {
			for who, reply := range got {
				if reply.Status != http.StatusForbidden {
					t.Errorf("%s, %s: status %d", what, who, reply.Status)
				}
			}
			continue
		}
		full := ask(m.token(rights.rules("")))
		if refused(full) || full.Header.Get("X-Consul-Results-Filtered-By-Acls") != "" {
			t.Errorf("%s with what the table says, %s: %d %v %.200s", what, r.rights, full.Status, full.Header["X-Consul-Results-Filtered-By-Acls"], full.Body)
		}
		for who, reply := range got {
			if !refused(reply) && (!reads(r.method, r.path) || r.alike || r.stream || reply.Status == full.Status && reply.Body == full.Body) {
				t.Errorf("%s, %s: status %d %.300s", what, who, reply.Status, reply.Body)
			}
		}
		if whole := ask(bossToken); refused(whole) || reads(r.method, r.path) && !r.alike && !r.stream && len(rights) > 0 && whole.Body != full.Body {
			t.Errorf("%s by management: %d %.300s\nwith %s: %.300s", what, whole.Status, whole.Body, r.rights, full.Body)
		}
	}
	t.Logf("%d requests with %d tokens", asked, len(m.tokens))
}

// refused reports whether an answer says that the token may not.
func refused(r testkit.Reply) bool {
	return r.Status == http.StatusForbidden || r.Status == http.StatusConflict && strings.Contains(r.Body, "Permission denied")
}

// reads are requests whose answers may leave things out instead.
func reads(method, path string) bool { return method == http.MethodGet || path == "/v1/txn" }

// ask makes a request; of a stream it reads nothing but the head.
func (m *matrix) ask(method string, p probe, token string) testkit.Reply {
	var headers []string
	if token != "" {
		headers = []string{"X-Consul-Token", token}
	}
	if !p.stream {
		return m.Do(m.t, method, m.fill(p.path), m.fill(p.body), headers...)
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.URL(p.path), bytes.NewReader(nil))
	if err != nil {
		m.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	resp, err := m.Client.HTTP.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	resp.Body.Close()
	return testkit.Reply{Status: resp.StatusCode, Header: resp.Header}
}
