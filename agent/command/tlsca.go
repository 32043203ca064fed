package command

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
)

// day is a day of a certificate's life.
const day = 24 * time.Hour

// maxDays is how long certificates may live.
const maxDays = 100 * 365

func tlsCACreate(f *flag.FlagSet) action {
	domain := f.String("domain", "consul", "The `domain` of the cluster.")
	days := f.Int("days", 5*365, "How `many` days the CA is valid.")
	common := f.String("common-name", "", "The CA's `name`. The default is made up of its serial number.")
	constraint := f.Bool("name-constraint", false, "Limit the CA to the domain, localhost and those of -additional-name-constraint.")
	more := listVar(f, "additional-name-constraint", "A further `domain` that the CA is limited to. It can be given several times.")
	cluster := f.String("cluster-id", "", "The `id` of the cluster, a UUID, for the CA's SPIFFE trust domain.")
	return func(_ context.Context, c *call) error {
		switch {
		case len(*more) > 0 && !*constraint:
			return usage("-additional-name-constraint needs -name-constraint")
		case *days < 1 || *days > maxDays:
			return usage("-days %d: want 1 to %d", *days, maxDays)
		case *cluster != "" && !catalog.IsUUID(*cluster):
			return usage("-cluster-id %q is no UUID", *cluster)
		case !isDomain(*domain):
			return usage("-domain %q is no domain name", *domain)
		}
		serial, err := connect.NewSerial()
		if err != nil {
			return err
		}
		if *common == "" {
			*common = "Curia Agent CA " + serial.String()
		}
		now := time.Now()
		ca := &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: *common}, NotBefore: now.Add(-time.Minute),
			NotAfter: now.Add(time.Duration(*days) * day), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		}
		if *constraint {
			ca.PermittedDNSDomainsCritical = true
			ca.PermittedDNSDomains = append(append([]string{}, *more...), *domain, "localhost")
		}
		if *cluster != "" {
			ca.URIs = []*url.URL{{Scheme: "spiffe", Host: *cluster + "." + *domain}}
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
		if err != nil {
			return fmt.Errorf("create the CA: %w", err)
		}
		return c.savePair(*domain+"-agent-ca", der, key)
	}
}

// savePair writes a certificate and its key to new files.
func (c *call) savePair(name string, der []byte, key *ecdsa.PrivateKey) error {
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	keyFile, certFile := name+"-key.pem", name+".pem"
	if err := create(keyFile, "EC PRIVATE KEY", keyDER, 0o600); err != nil {
		return err
	}
	if err := create(certFile, "CERTIFICATE", der, 0o644); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	c.say("==> Saved %s\n==> Saved %s", certFile, keyFile)
	return nil
}

// create writes a PEM file that must not exist yet.
func create(path, kind string, der []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already: move it away first", path)
	}
	if err != nil {
		return err
	}
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
