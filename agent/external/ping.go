package external

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/pause"
	"github.com/curia-mesh/curia/server/api"
)

// NodeHealth is the check of a node that is pinged.
const NodeHealth = "externalNodeHealth"

const (
	nodeHealthName = "External Node Status"
	pingEvery      = 10 * time.Second
	pingTimeout    = 5 * time.Second
	pingFailures   = 2 // in a row until a node is critical: a packet may get lost
)

// ping is a node that is pinged.
type ping struct {
	address string
	cancel  context.CancelFunc
}

// settlePings pings those of the nodes that want it, and no others. m.mu is held.
func (m *Monitor) settlePings(ctx context.Context, nodes map[string]*catalog.Node) {
	for name, p := range m.pings {
		if n := nodes[name]; n == nil || n.Meta[api.ExternalProbe] != "true" || n.Address != p.address {
			p.cancel()
			delete(m.pings, name)
		}
	}
	for name, n := range nodes {
		if n.Meta[api.ExternalProbe] != "true" {
			continue
		}
		if k := key(n.Node, NodeHealth); m.rows[k] == nil {
			m.rows[k] = &row{absent: true, check: catalog.Check{Node: n.Node, CheckID: NodeHealth, Name: nodeHealthName, Status: catalog.Critical}}
		}
		if m.pings[name] == nil {
			ctx, cancel := context.WithCancel(ctx)
			m.pings[name] = &ping{address: n.Address, cancel: cancel}
			m.pinging.Go(func() { m.keepPinging(ctx, n) }) // ends with ctx
		}
	}
}

func (m *Monitor) keepPinging(ctx context.Context, n *catalog.Node) {
	failures := 0
	for pause.For(ctx, rand.N(lookPause)); ctx.Err() == nil; pause.For(ctx, pingEvery) {
		limited, cancel := context.WithTimeout(ctx, pingTimeout)
		there := m.Ping(limited, n.Address)
		cancel()
		switch {
		case ctx.Err() != nil:
		case there:
			failures = 0
			m.report(ctx, key(n.Node, NodeHealth), catalog.Passing, "Node alive and reachable")
		default:
			if failures++; failures >= pingFailures {
				m.report(ctx, key(n.Node, NodeHealth), catalog.Critical, "Node not live or unreachable")
			}
		}
	}
}

// echoPort is asked where pings cannot be sent: whatever it answers, a refusal too, comes from a host that
// is there.
const echoPort = "7"

// Ping reports whether a host answers: an ICMP echo (RFC 792, RFC 4443), or an attempt to connect. It
// needs no privileges; where the system lets nobody send echoes the connection alone decides.
func Ping(ctx context.Context, address string) bool {
	answers := make(chan bool, 2)
	go func() { answers <- echo(ctx, address) }()     // ends with ctx
	go func() { answers <- connects(ctx, address) }() // ends with ctx
	if <-answers {
		return true
	}
	return <-answers
}

func connects(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(address, echoPort))
	if err == nil {
		conn.Close()
	}
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}

func echo(ctx context.Context, address string) bool {
	found, err := (&net.Resolver{}).LookupNetIP(ctx, "ip", address)
	if err != nil || len(found) == 0 {
		return false
	}
	ip := found[0].Unmap()
	network, local, request, reply, protocol := "udp4", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply), 1
	if ip.Is6() {
		network, local, request, reply, protocol = "udp6", "::", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	conn, err := icmp.ListenPacket(network, local)
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	message := icmp.Message{Type: request, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: 1, Data: []byte("are you there?")}}
	packet, err := message.Marshal(nil)
	if err != nil {
		return false
	}
	if _, err := conn.WriteTo(packet, &net.UDPAddr{IP: ip.AsSlice(), Zone: ip.Zone()}); err != nil {
		return false
	}
	for buf := make([]byte, 1500); ; {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return false
		}
		if m, err := icmp.ParseMessage(protocol, buf[:n]); err == nil && m.Type == reply {
			return true // the kernel hands over only what answers this socket
		}
	}
}
