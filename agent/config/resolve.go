package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/catalog"
)

// resolve makes addresses of templates and fills what depends on the host.
func (l *loader) resolve() {
	c := l.config
	c.Datacenter = strings.ToLower(c.Datacenter)
	c.PrimaryDatacenter = strings.ToLower(c.PrimaryDatacenter)
	if c.PrimaryDatacenter == "" {
		c.PrimaryDatacenter = c.Datacenter
	}
	c.LogLevel = strings.ToLower(c.LogLevel)
	if c.LogLevel == "err" {
		c.LogLevel = "error"
	}
	for _, text := range []*string{
		&c.ACL.DefaultPolicy, &c.ACL.DownPolicy, &c.Connect.CAProvider, &c.DNS.RecursorStrategy, &c.Limits.RequestLimits.Mode, &c.RaftLogStore.Backend, &c.NodeID,
	} {
		*text = strings.ToLower(*text)
	}
	c.Domain, c.AltDomain = absolute(c.Domain), absolute(c.AltDomain)
	c.UI.ContentPath = "/" + strings.Trim(c.UI.ContentPath, "/") + "/"
	if c.UI.ContentPath == "//" {
		c.UI.ContentPath = "/"
	}
	if c.BootstrapExpect == 0 && (c.Bootstrap || c.Dev) {
		c.BootstrapExpect = 1
	}
	for _, p := range []*int{&c.Ports.DNS, &c.Ports.HTTP, &c.Ports.HTTPS, &c.Ports.GRPC, &c.Ports.GRPCTLS, &c.Ports.SerfWAN} {
		*p = max(*p, -1)
	}
	if c.NodeName == "" {
		name, err := l.args.hostname()
		if err != nil || name == "" {
			l.failAt("node_name", "the host has no name (%v): set node_name", err)
		}
		c.NodeName = name
	}
	if warning := catalog.WarnDNS("node", c.NodeName); warning != "" {
		l.warn("node_name", "%s", warning)
	}
	if l.templates(); len(l.errs) == 0 {
		l.addresses()
	}
}

func absolute(domain string) string {
	if domain == "" || strings.HasSuffix(domain, ".") {
		return strings.ToLower(domain)
	}
	return strings.ToLower(domain) + "."
}

// templates expands the settings that are go-sockaddr templates.
// Source: https://pkg.go.dev/github.com/hashicorp/go-sockaddr/template
func (l *loader) templates() {
	for _, row := range table().rows {
		if !row.Template {
			continue
		}
		switch field := row.field(l.config).Addr().Interface().(type) {
		case *string:
			*field = strings.Join(l.expand(row.Key, *field), " ")
		case *[]string:
			var all []string
			for _, text := range *field {
				if !strings.Contains(text, "{{") {
					all = append(all, text) // "provider=aws tag_key=…" keeps its spaces
					continue
				}
				all = append(all, l.expand(row.Key, text)...)
			}
			*field = all
		}
	}
	for i := range l.config.Segments {
		s := &l.config.Segments[i]
		s.Bind = strings.Join(l.expand("segments", s.Bind), " ")
		s.Advertise = strings.Join(l.expand("segments", s.Advertise), " ")
	}
}

// expand returns the words that text, or what it says as a template, consists of.
func (l *loader) expand(key, text string) (words []string) {
	if !strings.Contains(text, "{{") {
		return strings.Fields(text)
	}
	defer func() {
		if recover() != nil {
			l.failAt(key, "template %q fails", text)
		}
	}()
	said, err := sockaddrTemplate(text)
	if err != nil {
		l.failAt(key, "template %q: %v", text, err)
		return nil
	}
	if words = strings.Fields(said); len(words) == 0 {
		l.failAt(key, "template %q finds no address on this host", text)
	}
	return words
}

