package agent

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/curia-mesh/curia/agent/config"
)

// banner tells whoever started the agent at a terminal what runs, where it is reached, what becomes of its
// data and, of the development profile, what to do next. It comes before the parts that log.
func banner(w io.Writer, cfg *config.Config, build Build, id string, s *sockets) {
	kind := "client"
	if cfg.Server {
		kind = "server"
	}
	fmt.Fprintf(w, "==> Curia %s: %s %q in datacenter %q\n", build.Version, kind, cfg.NodeName, cfg.Datacenter)
	for _, name := range []string{"http", "https", "dns"} {
		line(w, strings.ToUpper(name), strings.Join(s.reached(name), ", "))
	}
	line(w, "Node id", id)
	if cfg.DataDir != "" {
		line(w, "Data", cfg.DataDir)
	}
	if cfg.Dev {
		if cfg.DataDir == "" {
			line(w, "Data", "in memory, gone when the agent ends")
		}
		label := "Try"
		for _, command := range s.examples(cfg.Domain) {
			line(w, label, command)
			label = ""
		}
		line(w, "Stop", "Ctrl-C")
	}
	fmt.Fprintln(w, "==> Log data will now stream in as it occurs:")
}

// line writes a line of the banner, unless there is nothing to say.
func line(w io.Writer, label, text string) {
	if text != "" {
		fmt.Fprintf(w, "    %-8s %s\n", label, text)
	}
}

// reached lists where an interface listens: URLs of HTTP, addresses of DNS with their networks.
func (s *sockets) reached(name string) []string {
	var where []string
	for _, l := range s.bound {
		text := l.Address
		switch {
		case l.Name != name:
			continue
		case l.Network == "unix":
			text = "unix://" + l.Address
		case name != "dns":
			text = name + "://" + l.Address
		default:
			text += " (udp, tcp)"
		}
		if !slices.Contains(where, text) {
			where = append(where, text)
		}
	}
	return where
}

// examples are commands that show that the agent answers. They need nothing of ours in the PATH.
func (s *sockets) examples(domain string) []string {
	var commands []string
	if l, ok := s.first("http"); ok {
		commands = append(commands, "curl http://"+near(l.Address)+"/v1/catalog/services")
	}
	if l, ok := s.first("dns"); ok {
		if host, port, err := net.SplitHostPort(near(l.Address)); err == nil {
			commands = append(commands, fmt.Sprintf("dig @%s -p %s consul.service.%s", host, port, strings.TrimSuffix(domain, ".")))
		}
	}
	return commands
}

func (s *sockets) first(name string) (config.Listener, bool) {
	i := slices.IndexFunc(s.bound, func(l config.Listener) bool { return l.Name == name && l.Network == "tcp" })
	if i < 0 {
		return config.Listener{}, false
	}
	return s.bound[i], true
}

// near is the address under which this machine reaches a listener.
func near(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		if ip.To4() == nil {
			return net.JoinHostPort("::1", port)
		}
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
