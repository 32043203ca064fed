package command

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// maxPairs is how many certificates of a kind may lie in one folder.
const maxPairs = 10_000

// certSpec is a certificate to make.
type certSpec struct {
	kind, dc, domain, node string
	days                   int
	dns, ips               []string
}

func tlsCertCreate(f *flag.FlagSet) action {
	server := f.Bool("server", false, "Make a certificate for a server.")
	agent := f.Bool("client", false, "Make a certificate for a client agent.")
	cli := f.Bool("cli", false, "Make a certificate for the command line.")
	s := &certSpec{}
	f.StringVar(&s.dc, "dc", "dc1", "The `name` of the datacenter.")
	f.StringVar(&s.domain, "domain", "consul", "The `domain` of the cluster.")
	f.StringVar(&s.node, "node", "", "The `name` of the server's node, for a certificate of that node alone.")
	f.IntVar(&s.days, "days", 365, "How `many` days the certificate is valid.")
	caFile := f.String("ca", "#DOMAIN#-agent-ca.pem", "A `file` with the CA's certificate.")
	keyFile := f.String("key", "#DOMAIN#-agent-ca-key.pem", "A `file` with the CA's key.")
	dns := listVar(f, "additional-dnsname", "A further `name` that the certificate is for. It can be given several times.")
	ips := listVar(f, "additional-ipaddress", "A further `address` that the certificate is for. It can be given several times.")
	return func(_ context.Context, c *call) error {
		chosen := 0
		for kind, on := range map[string]bool{"server": *server, "client": *agent, "cli": *cli} {
			if on {
				chosen++
				s.kind = kind
			}
		}
		s.dns, s.ips = *dns, *ips
		switch {
		case chosen != 1:
			return usage("for whom? set one of -server, -client and -cli")
		case s.days < 1 || s.days > maxDays:
			return usage("-days %d: want 1 to %d", s.days, maxDays)
		case s.node != "" && s.kind != "server":
			return usage("-node needs -server")
		case !catalog.IsDNSLabel(s.dc) || !isDomain(s.domain) || s.node != "" && !isDomain(s.node):
			return usage("-dc, -domain and -node must be DNS names of letters, digits and dashes")
		}
		caPath := strings.ReplaceAll(*caFile, "#DOMAIN#", s.domain)
		keyPath := strings.ReplaceAll(*keyFile, "#DOMAIN#", s.domain)
		ca, caKey, err := loadCA(caPath, keyPath)
		if err != nil {
			return err
		}
		spec, err := s.certificate()
		if err != nil {
			return err
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := spec.Sign(ca, caKey, key.Public(), time.Now())
		if err != nil {
			return err
		}
		if s.kind == "server" {
			c.note("==> WARNING: Who has this certificate can be a server of datacenter %s and read all of its data. Give every server its own, and keep the CA's key away from them.", s.dc)
		}
		c.say("==> Using %s and %s", caPath, keyPath)
		name, err := s.free()
		if err != nil {
			return err
		}
		return c.savePair(name, der, key)
	}
}

// certificate is what the CA is to sign.
func (s *certSpec) certificate() (*connect.AgentCert, error) {
	c := &connect.AgentCert{Kind: s.kind, Datacenter: s.dc, Domain: s.domain, Node: s.node, Life: time.Duration(s.days) * day, DNS: s.dns}
	for _, text := range s.ips {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, usage("-additional-ipaddress %q is no IP address", text)
		}
		c.IPs = append(c.IPs, ip)
	}
	return c, nil
}

// free is the first name of this kind that no file here has.
func (s *certSpec) free() (string, error) {
	for n := range maxPairs {
		name := fmt.Sprintf("%s-%s-%s-%d", s.dc, s.kind, s.domain, n)
		taken := false
		for _, file := range []string{name + ".pem", name + "-key.pem"} {
			_, err := os.Lstat(file)
			taken = taken || !errors.Is(err, os.ErrNotExist)
		}
		if !taken {
			return name, nil
		}
	}
	return "", fmt.Errorf("this folder holds %d certificates of this kind: use another", maxPairs)
}

func loadCA(certFile, keyFile string) (*x509.Certificate, crypto.PrivateKey, error) {
	hint := func(err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: make a CA with %s tls ca create, or name one with -ca and -key", err, program)
		}
		return err
	}
	for _, path := range []string{certFile, keyFile} {
		if _, err := readFile(path, maxDefinition); err != nil {
			return nil, nil, hint(err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("CA %s with key %s: %w", certFile, keyFile, err)
	}
	if !pair.Leaf.IsCA {
		return nil, nil, fmt.Errorf("%s is no certificate of a CA", certFile)
	}
	return pair.Leaf, pair.PrivateKey, nil
}

// isDomain reports whether text is a domain name, which may become part of a file's name.
func isDomain(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		if !catalog.IsDNSLabel(label) {
			return false
		}
	}
	return true
}
