package rpc

import (
	"crypto/x509"
	"fmt"
	"net"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	// Addr is the remote address.
	Addr net.Addr
	// Certificate is the peer's leaf, verified by crypto/tls against the roots of the TLS configuration;
	// nil where TLS is off or no client certificate was verified.
	Certificate *x509.Certificate
	// Shown is what the peer has shown under TLS, its leaf first, whether or not it was verified: that it has the key is
	// all that is known of it.
	Shown []*x509.Certificate
	// Identity is what ListenerOptions.Identify makes of the certificate.
	Identity Identity
	// Protocol is what the connection is for.
	Protocol Protocol
}

// String names the peer for logs and errors.
func (p Peer) String() string { return fmt.Sprintf("%v (%s)", p.Addr, p.Identity) }

// Role is what kind of agent a certificate is for.
type Role uint8

const (
	// RoleNone is a peer that has shown no certificate.
	RoleNone Role = iota
	// RoleClient is a peer whose certificate is of no server.
	RoleClient
	// RoleServer is a server.
	RoleServer
)

// Identity is who a peer is by its certificate.
type Identity struct {
	Role Role
	// Datacenter is that of a server, and of a client agent whose certificate names one.
	Datacenter string
	// Name is what the certificate calls itself, for logs and errors only.
	Name string
}

// String says it in words.
func (i Identity) String() string {
	switch i.Role {
	case RoleServer:
		return fmt.Sprintf("a server of datacenter %s, %q", i.Datacenter, i.Name)
	case RoleClient:
		return fmt.Sprintf("a client, %q", i.Name)
	}
	return "without a certificate"
}

// From says which peers may call a verb, whatever their token allows.
type From uint8

const (
	// FromAnyone lets those in that have no certificate yet: it is how they get their first one.
	FromAnyone From = iota + 1
	// FromAgents lets in every agent: with a certificate, where these are demanded.
	FromAgents
	// FromCertified lets in agents with a certificate only, also where none is demanded: the answer is secret.
	FromCertified
	// FromServers lets in the servers of this datacenter only, where certificates tell them.
	FromServers
	// FromFederation lets in the servers of every datacenter, where certificates tell them.
	FromFederation
)

// String names it for the reference.
func (f From) String() string {
	switch f {
	case FromAnyone:
		return "anyone"
	case FromAgents:
		return "agent"
	case FromCertified:
		return "agent with certificate"
	case FromServers:
		return "server"
	case FromFederation:
		return "server of any datacenter"
	}
	return "unstated"
}

// Demands are what a server asks of the peers that connect to it.
type Demands struct {
	// Certificates is whether each has to show one.
	Certificates bool
	// Servers is whether servers are told by their certificates.
	Servers bool
	// Datacenter is the server's own.
	Datacenter string
}

// Refuse says why a peer may not do what is from so many, nil when it may.
func (d Demands) Refuse(f From, p Peer) error {
	server := p.Identity.Role == RoleServer && p.Identity.Datacenter == d.Datacenter
	switch {
	case f == FromAnyone:
		return nil
	case p.Protocol == ProtocolIntro:
		return fmt.Errorf("connections without a certificate are for getting one: %v", p)
	case f == FromAgents && (p.Identity.Role != RoleNone || !d.Certificates):
		return nil
	case f == FromCertified && p.Identity.Role != RoleNone:
		return nil
	case (f == FromServers || f == FromFederation) && !d.Servers && (p.Identity.Role != RoleNone || !d.Certificates):
		return nil
	case f == FromServers && server, f == FromFederation && p.Identity.Role == RoleServer:
		return nil
	case f == FromFederation:
		return fmt.Errorf("it is for the servers of datacenters: %v", p)
	case f == FromServers:
		return fmt.Errorf("it is for the servers of datacenter %s: %v", d.Datacenter, p)
	}
	return fmt.Errorf("it needs a certificate that the CA of this server has signed: %v", p)
}