// addresses checks the addresses and fills those that follow from others.
func (l *loader) addresses() {
	c := l.config
	for _, a := range []struct {
		key  string
		addr *string
	}{{"bind_addr", &c.BindAddr}, {"serf_lan", &c.SerfLAN}, {"serf_wan", &c.SerfWAN}} {
		if *a.addr == "" && a.key != "bind_addr" {
			*a.addr = c.BindAddr
			continue
		}
		ip, err := parseIP(*a.addr)
		if err != nil {
			l.failAt(a.key, "%v", err)
			continue
		}
		*a.addr = ip.String()
	}
	if len(l.errs) > 0 {
		return
	}
	l.advertise()
	for _, a := range []struct {
		key      string
		addr     *string
		fallback string
		v6, v4   bool
	}{
		{"advertise_addr_wan", &c.AdvertiseAddrWAN, c.AdvertiseAddr, false, false},
		{"advertise_addr_ipv4", &c.AdvertiseAddrIPv4, "", false, true}, {"advertise_addr_ipv6", &c.AdvertiseAddrIPv6, "", true, false},
		{"advertise_addr_wan_ipv4", &c.AdvertiseAddrWANIPv4, "", false, true}, {"advertise_addr_wan_ipv6", &c.AdvertiseAddrWANIPv6, "", true, false},
	} {
		if *a.addr == "" {
			*a.addr = a.fallback
			continue
		}
		ip, err := parseIP(*a.addr)
		switch {
		case err != nil:
			l.failAt(a.key, "%v", err)
		case ip.IsUnspecified():
			l.failAt(a.key, "%s is no address that others can dial", ip)
		case a.v4 && !ip.Is4() || a.v6 && ip.Is4():
			l.failAt(a.key, "%s is of the other family", ip)
		}
	}
}

// parseIP reads one address; brackets may stand around it.
func parseIP(text string) (netip.Addr, error) {
	if len(strings.Fields(text)) > 1 {
		return netip.Addr{}, fmt.Errorf("%q is more than one address: name one", text)
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is no IP address", text)
	}
	return ip.Unmap(), nil
}

// advertise finds the address under which others reach the agent, if it is not given.
func (l *loader) advertise() {
	c := l.config
	if c.AdvertiseAddr != "" {
		ip, err := parseIP(c.AdvertiseAddr)
		if err == nil && ip.IsUnspecified() {
			err = fmt.Errorf("%s is no address that others can dial", ip)
		}
		if err != nil {
			l.failAt("advertise_addr", "%v", err)
		}
		return
	}
	lan, err := netip.ParseAddr(c.SerfLAN)
	if err != nil {
		return
	}
	if !lan.IsUnspecified() {
		c.AdvertiseAddr = lan.String()
		return
	}
	found, warning, err := hostAddress(lan.Is6())
	if err != nil {
		l.failAt("advertise_addr", "%w: set advertise_addr or bind_addr", err)
		return
	}
	c.AdvertiseAddr = found.String()
	if warning != "" {
		l.warn("bind_addr", "%s: others are told %s, set advertise_addr to name another", warning, found)
	}
}

// hostAddress picks the address of the host that others most probably reach it at: the private IPv4 one or
// the public IPv6 one. If there are several, it is the one from which the host reaches others.
func hostAddress(v6 bool) (addr netip.Addr, warning string, err error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, "", fmt.Errorf("addresses of the host: %w", err)
	}
	var usual, others []netip.Addr
	for _, i := range interfaces {
		network, ok := i.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(network.IP)
		switch ip = ip.Unmap(); {
		case !ip.IsGlobalUnicast() || ip.Is6() != v6:
		case ip.IsPrivate() != v6:
			usual = append(usual, ip)
		default:
			others = append(others, ip)
		}
	}
	found := append(usual, others...)
	source := sourceAddress(v6)
	switch {
	case len(usual) == 1:
		return usual[0], "", nil
	case len(found) == 0 && v6:
		return netip.IPv6Loopback(), "the host has no address but the loopback one", nil
	case len(found) == 0:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), "the host has no address but the loopback one", nil
	case slices.Contains(found, source):
		return source, hostAddresses(usual, v6), nil
	}
	return found[0], hostAddresses(usual, v6), nil
}

func hostAddresses(usual []netip.Addr, v6 bool) string {
	switch {
	case len(usual) > 1:
		return fmt.Sprintf("the host has %d addresses", len(usual))
	case v6:
		return "the host has no public IPv6 address"
	}
	return "the host has no private IPv4 address"
}

// sourceAddress is the address from which the host would send to an address far away (RFC 5737, RFC 3849).
// Nothing is sent: connecting a UDP socket only looks up the route.
func sourceAddress(v6 bool) netip.Addr {
	network, far := "udp4", "192.0.2.1:9"
	if v6 {
		network, far = "udp6", "[2001:db8::1]:9"
	}
	conn, err := net.Dial(network, far)
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	at, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	return at.AddrPort().Addr().Unmap()
}
