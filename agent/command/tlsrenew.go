package command

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/durable"
)

// tlsCertRenew replaces a certificate by one for the same names, with a new key and a new life.
func tlsCertRenew(f *flag.FlagSet) action {
	days := f.Int("days", 0, "How `many` days the new certificate is valid. The default is as many as the old one was.")
	caFile := f.String("ca", "", "A `file` with the CA's certificate. The default is the one of tls ca create.")
	caKeyFile := f.String("ca-key", "", "A `file` with the CA's key.")
	domain := f.String("domain", "consul", "The `domain` of the cluster, for the default of -ca and -ca-key.")
	keyFile := f.String("key", "", "The `file` with the certificate's key. The default is its name with -key before .pem.")
	return func(_ context.Context, c *call) error {
		certFile := c.args[0]
		if *days < 0 || *days > maxDays {
			return usage("-days %d: want 1 to %d", *days, maxDays)
		}
		if *keyFile == "" {
			*keyFile = strings.TrimSuffix(certFile, ".pem") + "-key.pem"
		}
		for file, suffix := range map[*string]string{caFile: "-agent-ca.pem", caKeyFile: "-agent-ca-key.pem"} {
			if *file == "" {
				*file = *domain + suffix
			}
		}
		ca, caKey, err := loadCA(*caFile, *caKeyFile)
		if err != nil {
			return err
		}
		old, err := tls.LoadX509KeyPair(certFile, *keyFile)
		if err != nil {
			return fmt.Errorf("certificate %s with key %s: %w", certFile, *keyFile, err)
		}
		life := old.Leaf.NotAfter.Sub(old.Leaf.NotBefore)
		if *days > 0 {
			life = time.Duration(*days) * day
		}
		der, key, err := renewed(old.Leaf, ca, caKey, life)
		if err != nil {
			return err
		}
		text := connect.EncodeCertificate(der)
		if len(old.Certificate) > 1 { // it came with its CA, and so does the new one
			text += connect.EncodeCertificate(ca.Raw)
		}
		keyText, err := connect.EncodeKey(key)
		if err != nil {
			return err
		}
		// The key first: an agent that reads between the two finds a pair that does not match, keeps what it has, and
		// looks again.
		if err := durable.Write(*keyFile, []byte(keyText), 0o600); err != nil {
			return err
		}
		if err := durable.Write(certFile, []byte(text), 0o644); err != nil {
			return fmt.Errorf("%s has a new key already, run this again: %w", *keyFile, err)
		}
		c.say("==> Renewed %s and %s, until %s", certFile, *keyFile, time.Now().Add(life).Format(time.DateOnly))
		c.note("==> Running agents take it up with %s reload, or by themselves with auto_reload_config.", program)
		return nil
	}
}

// renewed is a certificate like old, for a new key.
func renewed(old, ca *x509.Certificate, caKey any, life time.Duration) ([]byte, *ecdsa.PrivateKey, error) {
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
		SerialNumber: serial, Subject: old.Subject, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life), BasicConstraintsValid: true,
		KeyUsage: old.KeyUsage, ExtKeyUsage: old.ExtKeyUsage, DNSNames: old.DNSNames, IPAddresses: old.IPAddresses, URIs: old.URIs, EmailAddresses: old.EmailAddresses,
	}
	if old.IsCA {
		return nil, nil, errors.New("this is the certificate of a CA: make another with tls ca create, and trust both for a while")
	}
	if t.NotAfter.After(ca.NotAfter) {
		return nil, nil, fmt.Errorf("the certificate would outlive its CA, which ends on %s: set fewer -days", ca.NotAfter.Format(time.DateOnly))
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca, key.Public(), caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("create the certificate: %w", err)
	}
	return der, key, nil
}
