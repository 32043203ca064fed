package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/trust"
)

// certificates is the TLS configuration of an interface, read from files. A reload replaces it for the
// handshakes that follow.
type certificates struct{ current atomic.Pointer[tls.Config] }

// loadCertificates reads what the settings name; own, which may be nil, stands in for a certificate where they say so.
// Without a certificate there is no configuration: as with Consul the port is open then, and no handshake succeeds.
func loadCertificates(what string, t config.TLSInterface, own *tls.Certificate) (*tls.Config, error) {
	m, err := trust.Read(what, t)
	if err != nil {
		return nil, err
	}
	if m.Certificate == nil && t.UseAutoCert {
		m.Certificate = own
	}
	if t.VerifyIncoming && m.Roots == nil {
		return nil, fmt.Errorf("%s: verify_incoming needs ca_file or ca_path", what)
	}
	cfg := m.Server(t.VerifyIncoming)
	if cfg != nil {
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	if cfg != nil && !t.VerifyIncoming {
		cfg.ClientAuth = tls.NoClientCert // which nobody would look at
	}
	return cfg, nil
}

// loadCheckTLS reads what checks show to their targets, and whom they trust: with enable_agent_tls_for_checks what
// the agent shows and trusts between agents, else nothing.
// Source: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/tls (enable_agent_tls_for_checks)
func loadCheckTLS(cfg *config.Config) (*tls.Config, error) {
	if !cfg.EnableAgentTLSForChecks {
		return nil, nil
	}
	m, err := trust.Read("enable_agent_tls_for_checks", cfg.TLS.InternalRPC)
	if err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: m.Roots}
	if m.Certificate != nil {
		out.Certificates = []tls.Certificate{*m.Certificate}
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

// load reads the files anew. On an error the present configuration stays.
func (c *certificates) load(what string, t config.TLSInterface, own *tls.Certificate) error {
	next, err := loadCertificates(what, t, own)
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
