package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// patience is how long anything may take that the tests wait for.
const patience = 30 * time.Second

// settings are those of a configuration file.
type settings map[string]any

// agent is one agent process with the official client to it.
type agent struct {
	*api.Client
	t    *testing.T
	name string // of the node
	host string // the loopback address of all its ports
	port map[string]int
	http string // host:port of the HTTP API
	dns  string // host:port of DNS
	dir  string // its -config-dir, beside its data

	dev    bool
	env    []string
	cmd    *exec.Cmd
	log    *record
	exited chan struct{}
}

// portNames are the ports that a plain agent listens on.
var portNames = []string{"dns", "http", "serf_lan", "serf_wan", "server"}

// prepare makes an agent that does not run yet. Settings beside the usual ones go into its configuration.
func prepare(t *testing.T, more settings) *agent {
	t.Helper()
	a := &agent{t: t, dir: filepath.Join(t.TempDir(), "config.d"), dev: true}
	a.host, a.port = ports(t)
	a.http, a.dns = net.JoinHostPort(a.host, strconv.Itoa(a.port["http"])), net.JoinHostPort(a.host, strconv.Itoa(a.port["dns"]))
	config := settings{"node_name": "node-" + strings.ReplaceAll(a.host, ".", "-"), "bind_addr": a.host, "client_addr": a.host, "log_level": "debug"}
	maps.Copy(config, more)
	listen := settings{"https": -1, "grpc": -1, "grpc_tls": -1}
	for name, port := range a.port {
		listen[name] = port
	}
	config["ports"] = listen
	a.name = config["node_name"].(string)
	must(t, os.MkdirAll(a.dir, 0o755))
	a.write("base.json", asJSON(config))
	var err error
	a.Client, err = api.NewClient(&api.Config{Address: a.http})
	must(t, err)
	return a
}

// start runs an agent in memory and waits until it is a healthy member of its catalog.
func start(t *testing.T, more settings) *agent {
	t.Helper()
	a := prepare(t, more)
	a.start()
	return a
}

var agents atomic.Uint32

// ports finds free ports for an agent. On Linux each agent has an address of its own, so that nobody else
// takes them between here and its start.
func ports(t *testing.T) (host string, port map[string]int) {
	t.Helper()
	pid := os.Getpid()
	host = fmt.Sprintf("127.%d.%d.%d", 1+pid>>8%250, pid%256, 1+agents.Add(1)%250)
	if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		host = "127.0.0.1"
	} else {
		l.Close()
	}
	port = map[string]int{}
	for len(port) < len(portNames) {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		must(t, err)
		defer l.Close()
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			continue
		}
		defer p.Close()
		port[portNames[len(port)]] = l.Addr().(*net.TCPAddr).Port
	}
	return host, port
}

// write puts a file into the agent's configuration.
func (a *agent) write(file, text string) {
	a.t.Helper()
	must(a.t, os.WriteFile(filepath.Join(a.dir, file), []byte(text), 0o600))
}

// start runs the agent and waits until the catalog holds it as healthy.
func (a *agent) start() {
	a.t.Helper()
	args := []string{"agent", "-config-dir", a.dir}
	if a.dev {
		args = append(args, "-dev")
	} else {
		args = append(args, "-server", "-bootstrap-expect=1", "-data-dir", filepath.Join(filepath.Dir(a.dir), "data"))
	}
	a.cmd = exec.Command(product, args...)
	a.cmd.Env = append(os.Environ(), a.env...)
	bind(a.cmd)
	out, err := a.cmd.StdoutPipe()
	must(a.t, err)
	a.cmd.Stderr = a.cmd.Stdout
	must(a.t, a.cmd.Start())
	a.exited, a.log = make(chan struct{}), &record{}
	up, cmd, exited, log := make(chan struct{}), a.cmd, a.exited, a.log
	go func() { // ends with the process
		log.copy(out, "==> Log data", up)
		cmd.Wait()
		close(exited)
	}()
	a.t.Cleanup(func() {
		a.stop()
		if a.t.Failed() {
			a.t.Logf("log of %s:\n%s", a.name, log.text())
		}
	})
	select {
	case <-up:
	case <-exited:
		a.t.Fatalf("the agent ended at its start:\n%s", log.text())
	}
	a.waitHealthy()
}

// waitHealthy waits until the catalog holds the agent as healthy. Its questions wait for a leader where
// there is none yet.
func (a *agent) waitHealthy() {
	a.t.Helper()
	until(a.t, "the agent to be healthy", func(q *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
		return a.Health().Node(a.name, q)
	}, func(checks api.HealthChecks) bool {
		return slices.ContainsFunc(checks, func(c *api.HealthCheck) bool { return c.CheckID == "serfHealth" && c.Status == api.HealthPassing })
	})
}

// stop interrupts the agent and waits for its end. Its data stay.
func (a *agent) stop() {
	a.cmd.Process.Signal(os.Interrupt)
	a.waitExit()
}

// waitExit waits for the end of the process and fails the test when it does not come.
func (a *agent) waitExit() {
	select {
	case <-a.exited:
	case <-time.After(patience):
		a.cmd.Process.Kill()
		a.t.Errorf("the agent did not end within %s", patience)
	}
}

// cli runs a subcommand of the product against the agent.
func (a *agent) cli(args ...string) (string, error) {
	cmd := exec.CommandContext(a.t.Context(), product, args...)
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+a.http)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// answer is what came back for a plain HTTP request.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask makes a plain HTTP request, for what the official client does not offer or hides.
func (a *agent) ask(method, path, body string) answer {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.http+path, strings.NewReader(body))
	must(a.t, err)
	resp, err := http.DefaultClient.Do(req)
	must(a.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(a.t, err)
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// status makes a plain HTTP request and checks the status of its answer.
func (a *agent) status(want int, method, path, body string) answer {
	a.t.Helper()
	got := a.ask(method, path, body)
	if got.status != want {
		a.t.Errorf("%s %s %.200s: status %d, want %d: %.1000s", method, path, body, got.status, want, got.body)
	}
	return got
}

// until asks a blocking query, each time from the index of the last answer, until an answer is as wanted.
func until[T any](t *testing.T, what string, ask func(*api.QueryOptions) (T, *api.QueryMeta, error), want func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last T
	q := &api.QueryOptions{}
	for {
		got, meta, err := ask(q.WithContext(ctx))
		if err != nil {
			t.Fatalf("waiting for %s: %v; the last answer was %s", what, err, asJSON(last))
		}
		if want(got) {
			return got
		}
		last, q.WaitIndex = got, meta.LastIndex
	}
}

// record keeps what a process writes.
type record struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// copy reads lines until their end, and tells when one begins with a prefix.
func (r *record) copy(from io.Reader, prefix string, seen chan<- struct{}) {
	for lines := bufio.NewReader(from); ; {
		line, err := lines.ReadString('\n')
		r.mu.Lock()
		r.all.WriteString(line)
		r.mu.Unlock()
		if seen != nil && strings.HasPrefix(line, prefix) {
			close(seen)
			seen = nil
		}
		if err != nil {
			return
		}
	}
}

func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal compares by the JSON of both, which is what clients see.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := asJSON(got), asJSON(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// refused checks that the client reports an answer with a status.
func refused(t *testing.T, what string, err error, status int) {
	t.Helper()
	var answered api.StatusError
	if !errors.As(err, &answered) || answered.Code != status || answered.Body == "" {
		t.Errorf("%s: error is %v, want status %d with a message", what, err, status)
	}
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%#v", v)
	}
	return string(text)
}
