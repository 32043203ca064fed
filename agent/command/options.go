package command

import (
	"flag"
	"fmt"
	"strings"

	"github.com/curia-mesh/curia/agent/client"
)

// apiOptions are the options of every command that asks an agent.
type apiOptions struct {
	address, token, tokenFile, datacenter         string
	caFile, caPath, certFile, keyFile, serverName string
	namespace, partition                          string
	stale                                         bool
}

// bindAPI adds the common options to a set; none when the command is offline.
func bindAPI(f *flag.FlagSet, r reach) *apiOptions {
	if r == offline {
		return nil
	}
	o := &apiOptions{}
	f.StringVar(&o.address, "http-addr", "", "The `address` of the agent: host:port, http://host:port, https://host:port or unix:///path. CURIA_HTTP_ADDR sets it too. The default is http://127.0.0.1:8500.")
	f.StringVar(&o.token, "token", "", "The ACL `token` to use. CURIA_HTTP_TOKEN sets it too.")
	f.StringVar(&o.tokenFile, "token-file", "", "A `file` that holds the ACL token; it wins over -token. CURIA_HTTP_TOKEN_FILE sets it too.")
	f.StringVar(&o.caFile, "ca-file", "", "A `file` of CA certificates to check the agent by. CURIA_CACERT sets it too.")
	f.StringVar(&o.caPath, "ca-path", "", "A `directory` of files of CA certificates. CURIA_CAPATH sets it too.")
	f.StringVar(&o.certFile, "client-cert", "", "A `file` of the client's certificate. CURIA_CLIENT_CERT sets it too.")
	f.StringVar(&o.keyFile, "client-key", "", "A `file` of the client certificate's key. CURIA_CLIENT_KEY sets it too.")
	f.StringVar(&o.serverName, "tls-server-name", "", "The `name` that the agent's certificate must be for. CURIA_TLS_SERVER_NAME sets it too.")
	f.StringVar(&o.namespace, "namespace", "", "The `namespace`; there is only \"default\".")
	f.StringVar(&o.partition, "partition", "", "The admin `partition`; there is only \"default\".")
	if r == toServers {
		f.StringVar(&o.datacenter, "datacenter", "", "The `name` of the datacenter to ask. The default is the agent's own.")
		f.BoolVar(&o.stale, "stale", false, "Let any server answer, not only the leader, with data that may be old.")
	}
	return o
}

// common reports whether an option is one of those that bindAPI adds.
func common(name string) bool {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	bindAPI(f, toServers)
	return f.Lookup(name) != nil
}

// connect makes the client that the options and the environment describe; options win.
func (o *apiOptions) connect(f *flag.FlagSet, getenv func(string) string) (*client.Client, client.Query, error) {
	cfg, err := client.FromEnv(getenv)
	if err != nil {
		return nil, client.Query{}, err
	}
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	if given["token"] {
		cfg.TokenFile = "" // an option beats the environment's file
	}
	for name, to := range map[string]struct{ to, value *string }{
		"http-addr": {&cfg.Address, &o.address}, "token": {&cfg.Token, &o.token}, "token-file": {&cfg.TokenFile, &o.tokenFile},
		"ca-file": {&cfg.TLS.CAFile, &o.caFile}, "ca-path": {&cfg.TLS.CAPath, &o.caPath}, "client-cert": {&cfg.TLS.CertFile, &o.certFile},
		"client-key": {&cfg.TLS.KeyFile, &o.keyFile}, "tls-server-name": {&cfg.TLS.ServerName, &o.serverName},
		"namespace": {&cfg.Namespace, &o.namespace}, "partition": {&cfg.Partition, &o.partition}, "datacenter": {&cfg.Datacenter, &o.datacenter},
	} {
		if given[name] {
			*to.to = *to.value
		}
	}
	c, err := client.New(cfg)
	return c, client.Query{Stale: o.stale}, err
}

// list is an option that can be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set adds one value.
func (l *list) Set(v string) error {
	*l = append(*l, v)
	return nil
}

// pairs is an option of the form key=value that can be given several times.
type pairs map[string]string

func (p pairs) String() string { return joinPairs(p, ",") }

// Set adds one pair.
func (p pairs) Set(v string) error {
	key, value, ok := strings.Cut(v, "=")
	if !ok || key == "" {
		return fmt.Errorf("%q has no form key=value", v)
	}
	p[key] = value
	return nil
}

func listVar(f *flag.FlagSet, name, help string) *list {
	l := &list{}
	f.Var(l, name, help)
	return l
}

func pairsVar(f *flag.FlagSet, name, help string) pairs {
	p := pairs{}
	f.Var(p, name, help)
	return p
}

func formatVar(f *flag.FlagSet) *string {
	return f.String("format", "pretty", "The `format` of the output: pretty or json.")
}

func checkFormat(format string) error {
	if format != "pretty" && format != "json" {
		return usage("unknown format %q: want pretty or json", format)
	}
	return nil
}

// given reports whether the command line has an option.
func given(f *flag.FlagSet, name string) bool {
	found := false
	f.Visit(func(fl *flag.Flag) { found = found || fl.Name == name })
	return found
}
