package check

import (
	"cmp"
	"maps"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// Asks says which host a check asks, and for which path at which port, so that a proxy can pass on exactly that. It is false
// for checks that are not of HTTP or gRPC, or that need TLS with their target.
func Asks(def *catalog.AgentCheck) (host string, path catalog.ExposePath, ok bool) {
	path.ParsedFromCheck = true
	port := ""
	switch def.Kind() {
	case "http":
		u, err := url.Parse(def.HTTP)
		if err != nil || u.Scheme != "http" {
			return "", path, false
		}
		host, port = u.Hostname(), cmp.Or(u.Port(), "80")
		path.Path, path.Protocol = cmp.Or(u.EscapedPath(), "/"), "http"
	case "grpc":
		hostport, _, _ := strings.Cut(def.GRPC, "/")
		at, err := address("grpc", hostport)
		if err != nil || def.GRPCUseTLS {
			return "", path, false
		}
		host, port, _ = net.SplitHostPort(at) // it was joined just now
		path.Path, path.Protocol = grpcPath, "http2"
	default:
		return "", path, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	path.LocalPathPort = int(n)
	return host, path, err == nil && n > 0
}

// Through is the check as it is made at another address, host:port, that leads where the check's own does. The service
// is asked for the host that it was asked for.
func Through(def *catalog.AgentCheck, at string) *catalog.AgentCheck {
	next := *def
	switch def.Kind() {
	case "http":
		u, err := url.Parse(def.HTTP)
		if err != nil {
			return def
		}
		named := false
		for key := range def.Header {
			named = named || strings.EqualFold(key, "Host")
		}
		if !named {
			next.Header = map[string][]string{"Host": {u.Host}}
			maps.Copy(next.Header, def.Header)
		}
		u.Host = at
		next.HTTP = u.String()
	case "grpc":
		_, service, some := strings.Cut(def.GRPC, "/")
		if next.GRPC = at; some {
			next.GRPC += "/" + service
		}
	}
	return &next
}
