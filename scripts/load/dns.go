//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/curia-mesh/curia/scripts/report"
)

// lookup is a row of the table of DNS.
type lookup struct {
	name      string
	kind      uint16
	instances int
	edns      uint16
	consul    figure
	goal      goal
}

const outstanding = 32

func lookups() []lookup {
	consul := []string{"Consul"}
	return []lookup{
		{"A, 3 instances", dns.TypeA, 3, 0, recorded(13800, 0, 8, 106), goal{text: "≥ 5× Consul; ≤ 15 µs", ratio: 5, of: consul, cpu: 15}},
		{"SRV, 3", dns.TypeSRV, 3, 0, recorded(11400, 0, 9.7, 130), goal{text: "≥ 5×", ratio: 5, of: consul}},
		{"A, 50, EDNS 4096", dns.TypeA, 50, 4096, recorded(3400, 0, 23, 506), goal{text: "≥ 20×", ratio: 20, of: consul}},
		{"SRV, 50, EDNS 4096", dns.TypeSRV, 50, 4096, recorded(2500, 0, 30, 693), goal{text: "≥ 20×", ratio: 20, of: consul}},
	}
}

// domain is where the services of the rows are, in Curia and in the static data of its peers.
func (l lookup) domain() string { return fmt.Sprintf("bench-%d.service.consul.", l.instances) }

// nameserver is one of those compared.
type nameserver struct {
	name string
	proc *process
	at   netip.AddrPort
}

// benchDNS asks all name servers the same questions.
func benchDNS(ctx context.Context, r report.Report, o options) error {
	r.Line("- peers: %s; %s; %s; unbound with one thread, dnsmasq as it is; static data of the same answers",
		peerVersion(ctx, "unbound", o.unbound, "-V"), peerVersion(ctx, "dnsmasq", o.dnsmasq, "--version"), peerVersion(ctx, "Consul", o.consul, "version"))
	servers, stop, err := startNameservers(ctx, o)
	defer stop()
	if err != nil {
		return err
	}
	var table, sizes, generator [][]string
	var crowd []float64
	for _, l := range lookups() {
		if !o.wanted("DNS " + l.name) {
			continue
		}
		answers, err := look(servers, l)
		if err != nil {
			return err
		}
		got, err := ask(ctx, o, l, servers)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		ours, unbound, dnsmasq := got["Curia"], got["unbound"], got["dnsmasq"]
		consulCell := got["Consul"].String()
		if !got["Consul"].known() {
			got["Consul"] = l.consul
			consulCell = fmt.Sprintf("%s%.0f (p99 %s; %s)", recordedMark, l.consul.rate, report.Short(micros(l.consul.p99)/1e3), report.Short(micros(l.consul.cpu)))
		}
		table = append(table, []string{l.name, ours.String(), unbound.String(), times(over(ours, unbound)), dnsmasq.String(),
			times(over(ours, dnsmasq)), consulCell, times(over(ours, got["Consul"])), l.goal.text, l.goal.verdict(ours, got, nil)})
		sizes = append(sizes, []string{l.name, answers["Curia"], answers["unbound"], answers["dnsmasq"]})
		crowd = append(crowd, ours.others)
		generator = append(generator, []string{l.name, busy(ours), busy(unbound), busy(dnsmasq)})
	}
	r.Heading(fmt.Sprintf("DNS over UDP, %d outstanding", outstanding))
	r.Table([]string{"name", "Curia", "unbound", "× unbound", "dnsmasq", "× dnsmasq", "Consul", "× Consul", "goal", "met"}, table)
	r.Line("\nThe answers:\n")
	r.Table([]string{"name", "Curia", "unbound", "dnsmasq"}, sizes)
	costs(r, []string{"name", "against Curia", "against unbound", "against dnsmasq"}, generator, crowd)
	return nil
}

// ask measures one row on each server in turn and returns the medians.
func ask(ctx context.Context, o options, l lookup, servers []nameserver) (map[string]figure, error) {
	runs := map[string][]figure{}
	for run := range o.runs {
		for _, s := range servers {
			w, err := newDNS(l.domain(), l.kind, l.edns, l.instances)
			if err != nil {
				return nil, err
			}
			e, err := dial("udp", s.at, outstanding, func(int) wire {
				mine := *w
				mine.packet = append([]byte(nil), w.packet...)
				return &mine
			})
			if err != nil {
				return nil, err
			}
			f, err := measure(ctx, s.proc, e, o.warm, o.length)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			progress("DNS %s, %s, run %d: %s, generator %s", l.name, s.name, run+1, f, busy(f))
			runs[s.name] = append(runs[s.name], f)
		}
	}
	got := map[string]figure{}
	for name, all := range runs {
		got[name] = medianOf(all)
	}
	return got, nil
}

// look asks each server once and describes what it answers.
func look(servers []nameserver, l lookup) (map[string]string, error) {
	seen := map[string]string{}
	for _, s := range servers {
		m, size, err := exchange(s.at, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", l.name, s.name, err)
		}
		seen[s.name] = fmt.Sprintf("%d records, %d more, %d B", len(m.Answer), len(m.Extra), size)
		if len(m.Answer) != l.instances {
			progress("DNS %s: %s answers %d records of %d (%s, truncated: %t)", l.name, s.name, len(m.Answer), l.instances,
				dns.RcodeToString[m.Rcode], m.Truncated)
		}
	}
	return seen, nil
}

