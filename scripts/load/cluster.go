//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/report"
)

// servers is how many a cluster has.
const servers = 3

// cluster is the processes of one, whose cost is that of all of them.
type cluster []*process

func (c cluster) cpu() time.Duration {
	var sum time.Duration
	for _, p := range c {
		sum += p.cpu()
	}
	return sum
}

func (c cluster) gone() error {
	for _, p := range c {
		if err := p.gone(); err != nil {
			return err
		}
	}
	return nil
}

// clustered are the rows of PERFORMANCE that three servers answer. Those that name no follower are asked of the leader.
func clustered() []request {
	consul := []string{"Consul"}
	return []request{
		{"KV put 128 B", 1, kvPut, etcdPut, recorded(617, 1.5, 3.7, 2075), recorded(578, 1.6, 4.1, 2247),
			goal{text: "1.2× the better of both", ratio: 1.2, of: []string{"etcd", "Consul"}}, false},
		{"KV put 128 B", 64, kvPut, etcdPut, recorded(3635, 16, 37, 445), recorded(6054, 9.5, 29, 220),
			goal{text: "≥ etcd", ratio: 1, of: []string{"etcd"}}, false},
		{"KV get, default", 64, kvGet, etcdGet, recorded(10870, 4.5, 21, 122), recorded(7650, 7.2, 22, 174),
			goal{text: "2× Consul", ratio: 2, of: consul}, false},
		{"agent register", 1, agentRegister, nil, recorded(269, 3.5, 8.6, 4777), figure{}, goal{text: "2×", ratio: 2, of: consul}, false},
		{"agent register", 64, agentRegister, nil, recorded(194, 321, 427, 7043), figure{},
			goal{text: "≥ 10×; rises with load", ratio: 10, of: consul, rising: "agent register × 1"}, false},
		{"catalog register", 64, catalogRegister, nil, recorded(1200, 48, 103, 1514), figure{}, goal{text: "≥ 3×", ratio: 3, of: consul}, false},
		{"KV put via a follower", 16, kvPut, etcdPut, recorded(1816, 7.9, 20, 874), figure{}, goal{text: "2×", ratio: 2, of: consul}, true},
		{"KV get via a follower", 16, kvGet, etcdGet, recorded(5901, 2.3, 8.5, 251), figure{}, goal{text: "2×", ratio: 2, of: consul}, true},
	}
}

// benchCluster writes the table of requests to clusters of three servers, all on this machine and its one disk.
func benchCluster(ctx context.Context, r report.Report, o options) error {
	r.Line("- peers: %s", peerVersion(ctx, "etcd", o.etcd, "--version"))
	var rows []request
	for _, q := range clustered() {
		if o.wanted(q.key()) {
			rows = append(rows, q)
		}
	}
	members, stop, err := startClusters(ctx, o, slices.ContainsFunc(rows, func(q request) bool { return q.follower }))
	defer stop()
	if err != nil {
		return err
	}
	shown := map[string]figure{}
	var table, generator, secured [][]string
	var crowd []float64
	for _, q := range rows {
		got, err := alternate(ctx, o, q, members)
		if err != nil {
			return fmt.Errorf("%s: %w", q.key(), err)
		}
		ours, etcd := got["Curia"], got["etcd"]
		got["Consul"], shown[q.key()] = q.consul, ours
		table = append(table, []string{q.name, fmt.Sprint(q.clients), ours.String(), etcd.String(), times(over(ours, etcd)), recordedMark + q.consul.String(),
			times(over(ours, q.consul)), q.goal.text, q.goal.verdict(ours, got, shown)})
		if q.follower {
			secured = append(secured, costOfTLS(q, ours, got[withTLS]))
		}
		crowd = append(crowd, ours.others)
		generator = append(generator, []string{q.key(), busy(ours), busy(etcd)})
	}
	r.Heading("Requests: three servers, fsync of every write on each; CPU is that of the three together")
	r.Table([]string{"request", "clients", "Curia", "etcd", "× etcd", "Consul", "× Consul", "goal", "met"}, table)
	if len(secured) > 0 {
		r.Heading("What mutual TLS between the servers costs")
		r.Table([]string{"request", "clients", "Curia", withTLS, "CPU", "goal", "met"}, secured)
	}
	costs(r, []string{"request", "against Curia", "against etcd"}, generator, crowd)
	return nil
}

// withTLS is a cluster of Curia whose servers prove themselves to one another.
const withTLS = "Curia, mutual TLS"

// tlsGoal is how much more CPU a forwarded request may cost then.
const tlsGoal = 1.10

func costOfTLS(q request, plain, secured figure) []string {
	ratio := float64(secured.cpu) / float64(max(plain.cpu, 1))
	met := "yes"
	if ratio > tlsGoal || secured.failures > 0 {
		met = "no"
	}
	return []string{q.name, fmt.Sprint(q.clients), plain.String(), secured.String(), fmt.Sprintf("%.2f×", ratio), fmt.Sprintf("≤ %.2f×", tlsGoal), met}
}

