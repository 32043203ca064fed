package connect

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/curia-mesh/curia/catalog"
)

// Kind says what an ID names.
type Kind string

// The kinds of identities.
const (
	// KindService is a service, all of whose instances share the identity.
	KindService Kind = "service"
	// KindAgent is the agent of a node.
	KindAgent Kind = "agent"
	// KindServer is any server of a datacenter.
	KindServer Kind = "server"
	// KindMeshGateway is any mesh gateway of a datacenter.
	KindMeshGateway Kind = "mesh gateway"
	// KindTrustDomain is the trust domain itself: the identity of its certificate authority.
	KindTrustDomain Kind = "trust domain"
)

// ID is an identity in the mesh. Two are the same when they are equal.
type ID struct {
	Kind Kind
	// TrustDomain is that of the cluster's certificate authority, such as <uuid>.consul.
	TrustDomain string
	// Datacenter is empty in the identity of a trust domain only.
	Datacenter string
	// Name is that of the service, or the id of the agent; else empty.
	Name string
}

// The bounds of a SPIFFE ID, in bytes.
// Source: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#23-maximum-spiffe-id-length
const (
	maxURI         = 2048
	maxTrustDomain = 255
)

// TrustDomain is the trust domain of a cluster.
func TrustDomain(clusterID string) string { return strings.ToLower(clusterID) + ".consul" }

// Service is the identity of a service.
func Service(trustDomain, datacenter, name string) ID {
	return ID{KindService, trustDomain, datacenter, name}
}

// String is the identity as a URI, in the one form that ParseID takes.
// Source: https://developer.hashicorp.com/consul/docs/secure-mesh/certificate
func (id ID) String() string {
	uri, dc := "spiffe://"+id.TrustDomain, "/dc/"+url.PathEscape(id.Datacenter)
	switch id.Kind {
	case KindService:
		return uri + "/ns/default" + dc + "/svc/" + url.PathEscape(id.Name)
	case KindAgent:
		return uri + "/agent/client" + dc + "/id/" + url.PathEscape(id.Name)
	case KindServer:
		return uri + "/agent/server" + dc
	case KindMeshGateway:
		return uri + "/gateway/mesh" + dc
	}
	return uri
}

// URL is the identity as certificates carry it.
func (id ID) URL() *url.URL {
	u, err := url.Parse(id.String())
	if err != nil {
		return &url.URL{Scheme: "spiffe", Host: id.TrustDomain} // only of an ID that Validate refuses
	}
	return u
}

// ParseID reads an identity. It is strict: one identity has one form, so that what is compared as text
// here, by another proxy or in a log is the same everywhere.
func ParseID(uri string) (ID, error) {
	fail := func(why string, args ...any) (ID, error) {
		return ID{}, catalog.Errorf(catalog.Invalid, "SPIFFE id %.200q: %s", uri, fmt.Sprintf(why, args...))
	}
	if len(uri) > maxURI {
		return fail("it has %d bytes, at most %d are allowed", len(uri), maxURI)
	}
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	if !ok {
		return fail("it does not begin with spiffe://")
	}
	domain, path, _ := strings.Cut(rest, "/")
	parts := strings.Split(path, "/")
	for i, p := range parts {
		plain, err := url.PathUnescape(p)
		if err != nil {
			return fail("%v", err)
		}
		parts[i] = plain
	}
	id := ID{TrustDomain: domain}
	switch {
	case path == "":
		id.Kind = KindTrustDomain
	case shaped(parts, "ns", "", "dc", "", "svc", ""):
		if parts[1] != "default" {
			return fail("namespace %q does not exist: there is only %q", parts[1], "default")
		}
		id.Kind, id.Datacenter, id.Name = KindService, parts[3], parts[5]
	case shaped(parts, "agent", "client", "dc", "", "id", ""):
		id.Kind, id.Datacenter, id.Name = KindAgent, parts[3], parts[5]
	case shaped(parts, "agent", "server", "dc", ""):
		id.Kind, id.Datacenter = KindServer, parts[3]
	case shaped(parts, "gateway", "mesh", "dc", ""):
		id.Kind, id.Datacenter = KindMeshGateway, parts[3]
	default:
		return fail("its path is none of a service, an agent, a server or a mesh gateway")
	}
	if err := id.Validate(); err != nil {
		return ID{}, err
	}
	if id.String() != uri {
		return fail("it is not in its one form, which is %q", id)
	}
	return id, nil
}

// shaped reports whether the parts are those of a form, where an empty one may be anything.
func shaped(parts []string, form ...string) bool {
	if len(parts) != len(form) {
		return false
	}
	for i, want := range form {
		if want != "" && parts[i] != want {
			return false
		}
	}
	return true
}

// Validate refuses what has no place in an identity.
func (id ID) Validate() error {
	wrong := func(what, value, why string) error {
		return catalog.Errorf(catalog.Invalid, "SPIFFE id: %s %.200q %s", what, value, why)
	}
	if !isTrustDomain(id.TrustDomain) {
		return wrong("trust domain", id.TrustDomain, "is no name of lower-case letters, digits, dots, dashes and underscores")
	}
	if id.Kind == KindTrustDomain {
		return nil
	}
	if id.Datacenter == "" || !onlyOf(id.Datacenter, "-_") {
		return wrong("datacenter", id.Datacenter, "is no name of lower-case letters, digits, dashes and underscores")
	}
	if (id.Kind == KindService || id.Kind == KindAgent) && !isSegment(id.Name) {
		return wrong("name", id.Name, "is empty, a dot segment, or no printable text")
	}
	if id.Kind == KindService && id.Name == catalog.Wildcard {
		return wrong("name", id.Name, "stands for every service: it is none")
	}
	if n := len(id.String()); n > maxURI {
		return wrong("name", id.Name, fmt.Sprintf("is too long: the id has %d bytes, at most %d are allowed", n, maxURI))
	}
	return nil
}

func isTrustDomain(name string) bool {
	return name != "" && len(name) <= maxTrustDomain && onlyOf(name, ".-_")
}

// onlyOf reports whether a name has only lower-case letters, digits and some other characters.
func onlyOf(name, others string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(others, r)
	})
}

// isSegment reports whether a name can be a segment of a path, escaped or not.
func isSegment(name string) bool {
	if name == "" || name == "." || name == ".." || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}
