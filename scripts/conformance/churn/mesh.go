//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// instances is how many of the HTTP application there are, half of them with v=1 in their meta.
const instances = 4

// settled bounds how long a change may take to be everywhere.
const settled = 60 * time.Second

// mesh is a server, a client agent with the sidecars of its node, and two applications: api, of HTTP, and echo, of TCP. The
// service web calls both of them through its sidecar.
type mesh struct {
	curia, dir     string
	server, client *agent
	apps           []*app
	echo           net.Listener
	dying          []*victim
	proofs         *proofs
	stays          *app
	still          string // the sidecar of an instance that stays as it is
	api, tcp       string // where the sidecar of web takes what is for api and for echo
	page, line     string // and for the services of victims
	metrics        string // where the proxy of the node tells what it counts
	http           *http.Client
}

// agent is a process of the program.
type agent struct {
	name string
	http string
	args []string
	log  string
	cmd  *exec.Cmd
}

// ports picks free ones; another process may take them before they are used, and then the start fails.
func ports(n int) ([]int, error) {
	var all []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		all = append(all, l.Addr().(*net.TCPAddr).Port)
	}
	return all, nil
}

func newMesh(ctx context.Context, curia, dir string, ttl time.Duration) (m *mesh, err error) {
	p, err := ports(8 + 5 + instances + 4)
	if err != nil {
		return nil, err
	}
	m = &mesh{curia: curia, dir: dir, http: &http.Client{Timeout: 30 * time.Second}, proofs: newProofs(ttl)}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if m.server, err = m.newAgent("server", p[:4], map[string]any{"server": true, "bootstrap_expect": 1}); err != nil {
		return m, err
	}
	if m.client, err = m.newAgent("client", p[4:8], map[string]any{"retry_join": []string{fmt.Sprintf("127.0.0.1:%d", p[2])}}); err != nil {
		return m, err
	}
	for _, a := range []*agent{m.server, m.client} {
		if err := a.start(curia); err != nil {
			return m, err
		}
		if err := m.leader(ctx, a); err != nil {
			return m, err
		}
	}
	for i, to := range []*string{&m.api, &m.tcp, &m.page, &m.line, &m.metrics} {
		*to = fmt.Sprintf("127.0.0.1:%d", p[8+i])
	}
	sidecars := p[13:]
	if err := m.authority(ctx, 256); err != nil {
		return m, err
	}
	for _, e := range []map[string]any{
		{"Kind": "proxy-defaults", "Name": "global", "Config": map[string]any{"envoy_prometheus_bind_addr": m.metrics}},
		{"Kind": "service-defaults", "Name": "api", "Protocol": "http"}, {"Kind": "service-resolver", "Name": "api", "Subsets": subsets},
		{"Kind": "service-defaults", "Name": "still", "Protocol": "http"},
		allow("api", false), allow("echo", false), allow("still", false),
	} {
		if err := m.put(ctx, m.server, "/v1/config", e); err != nil {
			return m, err
		}
	}
	still := &app{name: "still", id: "still", sidecar: sidecars[instances+3], proofs: m.proofs}
	m.still = fmt.Sprintf("127.0.0.1:%d", still.sidecar)
	m.stays = still
	for i := range instances {
		m.apps = append(m.apps, &app{name: "api", id: fmt.Sprint("api-", i+1), version: fmt.Sprint(1 + i%2), sidecar: sidecars[i], proofs: m.proofs})
	}
	for _, a := range append([]*app{still}, m.apps...) {
		if err := errors.Join(a.start(), m.put(ctx, m.client, "/v1/agent/service/register", a.registration())); err != nil {
			return m, err
		}
	}
	if m.echo, err = startEcho(); err != nil {
		return m, err
	}
	if err := m.put(ctx, m.client, "/v1/agent/service/register", map[string]any{
		"Name": "echo", "Port": m.echo.Addr().(*net.TCPAddr).Port, "Connect": sidecar(sidecars[instances], nil),
	}); err != nil {
		return m, err
	}
	var upstreams []map[string]any
	for i, name := range []string{"api", "echo", names[0], names[1]} {
		upstreams = append(upstreams, map[string]any{"DestinationName": name, "LocalBindPort": p[8+i]})
	}
	if err := m.put(ctx, m.client, "/v1/agent/service/register", map[string]any{
		"Name": "web", "Port": sidecars[instances+2], "Connect": sidecar(sidecars[instances+1], upstreams),
	}); err != nil {
		return m, err
	}
	for _, a := range append([]*app{m.stays}, m.apps...) {
		if err := m.listed(ctx, a.name, a.id, true); err != nil {
			return m, err
		}
	}
	return m, m.answers(ctx)
}

func sidecar(port int, upstreams []map[string]any) map[string]any {
	return map[string]any{"SidecarService": map[string]any{"Port": port, "Proxy": map[string]any{"Upstreams": upstreams}, "Checks": []any{}}}
}

// newAgent writes the configuration of an agent with the ports of HTTP, of servers, and of gossip.
func (m *mesh) newAgent(name string, p []int, more map[string]any) (*agent, error) {
	dir := filepath.Join(m.dir, name)
	config := map[string]any{
		"node_name": name, "data_dir": filepath.Join(dir, "data"), "bind_addr": "127.0.0.1", "datacenter": "dc1", "log_level": "debug",
		"ports":                    map[string]int{"http": p[0], "server": p[1], "serf_lan": p[2], "serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1},
		"connect":                  map[string]any{"enabled": true, "test_ca_leaf_root_change_spread": "300ms"},
		"telemetry":                map[string]any{"prometheus_retention_time": "1m"},
		"default_intention_policy": "deny",
		"leave_on_terminate":       false,
		"skip_leave_on_interrupt":  true,
	}
	for k, v := range more {
		config[k] = v
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "agent.json")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(file, text, 0o600)); err != nil {
		return nil, err
	}
	return &agent{name: name, http: fmt.Sprintf("127.0.0.1:%d", p[0]), args: []string{"agent", "-config-file", file}, log: filepath.Join(dir, "log")}, nil
}

func (a *agent) start(curia string) error {
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	a.cmd = exec.Command(curia, a.args...)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	return a.cmd.Start()
}

// stop ends the process with a signal and waits until it is gone.
func (a *agent) stop(s os.Signal) error {
	if a == nil || a.cmd == nil {
		return nil
	}
	err := a.cmd.Process.Signal(s)
	a.cmd.Wait()
	a.cmd = nil
	return err
}

// close ends everything; deregistering the last sidecar ends the process of the sidecars.
func (m *mesh) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), settled)
	defer cancel()
	if m.client != nil && m.client.cmd != nil {
		if left := exec.CommandContext(ctx, m.curia, "leave", "-http-addr="+m.client.http).Run(); left != nil {
			m.client.stop(syscall.SIGKILL)
		} else {
			m.client.cmd.Wait()
		}
	}
	for _, v := range m.dying {
		v.kill()
	}
	for _, a := range append([]*app{m.stays}, m.apps...) {
		a.stop(ctx)
	}
	if m.echo != nil {
		m.echo.Close()
	}
	return m.server.stop(syscall.SIGTERM)
}
