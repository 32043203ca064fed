package trust

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/curia-mesh/curia/agent/config"
)

// Material is what the files of one interface held when they were read. It does not change.
type Material struct {
	// Certificate is nil where none is configured.
	Certificate *tls.Certificate
	// Roots are whom others' certificates must be signed by, nil where none are configured.
	Roots *x509.CertPool
	// MinVersion and Suites bound what is spoken; no Suites are those that crypto/tls holds to be safe.
	MinVersion uint16
	Suites     []uint16
}

var versions = map[string]uint16{
	"": tls.VersionTLS12, "TLSv1_0": tls.VersionTLS10, "TLSv1_1": tls.VersionTLS11, "TLSv1_2": tls.VersionTLS12, "TLSv1_3": tls.VersionTLS13,
	"tls10": tls.VersionTLS10, "tls11": tls.VersionTLS11, "tls12": tls.VersionTLS12, "tls13": tls.VersionTLS13,
}

// Read reads what the settings of an interface name. A certificate whose time is over, or has not begun, is an error:
// nobody would take it.
func Read(what string, t config.TLSInterface) (*Material, error) {
	m := &Material{MinVersion: versions[t.MinVersion]}
	var err error
	if m.Suites, err = Suites(t.CipherSuites); err != nil {
		return nil, fmt.Errorf("%s: tls_cipher_suites: %w", what, err)
	}
	if m.Roots, err = Roots(t.CAFile, t.CAPath); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if t.CertFile == "" && t.KeyFile == "" {
		return m, nil
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: certificate %s with key %s: %w", what, t.CertFile, t.KeyFile, err)
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("%s: the certificate in %s has ended on %s: make another with tls cert renew", what, t.CertFile, pair.Leaf.NotAfter.Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		return nil, fmt.Errorf("%s: the certificate in %s counts from %s on only: is this machine's clock right?", what, t.CertFile, pair.Leaf.NotBefore.Format(time.RFC3339))
	}
	m.Certificate = &pair
	return m, nil
}

// Suites turns names, with commas between them, into what TLS 1.2 may use; TLS 1.3 chooses itself.
func Suites(names string) ([]uint16, error) {
	var ids []uint16
	for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' || r == ' ' }) {
		at := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("%q is no suite that is held to be safe", name)
		}
		ids = append(ids, tls.CipherSuites()[at].ID)
	}
	return ids, nil
}

// Roots reads the certificates of authorities in a file and in those of a directory; nil when neither is named. A file
// that holds anything but certificates in PEM is an error: nothing is silently left out.
func Roots(file, dir string) (*x509.CertPool, error) {
	var files []string
	if file != "" {
		files = append(files, file)
	}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("ca_path: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		if dir != "" {
			return nil, fmt.Errorf("ca_path: %s holds no file", dir)
		}
		return nil, nil
	}
	roots := x509.NewCertPool()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("CA certificate: %w", err)
		}
		if err := addAll(roots, text); err != nil {
			return nil, fmt.Errorf("CA certificate: %s: %w", f, err)
		}
	}
	return roots, nil
}

func addAll(roots *x509.CertPool, text []byte) error {
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue // such as the parameters that openssl writes
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		roots.AddCert(cert)
		found = true
	}
	if !found {
		return errors.New("it holds no certificate in PEM")
	}
	return nil
}

// base is what both ends of a connection have in common.
func (m *Material) base() *tls.Config {
	c := &tls.Config{MinVersion: m.MinVersion, CipherSuites: m.Suites}
	if m.Certificate != nil {
		c.Certificates = []tls.Certificate{*m.Certificate}
	}
	return c
}

// Server is a configuration to serve with, nil without a certificate. Clients must show a certificate when it is
// demanded; one that they show else must be good too.
func (m *Material) Server(demand bool) *tls.Config {
	if m.Certificate == nil {
		return nil
	}
	c := m.base()
	c.ClientCAs = m.Roots
	switch {
	case demand:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	case m.Roots != nil:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c
}

// Verify checks what a peer has shown, its leaf first, against the roots.
func (m *Material) Verify(shown []*x509.Certificate, usage x509.ExtKeyUsage) error {
	if len(shown) == 0 {
		return errors.New("the peer shows no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{Roots: m.Roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}
