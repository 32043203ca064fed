package chain

import (
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// DefaultProtocol is what a service speaks of which nothing is said.
const DefaultProtocol = "tcp"

// ForRequests reports whether a protocol has requests, which can be routed and split one by one.
// Source: https://developer.hashicorp.com/consul/docs/reference/config-entry/service-router
func ForRequests(protocol string) bool {
	return protocol == "http" || protocol == "http2" || protocol == "grpc"
}

// Protocol is what a service speaks by the entries.
func Protocol(service string, from Entries) string {
	return protocolOf(entry[catalog.ServiceDefaults](from, catalog.EntryServiceDefaults, service), entry[catalog.ProxyDefaults](from, catalog.EntryProxyDefaults, catalog.GlobalName))
}

// protocolOf is what a service speaks: what its own defaults say counts before those of all proxies.
func protocolOf(defaults *catalog.ServiceDefaults, proxy *catalog.ProxyDefaults) string {
	if defaults != nil && defaults.Protocol != "" {
		return strings.ToLower(defaults.Protocol)
	}
	if proxy != nil {
		if p, ok := proxy.Config["protocol"].(string); ok && p != "" {
			return strings.ToLower(p)
		}
	}
	return DefaultProtocol
}

// reach looks up a service that an entry leads to. All services of a chain speak the same.
func (c *compiler) reach(name string, via ref) (*service, error) {
	s := c.service(name)
	if s.protocol == c.protocol {
		return s, nil
	}
	return nil, catalog.Errorf(catalog.Invalid, "%s leads to service %q, which speaks %s (%s), but the chain of service %q speaks %s (%s): set the same Protocol in service-defaults/%s and service-defaults/%s",
		via, name, s.protocol, c.whence(s), c.Service, c.protocol, c.whence(c.start), c.Service, name)
}

// whence names the entry that says what a service speaks.
func (c *compiler) whence(s *service) string {
	switch {
	case s.defaults != nil && s.defaults.Protocol != "":
		return s.defaults.String()
	case c.proxy != nil && protocolOf(nil, c.proxy) == s.protocol && c.proxy.Config["protocol"] != nil:
		return c.proxy.String()
	}
	return "by default"
}

// notForRequests is the error of a router or splitter of a service that has no requests.
func (c *compiler) notForRequests(head *catalog.EntryHead, s *service) error {
	return catalog.Errorf(catalog.Invalid, "%s: service %q speaks %s (%s), which cannot be routed by request: set Protocol to http, http2 or grpc in service-defaults/%s, or protocol in the Config of proxy-defaults/%s",
		head, s.name, s.protocol, c.whence(s), s.name, catalog.GlobalName)
}
