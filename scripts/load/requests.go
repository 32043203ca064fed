//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
)

// request is a row of the table of requests.
type request struct {
	name    string
	clients int
	agent   func(i, n int) wire // connection i of n to Curia or Consul
	etcd    func(i, n int) wire // the same of etcd, nil where it has nothing like it
	consul  figure              // as recorded
	etcdRec figure              // as recorded, to see how this machine differs
	goal    goal

	follower bool // it is asked of a server that has to ask the leader
}

// key names the row among all.
func (q request) key() string { return fmt.Sprintf("%s × %d", q.name, q.clients) }

// keys is how many keys, services or nodes a row of writes goes through.
const keys = 1000

// value is what a key holds: 128 bytes.
var value = strings.Repeat("v", 128)

// requests are the rows of PERFORMANCE that one server answers.
func requests() []request {
	both := []string{"etcd", "Consul"}
	consul := []string{"Consul"}
	return []request{
		{"KV put 128 B", 1, kvPut, etcdPut, recorded(1693, 0.55, 1.1, 517), recorded(1320, 0.71, 1.6, 576),
			goal{text: "1.2× the better of both", ratio: 1.2, of: both}, false},
		{"KV put 128 B", 64, kvPut, etcdPut, recorded(6440, 8.8, 25, 226), recorded(12101, 4.7, 14, 85),
			goal{text: "≥ etcd; CPU ≤ 90 µs", ratio: 1, of: []string{"etcd"}, cpu: 90}, false},
		{"KV get, default", 64, kvGet, etcdGet, recorded(15200, 3.7, 15, 95), recorded(8219, 6.8, 21, 161),
			goal{text: "2× Consul; CPU ≤ 45 µs", ratio: 2, of: consul, cpu: 45}, false},
		{"health read, 1 instance", 16, health(1), nil, recorded(8877, 1.3, 8.7, 165), figure{},
			goal{text: "3×; CPU ≤ 55 µs", ratio: 3, of: consul, cpu: 55}, false},
		{"health read, 10 instances", 16, health(10), nil, recorded(4277, 3.0, 16, 355), figure{},
			goal{text: "5×; CPU ≤ 65 µs", ratio: 5, of: consul, cpu: 65}, false},
		{"health read, 100 instances", 16, health(100), nil, recorded(962, 7, 71, 1866), figure{},
			goal{text: "≥ 10×; CPU ≤ 150 µs", ratio: 10, of: consul, cpu: 150}, false},
		{"catalog register", 64, catalogRegister, nil, recorded(2267, 26, 61, 591), figure{},
			goal{text: "≥ 3×; CPU ≤ 150 µs", ratio: 3, of: consul, cpu: 150}, false},
		{"agent register", 1, agentRegister, nil, recorded(568, 1.7, 4.9, 1379), figure{},
			goal{text: "2×", ratio: 2, of: consul}, false},
		{"agent register", 64, agentRegister, nil, recorded(435, 143, 199, 2373), figure{},
			goal{text: "≥ 10×; rises with load", ratio: 10, of: consul, rising: "agent register × 1"}, false},
	}
}

func recorded(rate, p50, p99, cpu float64) figure {
	ms := func(v float64) time.Duration { return time.Duration(v * 1e6) }
	return figure{rate: rate, p50: ms(p50), p99: ms(p99), cpu: ms(cpu / 1e3)}
}

func kvPut(i, n int) wire { return newHTTP1("PUT", "/v1/kv/bench/####", value, among(keys, i, n)) }
func kvGet(i, n int) wire { return newHTTP1("GET", "/v1/kv/bench/####", "", among(keys, i, n)) }

// The messages of etcd's API (etcdserverpb/rpc.proto): PutRequest has key = 1 and value = 2, RangeRequest
// has key = 1. A read is linearizable, its default, as Consul's default read is.
func etcdPut(i, n int) wire {
	return newGRPC("/etcdserverpb.KV/Put", etcdKey+"\x12"+string([]byte{0x80, 0x01})+value, among(keys, i, n))
}

func etcdGet(i, n int) wire { return newGRPC("/etcdserverpb.KV/Range", etcdKey, among(keys, i, n)) }

const etcdKey = "\x0a\x0abench/####"

// health reads a service that prepare has registered.
func health(instances int) func(i, n int) wire {
	return func(int, int) wire { return newHTTP1("GET", "/v1/health/service/"+serviceOf(instances), "") }
}

func serviceOf(instances int) string { return fmt.Sprintf("bench-%d", instances) }

// catalogRegister changes the port of one service on each of many nodes.
func catalogRegister(i, n int) wire {
	return newHTTP1("PUT", "/v1/catalog/register",
		`{"Node":"node-####","Address":"10.0.0.1","Service":{"ID":"web","Service":"bench-catalog","Port":#####}}`,
		among(keys, i, n), changing)
}

// agentRegister changes the port of many services of the agent itself.
func agentRegister(i, n int) wire {
	return newHTTP1("PUT", "/v1/agent/service/register", `{"ID":"local-####","Name":"bench-local","Port":#####}`,
		among(keys, i, n), changing)
}

// instance is the registration of one instance, with the checks that an agent's instance has.
func instance(service string, number, port int) string {
	node := fmt.Sprintf("%s-node-%03d", service, number)
	return fmt.Sprintf(`{"Node":%q,"ID":"00000000-0000-4000-8000-%012x","Address":"10.1.%d.%d",
		"Service":{"ID":"%s-1","Service":%q,"Address":"10.1.%d.%d","Port":%d},
		"Checks":[{"Node":%q,"CheckID":"service:%s","Name":"Service check","Status":"passing","ServiceID":"%s-1"}]}`,
		node, nodeID(service, number), number/250, number%250+1,
		service, service, number/250, number%250+1, port, node, service, service)
}

// nodeID gives each node of each service an id of its own.
func nodeID(service string, number int) int { return len(service)<<32 | number }
