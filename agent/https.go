package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/agent/config"
)

// certificates is the TLS configuration of an interface, read from files. A reload replaces it for the
// handshakes that follow.
type certificates struct{ current atomic.Pointer[tls.Config] }

var tlsVersions = map[string]uint16{
	"TLSv1_0": tls.VersionTLS10, "TLSv1_1": tls.VersionTLS11, "TLSv1_2": tls.VersionTLS12, "TLSv1_3": tls.VersionTLS13,
	"tls10": tls.VersionTLS10, "tls11": tls.VersionTLS11, "tls12": tls.VersionTLS12, "tls13": tls.VersionTLS13,
}

// loadCertificates reads what the settings name. Without a certificate there is no configuration: as
// with Consul the port is open then, and no handshake succeeds.
func loadCertificates(what string, t config.TLSInterface) (*tls.Config, error) {
	if t.CertFile == "" && t.KeyFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: certificate %s with key %s: %w", what, t.CertFile, t.KeyFile, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if v, ok := tlsVersions[t.MinVersion]; ok {
		cfg.MinVersion = v
	}
	if cfg.CipherSuites, err = cipherSuites(t.CipherSuites); err != nil {
		return nil, fmt.Errorf("%s: tls_cipher_suites: %w", what, err)
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

// cipherSuites turns names, with commas between them, into what TLS 1.2 may use; TLS 1.3 chooses itself.
func cipherSuites(names string) ([]uint16, error) {
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

// loadCheckTLS reads what checks show to their targets, and whom they trust: with enable_agent_tls_for_checks what
// the agent shows and trusts between agents, else nothing.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls (enable_agent_tls_for_checks)
func loadCheckTLS(cfg *config.Config) (*tls.Config, error) {
	if !cfg.EnableAgentTLSForChecks {
		return nil, nil
	}
	t := cfg.TLS.InternalRPC
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("enable_agent_tls_for_checks: certificate %s with key %s: %w", t.CertFile, t.KeyFile, err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	var err error
	if out.RootCAs, err = loadRoots(t.CAFile, t.CAPath); err != nil {
		return nil, fmt.Errorf("enable_agent_tls_for_checks: %w", err)
	}
	return out, nil
}

// loadChecks is load for the checks of the agent.
func (c *certificates) loadChecks(cfg *config.Config) error {
	next, err := loadCheckTLS(cfg)
	if err != nil {
		return err
	}
	c.current.Store(next)
	return nil
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

// warnHTTPS tells an operator that the HTTPS port serves nobody yet.
func (s *sockets) warnHTTPS(cfg *config.Config, log *slog.Logger) {
	if cfg.Ports.HTTPS > 0 && s.https.current.Load() == nil {
		log.Warn("HTTPS refuses every connection, it has no certificate: set cert_file and key_file in tls.https or tls.defaults, or ports.https to -1", "port", cfg.Ports.HTTPS)
	}
}

// listen serves TLS with whatever configuration is present at each handshake, which may take timeout.
func (c *certificates) listen(l net.Listener, timeout time.Duration) net.Listener {
	return shakeHands(l, timeout, &tls.Config{
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if cfg := c.current.Load(); cfg != nil {
				return cfg, nil
			}
			return nil, errors.New("no certificate is loaded")
		},
	})
}
