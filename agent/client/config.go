package client

import (
	"fmt"
	"strconv"
	"time"
)

// Defaults of a Config.
const (
	DefaultAddress = "127.0.0.1:8500"
	DefaultTimeout = time.Minute
	DefaultMaxBody = 256 << 20
)

// Config says which agent to ask and how. The zero value asks the one on this machine.
type Config struct {
	// Address is host:port, http://host:port, https://host:port, each with an optional path, or
	// unix:///path/to/socket. Empty means DefaultAddress.
	Address string
	// HTTPS is used where Address names no scheme.
	HTTPS bool
	// Token is sent with every request. A TokenFile that is not empty wins; New reads it once.
	Token     string
	TokenFile string
	// BasicAuth is user or user:password for a proxy in front of the agent.
	BasicAuth string
	// Datacenter, Namespace and Partition go with every request when set.
	Datacenter string
	Namespace  string
	Partition  string
	TLS        TLS
	// Timeout is how long an answer may take, the wait of a blocking query aside. 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxBody is how many bytes of an answer are read at most. 0 means DefaultMaxBody.
	MaxBody int64
}

// TLS says how an https agent is checked and how the client shows who it is. All paths are of PEM files.
type TLS struct {
	CAFile     string
	CAPath     string // a directory of CA files
	CertFile   string
	KeyFile    string
	ServerName string // in place of the address's host
	SkipVerify bool
}

// Variables are the environment variables that FromEnv reads, without their prefix. Each is read as
// CURIA_* first, then as CONSUL_*.
func Variables() []string {
	return []string{
		"HTTP_ADDR", "HTTP_TOKEN", "HTTP_TOKEN_FILE", "HTTP_AUTH", "HTTP_SSL", "HTTP_SSL_VERIFY", "CACERT", "CAPATH",
		"CLIENT_CERT", "CLIENT_KEY", "TLS_SERVER_NAME", "NAMESPACE", "PARTITION",
	}
}

// FromEnv makes a Config of environment variables; getenv is os.Getenv or a stand-in. It fails when a
// variable that should be true or false is neither.
func FromEnv(getenv func(string) string) (Config, error) {
	get := func(name string) (variable, value string) {
		for _, prefix := range []string{"CURIA_", "CONSUL_"} {
			if v := getenv(prefix + name); v != "" {
				return prefix + name, v
			}
		}
		return "", ""
	}
	text := func(name string) string { _, v := get(name); return v }
	var failed error
	boolean := func(name string, unset bool) bool {
		variable, v := get(name)
		if v == "" {
			return unset
		}
		b, err := strconv.ParseBool(v)
		if err != nil && failed == nil {
			failed = fmt.Errorf("environment variable %s is %q: set it to true or false", variable, v)
		}
		return b
	}
	cfg := Config{
		Address: text("HTTP_ADDR"), HTTPS: boolean("HTTP_SSL", false),
		Token: text("HTTP_TOKEN"), TokenFile: text("HTTP_TOKEN_FILE"), BasicAuth: text("HTTP_AUTH"),
		Namespace: text("NAMESPACE"), Partition: text("PARTITION"),
		TLS: TLS{
			CAFile: text("CACERT"), CAPath: text("CAPATH"), CertFile: text("CLIENT_CERT"), KeyFile: text("CLIENT_KEY"),
			ServerName: text("TLS_SERVER_NAME"), SkipVerify: !boolean("HTTP_SSL_VERIFY", true),
		},
	}
	return cfg, failed
}
