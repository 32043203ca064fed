//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// agent is one server that speaks Consul's interface: Curia, or Consul beside it.
type agent struct {
	*process
	binary string
	dir    string
	args   []string
	http   netip.AddrPort
	dns    netip.AddrPort
	gossip netip.AddrPort
	rpc    netip.AddrPort
	client *http.Client
}

// newAgent writes the configuration of an agent that is not started yet. A persistent one keeps its data
// below dir, on a disk where fsync counts; another runs with -dev. more goes into the configuration.
func newAgent(name, binary, dir string, persistent, debug bool, more ...map[string]any) (*agent, error) {
	ports, err := freePorts(8)
	if err != nil {
		return nil, err
	}
	a := &agent{
		binary: binary, http: netip.AddrPortFrom(loopback, ports[0]), dns: netip.AddrPortFrom(loopback, ports[1]),
		gossip: netip.AddrPortFrom(loopback, ports[2]), rpc: netip.AddrPortFrom(loopback, ports[4]),
	}
	if a.dir, err = os.MkdirTemp(dir, name+"-"); err != nil {
		return nil, err
	}
	settings := map[string]any{
		"node_name": "bench", "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "log_level": "warn",
		"ports": map[string]any{"http": ports[0], "dns": ports[1], "serf_lan": ports[2], "serf_wan": ports[3], "server": ports[4],
			"https": -1, "grpc": -1, "grpc_tls": -1},
		"limits": map[string]any{"http_max_conns_per_client": 60_000},
	}
	if debug {
		settings["enable_debug"] = true
	}
	a.args = []string{"agent", "-dev"}
	if persistent {
		settings["server"], settings["bootstrap_expect"], settings["data_dir"] = true, 1, filepath.Join(a.dir, "data")
		a.args = []string{"agent"}
	}
	for _, m := range more {
		maps.Copy(settings, m)
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(a.dir, "bench.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	a.args = append(a.args, "-config-file="+file)
	a.client = &http.Client{Timeout: 2 * time.Minute}
	return a, nil
}

// up starts the agent and waits until it writes. If it does not it is ended.
func (a *agent) up(ctx context.Context) error {
	if err := a.launch(); err != nil {
		return err
	}
	_, err := a.firstWrite(ctx)
	if err != nil {
		a.stop()
	}
	return err
}

// leader waits until the agent names a leader, and firstWrite until it acknowledges a write; both return the
// time since the start.
func (a *agent) leader(ctx context.Context) (time.Duration, error) {
	return a.await(ctx, "a leader", func(ctx context.Context) (bool, error) {
		body, err := a.get(ctx, "/v1/status/leader")
		return strings.Contains(body, ":"), err
	})
}

func (a *agent) firstWrite(ctx context.Context) (time.Duration, error) {
	return a.await(ctx, "a write", func(ctx context.Context) (bool, error) {
		err := a.put(ctx, "/v1/kv/up", "yes")
		return err == nil, err
	})
}

func (a *agent) launch() (err error) {
	a.process, err = spawn(a.dir, "agent", a.binary, a.args...)
	return err
}

// await tries every 2 ms until it is done, and returns the time since the start of the process.
func (a *agent) await(ctx context.Context, what string, try func(context.Context) (done bool, err error)) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		done, err := try(ctx)
		if done {
			return time.Since(a.started), nil
		}
		if gone := a.gone(); gone != nil {
			return 0, gone
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for %s: %w (the last answer: %v)", what, ctx.Err(), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// get returns the body of an answer with status 200.
func (a *agent) get(ctx context.Context, path string) (string, error) {
	_, body, err := a.call(ctx, "GET", path, "")
	return body, err
}

func (a *agent) put(ctx context.Context, path, body string) error {
	_, _, err := a.call(ctx, "PUT", path, body)
	return err
}

func (a *agent) call(ctx context.Context, method, path, body string) (http.Header, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.http.String()+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.200s", method, path, answer.Status, text)
	}
	return answer.Header, string(text), err
}

// startEtcd starts a single etcd whose log is on the same disk and waits until it takes connections.
func startEtcd(ctx context.Context, binary, dir string) (*process, netip.AddrPort, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	at, peer := netip.AddrPortFrom(loopback, ports[0]), netip.AddrPortFrom(loopback, ports[1])
	client, peers := "http://"+at.String(), "http://"+peer.String()
	p, err := spawn(dir, "etcd", binary, "--name=bench", "--data-dir="+filepath.Join(dir, "etcd"), "--log-level=error",
		"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls="+peers,
		"--initial-advertise-peer-urls="+peers, "--initial-cluster=bench="+peers, "--quota-backend-bytes=4294967296")
	if err != nil {
		return nil, at, err
	}
	if err := p.awaitHTTP(ctx, client+"/health"); err != nil {
		p.stop()
		return nil, at, err
	}
	return p, at, nil
}

func (p *process) awaitHTTP(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			return err
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if gone := p.gone(); gone != nil {
			return gone
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", url, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// freePorts finds n loopback ports that nothing listens on, TCP nor UDP.
func freePorts(n int) ([]uint16, error) {
	var ports []uint16
	for range 10 * n {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer tcp.Close() // not before all are found, so that none is found twice
		at := tcp.Addr().(*net.TCPAddr).AddrPort()
		udp, err := net.ListenPacket("udp", at.String())
		if err != nil {
			continue
		}
		defer udp.Close()
		if ports = append(ports, at.Port()); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("find a free port: too many are in use")
}
