package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc"
)

// Peers is how the connections between agents are secured. It implements server.Security.
type Peers struct {
	datacenter, domain string
	server             bool
	node               string // whose name the certificate has to have; empty is none's
	current            atomic.Pointer[present]

	mu    sync.Mutex // held while current is replaced
	files *Material  // what the settings name
	rules config.TLSInterface
	own   *tls.Certificate // from the servers, shown where the settings name none; nil for none
	mesh  *connect.Trust   // whose agents are believed too; nil for none
}

// present is one state of it.
type present struct {
	*Material
	rules       config.TLSInterface
	mesh        *connect.Trust
	serve, dial *tls.Config
	intro       *tls.Config // as dial, and shows nothing
}

// NewPeers is for an agent of a datacenter, in a domain such as "consul."; Prepare must give it what to show.
func NewPeers(datacenter, domain string, server bool) *Peers {
	return &Peers{datacenter: datacenter, domain: strings.ToLower(strings.TrimSuffix(domain, ".")), server: server}
}

// Name makes Prepare demand that the certificate has the name of this node among the servers, by which those of other
// datacenters know it where gateways lead to it. It comes before Prepare.
func (p *Peers) Name(node string) { p.node = node }

// ServerName is the name in the certificates of a datacenter's servers.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls (verify_server_hostname)
func (p *Peers) ServerName() string { return serverName(p.datacenter, p.domain) }

// nodeName is the name in the certificate of one server.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway/enable (TLS)
func nodeName(node, datacenter, domain string) string {
	return node + "." + serverName(datacenter, domain)
}

func serverName(datacenter, domain string) string { return "server." + datacenter + "." + domain }

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
	if p.node != "" {
		name := nodeName(p.node, p.datacenter, p.domain)
		if m.Certificate == nil || m.Certificate.Leaf.VerifyHostname(name) != nil {
			return nil, fmt.Errorf("%s: with connect.enable_mesh_gateway_wan_federation other datacenters know this server by the name %s, and the certificate in %s does not have it: make one with tls cert create -server -node=%s -dc=%s -domain=%s",
				what, name, t.CertFile, p.node, p.datacenter, p.domain)
		}
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.files, p.rules = m, t
		p.replace()
	}, nil
}

// Show makes the agent show a certificate that it has from the servers, where its settings name none.
func (p *Peers) Show(own *tls.Certificate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own = own
	p.replace()
}

// Believe lets agents in whose certificates the mesh's authority has signed: agents of this datacenter, and nothing else
// that it signs. They are never taken for servers.
func (p *Peers) Believe(mesh *connect.Trust) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mesh = mesh
	p.replace()
}

// replace puts together what is to be present. The lock is held.
func (p *Peers) replace() {
	if p.files == nil {
		return // Prepare comes first
	}
	m := *p.files
	if m.Certificate == nil {
		m.Certificate = p.own
	}
	next := &present{Material: &m, rules: p.rules, mesh: p.mesh, serve: m.Server(p.rules.VerifyIncoming), dial: m.base()}
	switch {
	case p.rules.VerifyServerHostname:
		next.dial.RootCAs, next.dial.ServerName = m.Roots, p.ServerName()
	case p.rules.VerifyOutgoing:
		next.dial.InsecureSkipVerify = true // of the name only
		next.dial.ServerName = p.ServerName()
		next.dial.VerifyConnection = func(c tls.ConnectionState) error {
			return m.Verify(c.PeerCertificates, x509.ExtKeyUsageServerAuth)
		}
	default: // whoever sets neither wants to be hidden from listeners, as Consul does it, and no more
		next.dial.InsecureSkipVerify = true
		next.dial.ServerName = p.ServerName()
	}
	next.intro = next.dial.Clone()
	next.intro.Certificates = nil
	if p.mesh != nil && next.serve != nil {
		p.widen(next)
	}
	p.current.Store(next)
}

// widen makes what is served with believe agents of the mesh too.
func (p *Peers) widen(next *present) {
	all := x509.NewCertPool()
	if next.Roots != nil {
		all = next.Roots.Clone()
	}
	for _, root := range next.mesh.Certs {
		all.AddCert(root)
	}
	next.serve.ClientCAs = all
	if next.serve.ClientAuth == tls.NoClientCert {
		next.serve.ClientAuth = tls.VerifyClientCertIfGiven
	}
	next.serve.VerifyConnection = func(c tls.ConnectionState) error {
		if len(c.PeerCertificates) == 0 {
			return nil // and ClientAuth has said whether that may be
		}
		return p.believes(next, c.PeerCertificates, x509.ExtKeyUsageClientAuth)
	}
}

// believes says why what a peer has shown is not believed: by the CA of the agents, or else as an agent of the mesh.
func (p *Peers) believes(now *present, shown []*x509.Certificate, usage x509.ExtKeyUsage) error {
	var err error
	if now.Roots != nil {
		if err = now.Verify(shown, usage); err == nil {
			return nil
		}
	}
	if now.mesh == nil {
		return err
	}
	id, meshErr := now.mesh.Verify(shown, usage)
	switch {
	case meshErr != nil:
		return errors.Join(err, meshErr)
	case id.Kind != connect.KindAgent || id.Datacenter != p.datacenter:
		return fmt.Errorf("%s is no agent of datacenter %s", id, p.datacenter)
	}
	return nil
}

// Intro is what servers are connected to with that are to give a certificate: none is shown.
func (p *Peers) Intro(string) (*tls.Config, error) { return p.current.Load().intro, nil }

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

// Abroad implements server.Security.
func (p *Peers) Abroad(datacenter, node string) (*tls.Config, error) {
	config := p.current.Load().dial.Clone()
	config.ServerName = serverName(datacenter, p.domain)
	if node != "" {
		config.ServerName = nodeName(node, datacenter, p.domain)
	}
	return config, nil
}

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
	if now.Roots == nil && now.mesh == nil {
		return nil
	}
	return p.believes(now, shown, x509.ExtKeyUsageAny)
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
