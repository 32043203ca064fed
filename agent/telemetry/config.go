package telemetry

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Config is the telemetry block of the agent's configuration. The zero value keeps metrics in memory only.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/telemetry
type Config struct {
	MetricsPrefix   string // metrics_prefix, "consul" when empty
	HostName        string // in the names of gauges; the system's when empty
	DisableHostname bool   // disable_hostname

	// PrefixFilter is prefix_filter: "+prefix" lets metrics pass, "-prefix" blocks them. The longest prefix decides,
	// "-" among equals. A gauge is looked at with and without its host name.
	PrefixFilter []string
	// BlockByDefault is filter_default = false: what no rule names is blocked.
	BlockByDefault bool

	// PrometheusRetention is prometheus_retention_time: above 0, Prometheus is served, and a metric that was not
	// updated for so long disappears, to within 10 s.
	PrometheusRetention time.Duration

	StatsdAddr    string   // statsd_address, host:port, UDP
	StatsiteAddr  string   // statsite_address, host:port, TCP
	DogstatsdAddr string   // dogstatsd_addr, host:port for UDP or unix:///path
	DogstatsdTags []string // dogstatsd_tags, each "name:value", on every DogStatsD metric

	EnableHostMetrics bool   // enable_host_metrics: memory, CPU and disk of this machine
	DataDir           string // whose disk host metrics tell of; none when empty

	// Definitions are shown in Prometheus from the start, at zero, and give their metrics a help text.
	Definitions []Definition
}

// Kind is what a metric's values mean.
type Kind uint8

// The kinds of metrics: a gauge holds its last value, a counter adds up, a sample (or timer, in milliseconds)
// describes a distribution.
const (
	KindGauge Kind = iota + 1
	KindCounter
	KindSample
)

// Definition describes one metric ahead of its first value.
type Definition struct {
	Kind Kind
	Name []string // as given to go-metrics, without prefix
	Help string
}

// resolve fills in defaults and checks what New does not check by using it.
func (c *Config) resolve() error {
	if c.MetricsPrefix == "" {
		c.MetricsPrefix = "consul"
	}
	if c.HostName == "" {
		c.HostName, _ = os.Hostname() // a host without a name has gauges without it
	}
	if c.DisableHostname {
		c.HostName = ""
	}
	c.MetricsPrefix = strings.ReplaceAll(c.MetricsPrefix, " ", "_") // as in every part of a name
	c.HostName = strings.ReplaceAll(c.HostName, " ", "_")
	if c.PrometheusRetention < 0 {
		return fmt.Errorf("telemetry: prometheus_retention_time is %s: use 0 to turn Prometheus off, or a duration such as 60s", c.PrometheusRetention)
	}
	for _, tag := range c.DogstatsdTags {
		if tag == "" || strings.ContainsAny(tag, "|,#\n") {
			return fmt.Errorf("telemetry: dogstatsd_tags: %q is no tag: use name:value, without any of |,# and line breaks", tag)
		}
	}
	return nil
}

// checkAddr says what is wrong with the address of a setting.
func checkAddr(setting, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("telemetry: %s: %q is no address: use host:port, such as 127.0.0.1:8125", setting, addr)
	}
	return nil
}
