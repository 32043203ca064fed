package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxHostAddresses limits how many addresses of one name are joined.
const maxHostAddresses = 64

// Join exchanges state with the nodes at addrs: an IP address or name, each with an optional port (else the own one)
// and an optional "node/" before it. It returns how many addresses answered, with an error only when none did. User
// events of before are not replayed. One address takes at most Timings.StreamTimeout; ctx is obeyed between them.
func (p *Pool) Join(ctx context.Context, addrs []string) (int, error) {
	var (
		joined int
		errs   []error
	)
	if err := p.ended(); err != nil {
		return 0, err
	}
	for _, a := range addrs {
		targets, err := p.resolve(ctx, a)
		if err != nil {
			errs = append(errs, fmt.Errorf("%.260q: %w", a, err))
		}
		for _, target := range targets {
			if err := ctx.Err(); err != nil {
				return joined, err
			}
			if _, err := p.serf.Join([]string{target}, true); err != nil {
				errs = append(errs, joinError(err))
				continue
			}
			if err := p.roster.avoids(target[strings.Index(target, "/")+1:]); err != nil {
				errs = append(errs, err) // only those were taken whom it knows
				continue
			}
			joined++
		}
	}
	switch {
	case joined > 0:
		p.fallBehind()
		return joined, nil
	case len(addrs) == 0:
		return 0, errors.New("join: no address given")
	case len(errs) > 5:
		errs = append(errs[:5], fmt.Errorf("and %d more", len(errs)-5))
	}
	return 0, fmt.Errorf("gossip %s: join: nobody answered: %w", p.cfg.Kind, errors.Join(errs...))
}

// JoinBeyond exchanges state with the member of a name that is reached by Config.Beyond, where its address does not matter.
func (p *Pool) JoinBeyond(name string) error {
	if err := p.ended(); err != nil {
		return err
	}
	if _, err := p.serf.Join([]string{name + "/" + p.self.String()}, true); err != nil {
		return fmt.Errorf("gossip %s: join: %w", p.cfg.Kind, joinError(err))
	}
	p.fallBehind()
	return nil
}

// joinError is the one error that memberlist wraps in a list over several lines.
func joinError(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// resolve returns the "ip:port" of a join address, each with its "node/" again. It looks names up by itself: the
// library asks for all records over TCP first, without a way to stop it.
func (p *Pool) resolve(ctx context.Context, addr string) ([]string, error) {
	node, rest, found := strings.Cut(addr, "/")
	if !found {
		node, rest = "", addr
	} else if err := ValidateName(node); err != nil {
		return nil, err
	} else {
		node += "/"
	}
	host, port := rest, p.self.Port()
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		if h, s, err := net.SplitHostPort(rest); err == nil {
			n, err := strconv.ParseUint(s, 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("port %.20q is not between 1 and 65535", s)
			}
			host, port = h, uint16(n)
		}
		ip, err = netip.ParseAddr(host)
	}
	if err == nil && ip.Zone() == "" {
		return []string{node + netip.AddrPortFrom(ip.Unmap(), port).String()}, nil
	}
	if host == "" || strings.ContainsAny(host, ":%/ \t\n") {
		return nil, errors.New("not an address: give host, host:port or [ipv6]:port")
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	targets := make([]string, 0, len(ips))
	for _, ip := range ips[:min(len(ips), maxHostAddresses)] {
		targets = append(targets, node+netip.AddrPortFrom(ip.Unmap(), port).String())
	}
	return targets, nil
}
