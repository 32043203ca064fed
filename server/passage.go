package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/rpc"
)

// PassageOptions configure a Passage.
type PassageOptions struct {
	Datacenter string
	// Primary is the primary datacenter, and Gateways the addresses of mesh gateways there, host:port, for when nothing else
	// is known of them.
	Primary  string
	Gateways []string
	// TLS is what a server of another datacenter is connected to with; without a node, any server there.
	TLS func(datacenter, node string) (*tls.Config, error)
	// Connect makes the connections to gateways; nil is by the network of the machine.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
}

// Passage is the way to the servers of other datacenters where nothing but mesh gateways leads there: through one of the
// own datacenter, or else one of theirs. Servers are named as in the WAN pool, "node.datacenter"; with "*" for the node it
// is any of the datacenter. It implements gossip.Beyond and rpc.Gateways.
// Source: https://developer.hashicorp.com/consul/docs/east-west/mesh-gateway/enable
type Passage struct {
	o       PassageOptions
	store   atomic.Pointer[state.Store] // what the server knows of gateways, once it is open
	dialer  rpc.Dialer
	secured rpc.Conns // of gossip, that were dialed
	rpc.Led
}

const (
	// passageDial bounds how long it may take to be connected through gateways, all that are tried together.
	passageDial = 4 * time.Second
	// gatewaysOfEach is how many gateways of each kind are tried for one connection.
	gatewaysOfEach = 3
)

// NewPassage returns the way for a server, whose Config is to have it.
func NewPassage(o PassageOptions) *Passage {
	p := &Passage{o: o}
	connect := o.Connect
	if connect == nil {
		connect = (&net.Dialer{Control: boundLoss(lostAfter)}).DialContext
	}
	p.dialer = rpc.Dialer{Through: p, Timeout: passageDial, Connect: connect, TLS: func(name string) (*tls.Config, error) {
		node, datacenter := memberName(name)
		if node == anyNode {
			return o.TLS(datacenter, "")
		}
		if !catalog.IsDNSLabel(node) {
			return nil, fmt.Errorf("the node name %q cannot be in a name of TLS, by which gateways know where to lead: give that server another node_name", node)
		}
		return o.TLS(datacenter, node)
	}}
	return p
}

// recheck ends the connections to servers whose certificates are not believed any more, and returns how many.
func (p *Passage) recheck(believed func([]*x509.Certificate) error) int {
	if p == nil {
		return 0
	}
	return p.secured.Recheck(believed)
}

// anyNode is the node of a name that is any server of a datacenter.
const anyNode = "*"

// memberName is what a name in the WAN pool says.
func memberName(name string) (node, datacenter string) {
	at := strings.LastIndexByte(name, '.')
	if at < 0 {
		return name, ""
	}
	return name[:at], name[at+1:]
}

// Leads implements gossip.Beyond.
func (p *Passage) Leads(name string) bool {
	_, datacenter := memberName(name)
	return datacenter != "" && datacenter != p.o.Datacenter
}

// Dial implements gossip.Beyond.
func (p *Passage) Dial(ctx context.Context, name string, packets bool) (net.Conn, error) {
	protocol := rpc.ProtocolGossip
	if packets {
		protocol = rpc.ProtocolPackets
	}
	conn, err := p.dialer.Dial(ctx, name, protocol)
	if err != nil {
		return nil, err
	}
	return &heldConn{conn, p.secured.Add(conn, nil)}, nil
}

// heldConn is a connection that is looked at when certificates change.
type heldConn struct {
	net.Conn
	gone func()
}

// Close implements net.Conn.
func (c *heldConn) Close() error {
	c.gone()
	return c.Conn.Close()
}

// To implements rpc.Gateways.
func (p *Passage) To(name string) ([]string, error) {
	_, datacenter := memberName(name)
	var own, theirs, named []string
	if store := p.store.Load(); store != nil {
		tx := store.Read()
		here, _ := state.Gateways(tx, nil, catalog.KindMeshGateway)
		own = exposed(here, func(i *catalog.Instance) (string, int) { return i.Address(), i.Service.Port })
		if told, _ := state.Federation(tx, nil, datacenter); told != nil {
			theirs = exposed(told.MeshGateways, (*catalog.Instance).Abroad)
		}
	}
	if datacenter == p.o.Primary {
		named = slices.Clone(p.o.Gateways)
	}
	var all []string
	for _, group := range [][]string{own, theirs, named} {
		rand.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
		p.Sort(group)
		for _, gateway := range group[:min(len(group), gatewaysOfEach)] {
			if !slices.Contains(all, gateway) {
				all = append(all, gateway)
			}
		}
	}
	if len(all) == 0 {
		hint := ""
		if datacenter == p.o.Primary {
			hint = "; or set primary_gateways"
		}
		return nil, fmt.Errorf("no mesh gateway leads to datacenter %s: register one in each datacenter with the metadata consul-wan-federation = 1%s", datacenter, hint)
	}
	p.Sort(all)
	return all, nil
}

// exposed are the addresses of the gateways that lead to servers, without those that are critical.
func exposed(list []*catalog.Instance, at func(*catalog.Instance) (string, int)) (all []string) {
	for _, i := range list {
		if host, port := at(i); i.Service.ExposesServers() && i.Status() != catalog.Critical && port > 0 {
			all = append(all, net.JoinHostPort(host, strconv.Itoa(port)))
		}
	}
	return all
}