func exchange(at netip.AddrPort, l lookup) (*dns.Msg, int, error) {
	c, err := dns.DialTimeout("udp", at.String(), time.Second)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	c.UDPSize = 65535
	if err := c.WriteMsg(question(l.domain(), l.kind, l.edns)); err != nil {
		return nil, 0, err
	}
	packet, err := c.ReadMsgHeader(nil)
	if err != nil {
		return nil, 0, err
	}
	m := new(dns.Msg)
	return m, len(packet), m.Unpack(packet)
}

// startNameservers starts Curia and the peers there are with the same data. stop is never nil.
func startNameservers(ctx context.Context, o options) (servers []nameserver, stop func(), err error) {
	stop = func() {
		for _, s := range servers {
			s.proc.stop()
		}
	}
	for _, b := range agents(o) {
		a, err := newAgent(b.name, b.path, o.dir, false, false)
		if err != nil {
			return servers, stop, err
		}
		if err = a.up(ctx); err == nil {
			servers = append(servers, nameserver{b.name, a.process, a.dns})
		}
		for _, n := range []int{3, 50} {
			for i := 0; i < n && err == nil; i++ {
				err = a.put(ctx, "/v1/catalog/register", instance(serviceOf(n), i, 8080))
			}
		}
		if err != nil {
			return servers, stop, err
		}
	}
	for _, p := range []struct {
		name, path string
		start      func(dir, path string, at netip.AddrPort) (*process, error)
	}{{"unbound", o.unbound, startUnbound}, {"dnsmasq", o.dnsmasq, startDnsmasq}} {
		if p.path == "" {
			continue
		}
		ports, err := freePorts(1)
		if err != nil {
			return servers, stop, err
		}
		s := nameserver{name: p.name, at: netip.AddrPortFrom(loopback, ports[0])}
		if s.proc, err = p.start(o.dir, p.path, s.at); err != nil {
			return servers, stop, err
		}
		servers = append(servers, s)
		if err := s.await(ctx); err != nil {
			return servers, stop, err
		}
	}
	return servers, stop, nil
}

// await waits for the first answer.
func (s nameserver) await(ctx context.Context) error {
	for range 200 {
		if m, _, err := exchange(s.at, lookups()[0]); err == nil && len(m.Answer) > 0 {
			return nil
		}
		if gone := s.proc.gone(); gone != nil {
			return gone
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer on %s", s.name, s.at)
}

// static calls add for each instance of each service of the rows.
func static(add func(domain, target, address string)) {
	for _, n := range []int{3, 50} {
		for i := range n {
			add(lookup{instances: n}.domain(), fmt.Sprintf("%s-node-%03d.node.dc1.consul.", serviceOf(n), i), fmt.Sprintf("10.1.0.%d", i+1))
		}
	}
}

func startUnbound(dir, path string, at netip.AddrPort) (*process, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n interface: %s@%d\n access-control: 127.0.0.0/8 allow\n do-daemonize: no\n use-syslog: no\n username: \"\"\n", at.Addr(), at.Port())
	fmt.Fprintf(&b, " chroot: \"\"\n directory: %q\n pidfile: \"\"\n module-config: \"iterator\"\n do-ip6: no\n", dir)
	b.WriteString(" edns-buffer-size: 4096\n max-udp-size: 4096\n rrset-roundrobin: yes\n num-threads: 1\n local-zone: \"consul.\" static\n")
	static(func(domain, target, address string) {
		fmt.Fprintf(&b, " local-data: \"%s 0 IN A %s\"\n local-data: \"%s 0 IN SRV 1 1 8080 %s\"\n", domain, address, domain, target)
		fmt.Fprintf(&b, " local-data: \"%s 0 IN A %s\"\n", target, address)
	})
	b.WriteString("remote-control:\n control-enable: no\n")
	file := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return nil, err
	}
	return spawn(dir, "unbound", path, "-d", "-c", file)
}

func startDnsmasq(dir, path string, at netip.AddrPort) (*process, error) {
	var hosts strings.Builder
	args := []string{"--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--no-poll", "--bind-interfaces", "--pid-file=",
		"--listen-address=" + at.Addr().String(), fmt.Sprintf("--port=%d", at.Port()), "--edns-packet-max=4096", "--local=/consul/", "--log-facility=-"}
	static(func(domain, target, address string) {
		domain, target = strings.TrimSuffix(domain, "."), strings.TrimSuffix(target, ".")
		fmt.Fprintf(&hosts, "%s %s\n%s %s\n", address, domain, address, target)
		args = append(args, fmt.Sprintf("--srv-host=%s,%s,8080,1,1", domain, target))
	})
	file := filepath.Join(dir, "dnsmasq.hosts")
	if err := os.WriteFile(file, []byte(hosts.String()), 0o644); err != nil {
		return nil, err
	}
	args = append(args, "--addn-hosts="+file)
	if me, err := user.Current(); err == nil {
		args = append(args, "--user="+me.Username)
	}
	return spawn(dir, "dnsmasq", path, args...)
}
