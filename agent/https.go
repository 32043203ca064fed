package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/curia-mesh/curia/agent/config"
)

// certificates is the TLS configuration of an interface, read from files. A reload replaces it for the
// handshakes that follow.
type certificates struct{ current atomic.Pointer[tls.Config] }

// loadCertificates reads what the settings name. Without a certificate there is no configuration.
func loadCertificates(what string, t config.TLSInterface) (*tls.Config, error) {
	if t.CertFile == "" || t.KeyFile == "" {
		return nil, fmt.Errorf("%s: set cert_file and key_file in tls.%s or tls.defaults, or the port to -1", what, what)
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: certificate %s with key %s: %w", what, t.CertFile, t.KeyFile, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if t.MinVersion == "TLSv1_3" || t.MinVersion == "tls13" {
		cfg.MinVersion = tls.VersionTLS13
	}
	if cfg.ClientCAs, err = loadRoots(t.CAFile, t.CAPath); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if t.VerifyIncoming {
		if cfg.ClientCAs == nil {
			return nil, fmt.Errorf("%s: verify_incoming needs ca_file or ca_path", what)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

func loadRoots(file, dir string) (*x509.CertPool, error) {
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
		return nil, nil
	}
	roots := x509.NewCertPool()
	for _, f := range files {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("CA certificate: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA certificate: %s holds no certificate in PEM", f)
		}
	}
	return roots, nil
}

// load reads the files anew. On an error the present configuration stays.
func (c *certificates) load(what string, t config.TLSInterface) error {
	next, err := loadCertificates(what, t)
	if err != nil {
		return err
	}
	c.current.Store(next)
	return nil
}

// listen serves TLS with whatever configuration is present at each handshake.
func (c *certificates) listen(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if cfg := c.current.Load(); cfg != nil {
				return cfg, nil
			}
			return nil, errors.New("no certificate is loaded")
		},
	})
}