// startClusters starts one of Curia, one that is secured if that is asked for, and one of etcd, where there is one, with a
// value under every key.
func startClusters(ctx context.Context, o options, secured bool) (members []server, stop func(), err error) {
	var started cluster
	stop = func() {
		for _, p := range started {
			p.stop()
		}
	}
	curia, err := startCuria(ctx, o, "Curia", nil, &started)
	if err != nil {
		return nil, stop, err
	}
	members = append(members, curia)
	if secured {
		security, err := certify(ctx, o)
		if err != nil {
			return nil, stop, err
		}
		if curia, err = startCuria(ctx, o, withTLS, security, &started); err != nil {
			return nil, stop, err
		}
		members = append(members, curia)
	}
	if o.etcd != "" {
		etcd, err := startEtcds(ctx, o, &started)
		if err != nil {
			return nil, stop, err
		}
		members = append(members, etcd)
	}
	return members, stop, firstKeys(ctx, members)
}

// certify makes a CA and a certificate of servers, and returns the settings that ask for them.
func certify(ctx context.Context, o options) (map[string]any, error) {
	dir, err := os.MkdirTemp(o.dir, "tls-")
	if err != nil {
		return nil, err
	}
	for _, args := range []string{"ca create", "cert create -server"} {
		cmd := exec.CommandContext(ctx, o.curia, append([]string{"tls"}, strings.Fields(args)...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("curia tls %s: %w: %s", args, err, out)
		}
	}
	return map[string]any{"tls": map[string]any{"internal_rpc": map[string]any{
		"ca_file": filepath.Join(dir, "consul-agent-ca.pem"), "cert_file": filepath.Join(dir, "dc1-server-consul-0.pem"), "key_file": filepath.Join(dir, "dc1-server-consul-0-key.pem"),
		"verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true,
	}}}, nil
}

func startCuria(ctx context.Context, o options, name string, more map[string]any, started *cluster) (server, error) {
	var agents []*agent
	for i := range servers {
		own := map[string]any{"node_name": fmt.Sprintf("bench-%d", i), "bootstrap_expect": servers}
		if i > 0 {
			own["retry_join"] = []string{agents[0].gossip.String()}
		}
		a, err := newAgent(fmt.Sprintf("Curia-%d", i), o.curia, o.dir, true, false, own, more)
		if err != nil {
			return server{}, err
		}
		if err := a.launch(); err != nil {
			return server{}, err
		}
		*started = append(*started, a.process)
		agents = append(agents, a)
	}
	s := server{name: name, wire: onAgent}
	var all cluster
	for _, a := range agents {
		if _, err := a.firstWrite(ctx); err != nil {
			return server{}, err
		}
		all = append(all, a.process)
	}
	leader, err := agents[0].get(ctx, "/v1/status/leader")
	if err != nil {
		return server{}, err
	}
	for _, a := range agents {
		if strings.Trim(leader, "\"\n") == a.rpc.String() {
			s.at = a.http
		} else {
			s.behind = a.http
		}
	}
	if !s.at.IsValid() {
		return server{}, fmt.Errorf("the leader %s is none of the servers that were started", leader)
	}
	s.proc = all
	return s, nil
}

func startEtcds(ctx context.Context, o options, started *cluster) (server, error) {
	ports, err := freePorts(2 * servers)
	if err != nil {
		return server{}, err
	}
	url := func(port uint16) string { return "http://" + netip.AddrPortFrom(loopback, port).String() }
	var initial []string
	for i := range servers {
		initial = append(initial, fmt.Sprintf("bench-%d=%s", i, url(ports[servers+i])))
	}
	var all cluster
	for i := range servers {
		name, client, peer := fmt.Sprintf("bench-%d", i), url(ports[i]), url(ports[servers+i])
		p, err := spawn(o.dir, "etcd-"+name, o.etcd, "--name="+name, "--data-dir="+filepath.Join(o.dir, "etcd-"+name), "--log-level=error",
			"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls="+peer,
			"--initial-advertise-peer-urls="+peer, "--initial-cluster="+strings.Join(initial, ","), "--quota-backend-bytes=4294967296")
		if err != nil {
			return server{}, err
		}
		*started = append(*started, p)
		all = append(all, p)
	}
	s := server{name: "etcd", wire: onEtcd, proc: all}
	for i, p := range all {
		if err := p.awaitHTTP(ctx, url(ports[i])+"/health"); err != nil {
			return server{}, err
		}
		leads, err := etcdLeads(ctx, url(ports[i]))
		if err != nil {
			return server{}, err
		}
		if at := netip.AddrPortFrom(loopback, ports[i]); leads {
			s.at = at
		} else {
			s.behind = at
		}
	}
	if !s.at.IsValid() {
		return server{}, errors.New("no etcd says that it leads")
	}
	return s, nil
}

// etcdLeads asks a member whether it is the leader.
func etcdLeads(ctx context.Context, url string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, "POST", url+"/v3/maintenance/status", strings.NewReader("{}"))
	if err != nil {
		return false, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	var status struct {
		Leader string
		Header struct {
			MemberID string `json:"member_id"`
		}
	}
	err = json.NewDecoder(answer.Body).Decode(&status)
	return status.Leader != "" && status.Leader == status.Header.MemberID, err
}
