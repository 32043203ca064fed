package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
)

// Peers is how the connections between agents are secured. It implements server.Security.
type Peers struct {
	datacenter, domain string
	server             bool
	current            atomic.Pointer[present]
}

// present is one state of it.
type present struct {
	*Material
	rules       config.TLSInterface
	serve, dial *tls.Config
}

// NewPeers is for an agent of a datacenter, in a domain such as "consul."; Prepare must give it what to show.
func NewPeers(datacenter, domain string, server bool) *Peers {
	return &Peers{datacenter: datacenter, domain: strings.ToLower(strings.TrimSuffix(domain, ".")), server: server}
}

// ServerName is the name in the certificates of a datacenter's servers.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls (verify_server_hostname)
func (p *Peers) ServerName() string { return "server." + p.datacenter + "." + p.domain }

// Prepare reads what the settings name. Nothing changes before the returned function is called.
func (p *Peers) Prepare(t config.TLSInterface) (take func(), err error) {
	const what = "tls.internal_rpc"
	m, err := Read(what, t)
	if err != nil {
		return nil, err
	}
	if p.server && t.VerifyServerHostname {
		if m.Certificate == nil {
			return nil, fmt.Errorf("%s: verify_server_hostname makes others ask this server for a certificate: set cert_file and key_file", what)
		}
		if err := m.Certificate.Leaf.VerifyHostname(p.ServerName()); err != nil {
			return nil, fmt.Errorf("%s: with verify_server_hostname servers are told by the name %s, and the certificate in %s does not have it: make one with tls cert create -server -dc=%s -domain=%s",
				what, p.ServerName(), t.CertFile, p.datacenter, p.domain)
		}
	}
	next := &present{Material: m, rules: t, serve: m.Server(t.VerifyIncoming), dial: m.base()}
	switch {
	case t.VerifyServerHostname:
		next.dial.RootCAs, next.dial.ServerName = m.Roots, p.ServerName()
	case t.VerifyOutgoing:
		next.dial.InsecureSkipVerify = true // of the name only
		next.dial.ServerName = p.ServerName()
		next.dial.VerifyConnection = func(c tls.ConnectionState) error {
			return m.Verify(c.PeerCertificates, x509.ExtKeyUsageServerAuth)
		}
	default: // whoever sets neither wants to be hidden from listeners, as Consul does it, and no more
		next.dial.InsecureSkipVerify = true
		next.dial.ServerName = p.ServerName()
	}
	return func() { p.current.Store(next) }, nil
}

// Certificate is what is shown at present, nil for none.
func (p *Peers) Certificate() *tls.Certificate { return p.current.Load().Material.Certificate }

// Serve implements server.Security.
func (p *Peers) Serve() (*tls.Config, error) {
	if c := p.current.Load().serve; c != nil {
		return c, nil
	}
	return nil, errors.New("no certificate is loaded: set cert_file and key_file in tls.internal_rpc or tls.defaults")
}

// Dial implements server.Security.
func (p *Peers) Dial(string) (*tls.Config, error) { return p.current.Load().dial, nil }

// PlainIn implements server.Security.
func (p *Peers) PlainIn() bool { return !p.current.Load().rules.VerifyIncoming }

// PlainOut implements server.Security. Who demands certificates of others is in a cluster that has them.
func (p *Peers) PlainOut() bool {
	r := p.current.Load().rules
	return !r.VerifyOutgoing && !r.VerifyIncoming
}

// Demands implements server.Security. Where nobody asks for servers' names, certificates do not tell servers from
// client agents.
func (p *Peers) Demands() rpc.Demands {
	r := p.current.Load().rules
	return rpc.Demands{Certificates: r.VerifyIncoming, Servers: r.VerifyIncoming && r.VerifyServerHostname, Datacenter: p.datacenter}
}

// KnowsServers reports whether a server that answers is surely one: its name is asked for.
func (p *Peers) KnowsServers() bool { return p.current.Load().rules.VerifyServerHostname }

// Believed says whether what a peer has shown would still be believed today.
func (p *Peers) Believed(shown []*x509.Certificate) error {
	now := p.current.Load()
	if now.Roots == nil {
		return nil
	}
	return now.Verify(shown, x509.ExtKeyUsageAny)
}

// Identify implements server.Security. A server is who has the name of one. Who has an identity in the mesh has been
// certified by the mesh's authority, which makes no servers, and is an agent or nobody here: services are not.
func (p *Peers) Identify(cert *x509.Certificate) rpc.Identity {
	who := rpc.Identity{Role: rpc.RoleClient, Name: cert.Subject.CommonName}
	if who.Name == "" && len(cert.DNSNames) > 0 {
		who.Name = cert.DNSNames[0]
	}
	if len(cert.URIs) > 0 {
		id, err := connect.IDOf(cert)
		if who.Name == "" {
			who.Name = cert.URIs[0].String()
		}
		if who.Datacenter = id.Datacenter; err != nil || id.Kind != connect.KindAgent {
			who.Role = rpc.RoleNone
		}
		return who
	}
	for _, name := range cert.DNSNames {
		role, rest, _ := strings.Cut(strings.ToLower(name), ".")
		dc, domain, _ := strings.Cut(rest, ".")
		switch {
		case domain != p.domain || dc == "":
		case role == "server" && mayServe(cert):
			who.Role, who.Datacenter = rpc.RoleServer, dc
			if dc == p.datacenter {
				return who
			}
		case role == "client" && who.Role == rpc.RoleClient:
			who.Datacenter = dc
		}
	}
	return who
}

// mayServe reports whether a certificate is good for serving: one that is only for asking names a server in vain.
func mayServe(cert *x509.Certificate) bool {
	return len(cert.ExtKeyUsage) == 0 || slices.ContainsFunc(cert.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny
	})
}
