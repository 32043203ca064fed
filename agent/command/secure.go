package command

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/gossip"
	"github.com/curia-mesh/curia/server"
)

// The files that init and join write into the directory of the configuration.
const (
	secureConfig  = "curia.json"
	secureCA      = "ca.pem"
	secureCAKey   = "ca-key.pem"
	secureCert    = "agent.pem"
	secureKey     = "agent-key.pem"
	secureSeed    = "join-tokens.seed" // not .json, which the agent would read
	secureCADays  = 10 * 365
	secureDays    = 365
	addressesHint = "set bind_addr or advertise_addr in a file in the directory of the configuration"
)

// place is where init and join put an agent.
type place struct {
	dir, data string
	run       bool
}

func bindPlace(f *flag.FlagSet) *place {
	p := &place{}
	f.StringVar(&p.dir, "config-dir", "/etc/curia.d", "The `directory` for the configuration. What files there say already, such as addresses and ports, counts.")
	f.StringVar(&p.data, "data-dir", "/var/lib/curia", "The `directory` for the agent's data.")
	f.BoolVar(&p.run, "run", false, "Become the agent afterwards.")
	return p
}

// open makes the directories, where they are missing, and reads what the configuration says so far.
func (p *place) open(settings map[string]any) (*config.Config, error) {
	for _, dir := range []*string{&p.dir, &p.data} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return nil, err
		}
		*dir = abs
		if err := os.MkdirAll(abs, 0o700); err != nil {
			return nil, err
		}
	}
	if _, err := os.Lstat(p.file(secureConfig)); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s exists already: this machine is in a cluster; run it with %s agent -config-dir=%s", p.file(secureConfig), program, p.dir)
	}
	settings["data_dir"] = p.data
	var more []string
	for key, value := range settings {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		more = append(more, key+" = "+string(text))
	}
	cfg, _, err := config.Load(config.Args{Paths: []string{p.dir}, HCL: more})
	return cfg, err
}

func (p *place) file(name string) string { return filepath.Join(p.dir, name) }

