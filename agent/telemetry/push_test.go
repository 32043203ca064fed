package telemetry_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/telemetry"
	metrics "github.com/hashicorp/go-metrics"
)

var pushLabels = []metrics.Label{{Name: "path", Value: "v1 kv:1|c\nforged"}, {Name: "leader"}}

// pushed emits through bound instruments and through go-metrics, runs a telemetry until arrived returns, and ends it,
// which sends what is queued.
func pushed(t *testing.T, cfg telemetry.Config, arrived func()) {
	t.Helper()
	tel, err := telemetry.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- tel.Run(ctx) }()
	arrived()
	tel.Timer([]string{"api", "http"}, pushLabels...).Observe(1500 * time.Microsecond)
	tel.Counter([]string{"n"}).Add(2)
	for i := range 100 { // more than a packet
		tel.Counter([]string{"many", strconv.Itoa(i)}).Add(1)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func check(t *testing.T, got string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
	if n := strings.Count(got, "\nconsul.many."); n != 100 {
		t.Errorf("%d of 100 lines arrived", n)
	}
	gauge := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "runtime.alloc_bytes:") })
	if gauge < 0 || !strings.Contains(lines[gauge], "|g") || slices.Contains(lines, "forged") {
		t.Errorf("got\n%s", got)
	}
}

// packet reads one packet, "" if none comes.
func packet(t *testing.T, conn net.PacketConn) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, _, err := conn.ReadFrom(buf)
	if n > 1400 {
		t.Errorf("a packet of %d bytes", n)
	}
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// packets gives all that a telemetry sends to a socket: the runtime's gauges first.
func packets(t *testing.T, conn net.PacketConn, cfg telemetry.Config) string {
	t.Helper()
	var all strings.Builder
	pushed(t, cfg, func() { all.WriteString(packet(t, conn)) })
	for missing := true; missing; {
		p := packet(t, conn)
		all.WriteString(p)
		missing = p != "" && (strings.Count(all.String(), "\nconsul.many.") < 100 || !strings.Contains(all.String(), "consul.n:") || !strings.Contains(all.String(), "consul.api.http"))
	}
	return all.String()
}

func TestStatsd(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := packets(t, conn, telemetry.Config{StatsdAddr: conn.LocalAddr().String(), HostName: "h"})
	check(t, got, "consul.api.http.v1_kv_1_c_forged.:1.5|ms", "consul.n:2|c")
	if !strings.Contains(got, "consul.h.runtime.alloc_bytes:") {
		t.Errorf("no host name in\n%s", got)
	}
}

func TestDogstatsd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dsd")
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cfg := telemetry.Config{DogstatsdAddr: "unix://" + path, DogstatsdTags: []string{"env:prod"}, HostName: "h"}
	check(t, packets(t, conn, cfg), "consul.api.http:1.5|ms|#env:prod,path:v1_kv_1_c_forged,leader", "consul.n:2|c|#env:prod")
}

func TestStatsite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted, got := make(chan struct{}), make(chan string, 1)
	go func() { // ends with the connection
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		one := make([]byte, 1)
		_, _ = io.ReadFull(conn, one)
		close(accepted)
		b, _ := io.ReadAll(conn)
		got <- string(one) + string(b)
	}()
	pushed(t, telemetry.Config{StatsiteAddr: l.Addr().String()}, func() { <-accepted })
	check(t, <-got, "consul.api.http.v1_kv_1_c_forged.:1.5|ms", "consul.n:2|c")
}

// TestNoCollector: nobody listens, and the agent neither waits nor stumbles.
func TestNoCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	tel, err := telemetry.New(telemetry.Config{StatsiteAddr: l.Addr().String(), StatsdAddr: l.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- tel.Run(ctx) }()
	c := tel.Counter([]string{"n"})
	for range 20_000 { // more than the queues hold
		c.Add(1)
	}
	stop()
	if err := <-ended; err != nil || tel.Snapshot().Counters[0].Count != 20_000 {
		t.Errorf("got %v, %+v", err, tel.Snapshot().Counters)
	}
	c.Add(1) // after the end, too
}

func TestHostMetrics(t *testing.T) {
	tel, err := telemetry.New(telemetry.Config{EnableHostMetrics: true, DataDir: t.TempDir(), HostName: "h", PrefixFilter: quiet}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := tel.Run(ctx); err != nil { // one collection, and the end
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, g := range tel.Snapshot().Gauges {
		got[g.Name] = g.Value
	}
	for _, name := range []string{"memory.total", "memory.used_percent", "disk.size", "uptime"} {
		if got["consul.h.host."+name] <= 0 {
			t.Errorf("no %s in %v", name, got)
		}
	}
}
