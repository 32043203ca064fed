// Package testkit runs agents for tests, in the test's process or as processes of their own.
//
// A Node is the place of one agent: its ports, its directory and its configuration. Start runs it in this
// process, where its store can be looked at; Spawn runs the real program, which can be killed. Either waits
// until the agent leads, and the test's end stops it. A Node can be run again after its agent has ended.
package testkit

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long anything may take that a test waits for. It is reached only when the test fails.
const patience = 2 * time.Minute

// Settings are the content of a configuration file. Settings within Settings are merged with the defaults.
type Settings map[string]any

// Node is the place of one agent.
type Node struct {
	Ports
	Client
	// Dir is a temporary directory of its own. The data directory is "data" in it, except with Dev.
	Dir string
	// Dev runs the agent with -dev.
	Dev bool
}

// New returns the place of a lone server with these settings on top of the defaults.
func New(t testing.TB, s Settings) *Node {
	t.Helper()
	n := &Node{Ports: FreePorts(t), Dir: t.TempDir()}
	n.Client = newClient(t, n.Ports.HTTP)
	defaults := Settings{
		"node_name": "n1", "server": true, "bootstrap_expect": 1, "data_dir": n.Data(), "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
		"log_level": "debug", "ports": Settings{
			"dns": n.DNS, "http": n.Ports.HTTP, "https": -1, "grpc": -1, "grpc_tls": n.Peering, "serf_lan": n.SerfLAN, "serf_wan": n.SerfWAN, "server": n.Server,
		},
	}
	n.Configure(t, merge(defaults, s))
	return n
}

// NewDev returns the place of an agent with -dev.
func NewDev(t testing.TB, s Settings) *Node {
	t.Helper()
	n := New(t, merge(Settings{"data_dir": ""}, s))
	n.Dev = true
	return n
}

func merge(base, more Settings) Settings {
	for key, value := range more {
		inner, ok := base[key].(Settings)
		added, both := value.(Settings)
		if ok && both {
			value = merge(inner, added)
		}
		base[key] = value
	}
	return base
}

// Config is the path of the configuration file.
func (n *Node) Config() string { return filepath.Join(n.Dir, "agent.json") }

// Data is the path of the data directory.
func (n *Node) Data() string { return filepath.Join(n.Dir, "data") }

// Configure changes settings in the configuration file; nil removes one.
func (n *Node) Configure(t testing.TB, s Settings) {
	t.Helper()
	all := Settings{}
	if text, err := os.ReadFile(n.Config()); err == nil {
		if err := json.Unmarshal(text, (*map[string]any)(&all)); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range merge(all, s) {
		if value == nil || value == "" {
			delete(all, key)
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.Config(), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Ports are those of one agent, all on 127.0.0.1.
type Ports struct{ DNS, HTTP, SerfLAN, SerfWAN, Server, Peering int }

// Ports are taken in blocks below those that systems give to outgoing connections.
const (
	firstBlock, blocks, blockSize = 10000, 2000, 10
	blockTries                    = 100
)

// FreePorts returns ports that nobody uses. They stay reserved among the users of this package, of all
// processes, until the test ends.
func FreePorts(t testing.TB) Ports {
	t.Helper()
	for range blockTries {
		first := firstBlock + rand.N(blocks)*blockSize
		guard, err := net.Listen("tcp", loopback(first)) // whoever holds it has the block
		if err != nil {
			continue
		}
		if p := first + 1; free(p, p+1, p+2, p+3, p+4, p+5) {
			t.Cleanup(func() { guard.Close() })
			return Ports{p, p + 1, p + 2, p + 3, p + 4, p + 5}
		}
		guard.Close()
	}
	t.Fatalf("no free ports from %d on", firstBlock)
	return Ports{}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func free(ports ...int) bool {
	for _, port := range ports {
		stream, err := net.Listen("tcp", loopback(port))
		if err != nil {
			return false
		}
		stream.Close()
		packets, err := net.ListenPacket("udp", loopback(port))
		if err != nil {
			return false
		}
		packets.Close()
	}
	return true
}