// write makes the files, of mode 0600, the configuration last: an agent whose set-up broke off does not start by half.
func (p *place) write(files map[string]string, settings map[string]any) error {
	text, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return err
	}
	var made []string
	create := func(name, text string) error {
		f, err := os.OpenFile(p.file(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		made = append(made, p.file(name))
		_, err = f.WriteString(text)
		return errors.Join(err, f.Sync(), f.Close())
	}
	for name, text := range files {
		if err = create(name, text); err != nil {
			break
		}
	}
	if err == nil {
		err = create(secureConfig, string(text)+"\n")
	}
	if err != nil {
		for _, name := range made {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// security is the settings of TLS between agents and of their files.
func (p *place) security() map[string]any {
	return map[string]any{"internal_rpc": map[string]any{
		"ca_file": p.file(secureCA), "cert_file": p.file(secureCert), "key_file": p.file(secureKey), "verify_incoming": true, "verify_outgoing": true, "verify_server_hostname": true,
	}}
}

func (p *place) joins() map[string]any {
	return map[string]any{"ca_file": p.file(secureCA), "ca_key_file": p.file(secureCAKey), "seed_file": p.file(secureSeed), "renew": true}
}

// begin becomes the agent, or says how it is run.
func (p *place) begin(c *call) error {
	args := []string{program, "agent", "-config-dir=" + p.dir}
	if !p.run {
		c.say("\nRun the agent:\n\n  %s", strings.Join(args, " "))
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", strings.Join(args, " "), syscall.Exec(self, args, os.Environ()))
}

func initCluster(f *flag.FlagSet) action {
	p := bindPlace(f)
	servers := f.Int("servers", 3, "How `many` servers the cluster is to have. The join token for servers lets in one less.")
	clients := f.Int("clients", 1000, "How `many` client agents may join with the token for these.")
	ttl := f.Duration("ttl", 24*time.Hour, "How `long` the two join tokens are good.")
	return func(_ context.Context, c *call) error {
		if *servers < 1 || *servers > 11 || *clients < 1 {
			return usage("-servers %d and -clients %d: want 1 to 11, and 1 or more", *servers, *clients)
		}
		made, err := p.found(*servers, *clients, *ttl)
		if err != nil {
			return err
		}
		c.say("A new cluster is prepared in %s: datacenter %s, first server %s.\nTLS with its own CA, encrypted gossip, tokens are checked and the default is to deny.", p.dir, made.datacenter, made.node)
		c.say("\nThe management token, which may do everything (it is in %s too):\n\n  export CURIA_HTTP_TOKEN=%s", p.file(secureConfig), made.management)
		if made.servers != nil {
			c.say("\nOn each further server:\n\n  %s join -run %s", program, made.servers)
		}
		c.say("\nOn each client agent:\n\n  %s join -run %s", program, made.clients)
		c.say("\nThe tokens let in until %s. Make others with %s operator join-token create.", time.Now().Add(*ttl).Format(time.RFC3339), program)
		return p.begin(c)
	}
}

// founded is what a new cluster is reached and joined with. The join token for servers is nil when one is all.
type founded struct {
	datacenter, node, management string
	servers, clients             *server.JoinText
}

// found writes what the first server of a new secured cluster needs.
func (p *place) found(servers, clients int, ttl time.Duration) (*founded, error) {
	cfg, err := p.open(map[string]any{"server": true, "bootstrap_expect": 1})
	if err != nil {
		return nil, err
	}
	ca, caKey, err := newCA(cfg)
	if err != nil {
		return nil, err
	}
	files, err := agentFiles(cfg, "server", ca, caKey)
	if err != nil {
		return nil, err
	}
	made := &founded{datacenter: cfg.Datacenter, node: cfg.NodeName, management: newSecret()}
	agent := newSecret()
	seed := server.JoinSeeds{Node: cfg.NodeName, AgentToken: agent}
	for _, one := range []struct {
		role catalog.JoinRole
		uses int
		text **server.JoinText
	}{{catalog.JoinServer, servers - 1, &made.servers}, {catalog.JoinClient, clients, &made.clients}} {
		if one.uses == 0 {
			continue
		}
		at := fmt.Sprintf("%s:%d", bracketed(cfg.AdvertiseAddr), cfg.Ports.Server)
		token, text, err := server.NewJoin(one.role, one.uses, ttl, ca, cfg.Datacenter, strings.TrimSuffix(cfg.Domain, "."), []string{at})
		if err != nil {
			return nil, err
		}
		seed.Tokens = append(seed.Tokens, server.JoinSeed{JoinToken: *token, Hash: token.Hash})
		*one.text = text
	}
	text, err := json.Marshal(seed)
	if err != nil {
		return nil, err
	}
	files[secureSeed] = string(text)
	settings := map[string]any{
		"server": true, "bootstrap_expect": 1, "data_dir": p.data, "datacenter": cfg.Datacenter, "node_name": cfg.NodeName, "encrypt": gossip.NewKey().Base64(),
		"tls": p.security(), "join": p.joins(),
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny", "tokens": map[string]any{"initial_management": made.management, "agent": agent, "dns": agent},
		},
	}
	return made, p.write(files, settings)
}

// newCA makes the CA for connections between agents.
func newCA(cfg *config.Config) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	serial, err := connect.NewSerial()
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Curia agents of " + cfg.Datacenter + " " + serial.String()}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(secureCADays * day),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("create the CA: %w", err)
	}
	ca, err := x509.ParseCertificate(der)
	return ca, key, err
}

// agentFiles are the CA and a first certificate signed by it.
func agentFiles(cfg *config.Config, kind string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (map[string]string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spec := &connect.AgentCert{Kind: kind, Datacenter: cfg.Datacenter, Domain: strings.TrimSuffix(cfg.Domain, "."), Life: secureDays * day}
	spec.NameNode(cfg.NodeName)
	der, err := spec.Sign(ca, caKey, key.Public(), time.Now())
	if err != nil {
		return nil, err
	}
	caPEM := connect.EncodeCertificate(ca.Raw)
	caKeyPEM, err := connect.EncodeKey(caKey)
	if err != nil {
		return nil, err
	}
	keyPEM, err := connect.EncodeKey(key)
	return map[string]string{secureCA: caPEM, secureCAKey: caKeyPEM, secureCert: connect.EncodeCertificate(der) + caPEM, secureKey: keyPEM}, err
}

// newSecret is a random UUID, for tokens.
func newSecret() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails, see crypto/rand
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func newRequest(node string) (csr string, key *ecdsa.PrivateKey, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return "", nil, err
	}
	csr, err = connect.NewRequest(key, node)
	return csr, key, err
}
