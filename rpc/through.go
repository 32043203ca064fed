package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Gateways are the ways to servers to whose addresses nothing leads. A gateway reads the name in the first message of TLS
// and passes the connection on as it is. Its methods do not block, and are called by many goroutines at once.
type Gateways interface {
	// To lists the addresses of the gateways that lead to addr, in the order in which to try them. An error says why there
	// are none.
	To(addr string) ([]string, error)
	// Tried hears what came of it; with a nil error the gateway has led there.
	Tried(gateway string, err error)
}

// maxGateways is how many are tried for one connection.
const maxGateways = 6

// Led remembers which gateways have led nowhere of late. Its zero value is ready, and many goroutines may use it.
type Led struct {
	mu     sync.Mutex
	failed map[string]time.Time // gateways that have not led to a server, and when
}

// gatewayRest is how long a gateway that has led nowhere is tried after the others.
const gatewayRest = 30 * time.Second

// Sort puts the gateways that have just led nowhere behind the others, those that did so last at the end.
func (l *Led) Sort(gateways []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortStableFunc(gateways, func(a, b string) int { return l.failed[a].Compare(l.failed[b]) })
}

// Tried hears what came of a gateway, as Gateways has it.
func (l *Led) Tried(gateway string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for other, when := range l.failed {
		if other == gateway || now.Sub(when) > gatewayRest {
			delete(l.failed, other)
		}
	}
	if err == nil {
		return
	}
	if l.failed == nil {
		l.failed = map[string]time.Time{}
	}
	l.failed[gateway] = now
}

// through connects to addr through the first gateway that leads there. Each has an equal share of what is left of the time,
// so one that is silent does not use up that of the others.
func (d *Dialer) through(ctx context.Context, addr string, protocol Protocol) (net.Conn, error) {
	gateways, err := d.Through.To(addr)
	if err != nil {
		return nil, fmt.Errorf("%s to %s: %w", protocol, addr, err)
	}
	gateways = gateways[:min(len(gateways), maxGateways)]
	var tried []string
	var errs []error
	for i, gateway := range gateways {
		conn, err := d.passed(ctx, gateway, addr, protocol, len(gateways)-i)
		if ctx.Err() == nil || err == nil { // else it was given no time
			d.Through.Tried(gateway, err)
		}
		if err == nil {
			return conn, nil
		}
		tried, errs = append(tried, fmt.Sprintf("%s: %v", gateway, err)), append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, &GatewayError{Addr: addr, Protocol: protocol, Tried: tried, errs: errs}
}

// passed connects to addr through one gateway, in its share of the time.
func (d *Dialer) passed(ctx context.Context, gateway, addr string, protocol Protocol, share int) (net.Conn, error) {
	if until, ok := ctx.Deadline(); ok && share > 1 {
		most := time.Until(until) / time.Duration(share)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most, fmt.Errorf("silent for %v", most.Round(time.Millisecond)))
		defer cancel()
	}
	conn, err := d.connect(ctx, gateway)
	if err != nil {
		return nil, err
	}
	ready, err := d.greet(ctx, conn, addr, protocol)
	if err != nil {
		conn.Close()
		return nil, passHint(because(ctx, err), protocol)
	}
	return ready, nil
}

// GatewayError is that no gateway has led to a server.
type GatewayError struct {
	Addr     string
	Protocol Protocol
	Tried    []string // each gateway, and what came of it

	errs []error
}

// Error implements error.
func (e *GatewayError) Error() string {
	return fmt.Sprintf("no mesh gateway leads to %s (%s): tried %s", e.Addr, e.Protocol, strings.Join(e.Tried, "; "))
}

// Unwrap are the errors of the gateways.
func (e *GatewayError) Unwrap() []error { return e.errs }

// alertOf is the alert of TLS that the other side has sent, in words, since its type is not exported; empty for none.
func alertOf(err error) string {
	var broken *net.OpError
	if errors.As(err, &broken) && broken.Op == "remote error" {
		return broken.Err.Error()
	}
	return ""
}

// unrecognized is the alert of a gateway that knows nobody by a name (RFC 6066 section 3).
const unrecognized = "unrecognized name"

// passHint says what a failure of TLS through a gateway most likely means, and which side has to do something.
func passHint(err error, protocol Protocol) error {
	var shown *tls.CertificateVerificationError
	alert := alertOf(err)
	switch here, there := outdated(err); {
	case protocol == ProtocolPeer && strings.HasSuffix(alert, unrecognized):
		return fmt.Errorf("%w: a gateway on the way does not lead to that cluster's servers, or not yet: is Peering.PeerThroughMeshGateways set in the config entry mesh of the cluster that it is of, and does its token have service:write on its own name?", err)
	case protocol == ProtocolPeer && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return fmt.Errorf("%w: the gateway has closed the connection: nothing answers at the addresses that are known of the other cluster", err)
	case strings.HasSuffix(alert, unrecognized):
		return fmt.Errorf("%w: the gateway knows no such server: is it registered with the metadata consul-wan-federation = 1, in one of the two datacenters?", err)
	case strings.HasSuffix(alert, "no application protocol"): // RFC 7301 section 3.2
		return fmt.Errorf("%w: the server does not federate through gateways: set connect.enable_mesh_gateway_wan_federation there", err)
	case here, there:
		return clockHint(err)
	case errors.As(err, &shown):
		return fmt.Errorf("%w: what the gateway leads to does not prove to be this server: the servers of both datacenters need certificates of one CA, for server.<datacenter>.<domain> and <node>.server.<datacenter>.<domain>", err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: the gateway has closed the connection: it finds no healthy server, or no gateway of that datacenter that answers", err)
	}
	return err
}
