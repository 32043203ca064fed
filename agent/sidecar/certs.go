package sidecar

import (
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/connect/proxy"
)

// certs is what one sidecar shows and believes. It outlives snapshots, which change what it holds.
type certs struct{ current atomic.Pointer[shown] }

var _ proxy.Certs = (*certs)(nil)

// shown is what is shown and believed at one time.
type shown struct {
	leaf       pair
	trust      *connect.Trust // of those that are connected to
	callers    *connect.Trust // of those that connect
	peers      peers
	generation uint64
	serial     string
	mesh       *mesh
}

// pair is a certificate and its key, as PEM until they are needed: parsed they take four times as much, and most of a node
// with many sidecars have nothing to do.
type pair struct {
	mu        sync.Mutex
	cert, key string // "" once they are parsed
	parsed    atomic.Pointer[tls.Certificate]
}

func (p *pair) certificate() (*tls.Certificate, error) {
	if c := p.parsed.Load(); c != nil {
		return c, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.parsed.Load(); c != nil {
		return c, nil
	}
	c, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
	if err != nil {
		return nil, err
	}
	p.parsed.Store(&c)
	p.cert, p.key = "", ""
	return &c, nil
}

// mesh is the own cluster: by what its services prove who they are. All sidecars have one.
type mesh struct {
	roots *catalog.Roots
	trust *connect.Trust
}

// with is the mesh with other roots, the same one if they are what it has.
func (m *mesh) with(roots *catalog.Roots) (*mesh, error) {
	if m != nil && sameRoots(m.roots, roots) {
		return m, nil
	}
	var pems []string
	for _, r := range roots.Roots {
		pems = append(pems, r.RootCert)
	}
	trust, err := connect.NewTrust(roots.TrustDomain, pems...)
	if err != nil {
		return m, fmt.Errorf("roots of the mesh: %w", err)
	}
	return &mesh{roots, trust}, nil
}

// peers are the clusters beside the own one whose services are believed: where they connect, and where they are connected
// to.
type peers struct{ in, out []*catalog.PeerTrust }

func (p peers) same(o peers) bool {
	return slices.EqualFunc(p.in, o.in, (*catalog.PeerTrust).Same) && slices.EqualFunc(p.out, o.out, (*catalog.PeerTrust).Same)
}

// inward is what a sidecar shows and believes where others connect to it.
type inward struct{ *certs }

// Trust implements proxy.Certs.
func (i inward) Trust() (*connect.Trust, error) { return i.current.Load().callers, nil }

// set takes up a certificate, roots and those of peers, if they are others than before.
func (c *certs) set(leaf *catalog.IssuedCert, m *mesh, others peers) error {
	old := c.current.Load()
	if old != nil && old.serial == leaf.SerialNumber && old.mesh == m && old.peers.same(others) {
		return nil
	}
	if _, err := tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM)); err != nil {
		return fmt.Errorf("certificate of service %q: %w", leaf.Service, err)
	}
	callers, err := m.trust.With(others.in...)
	if err != nil {
		return fmt.Errorf("roots of peers: %w", err)
	}
	trust, err := m.trust.With(others.out...)
	if err != nil {
		return fmt.Errorf("roots of peers: %w", err)
	}
	next := &shown{
		leaf: pair{cert: leaf.CertPEM, key: leaf.PrivateKeyPEM}, trust: trust, callers: callers, peers: others, generation: 1, serial: leaf.SerialNumber, mesh: m,
	}
	if old != nil {
		next.generation = old.generation + 1
	}
	c.current.Store(next)
	return nil
}

// sameRoots reports whether the same roots are believed.
func sameRoots(a, b *catalog.Roots) bool {
	if a == b {
		return true
	}
	if a.TrustDomain != b.TrustDomain || len(a.Roots) != len(b.Roots) {
		return false
	}
	for i := range a.Roots {
		if a.Roots[i].RootCert != b.Roots[i].RootCert {
			return false
		}
	}
	return true
}

// Certificate implements proxy.Certs.
func (c *certs) Certificate() (*tls.Certificate, error) { return c.current.Load().leaf.certificate() }

// Trust implements proxy.Certs.
func (c *certs) Trust() (*connect.Trust, error) { return c.current.Load().trust, nil }

// Generation implements proxy.Certs.
func (c *certs) Generation() uint64 { return c.current.Load().generation }
