package connect

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// Trust is what a side of a connection believes. It is never changed.
type Trust struct {
	// Domain is the trust domain of the cluster.
	Domain string
	Roots  *x509.CertPool
	// Certs are the certificates of Roots.
	Certs []*x509.Certificate
	// Peer is the name of the cluster that is believed, empty for the own one.
	Peer string
	// Others are the trust domains of peers whose services are believed too, by their names. Theirs have none.
	Others map[string]*Trust
}

// With returns a Trust that believes the services of peers too.
func (t *Trust) With(peers ...*catalog.PeerTrust) (*Trust, error) {
	if len(peers) == 0 {
		return t, nil
	}
	both := *t
	both.Others = map[string]*Trust{}
	for _, p := range peers {
		other, err := NewTrust(p.TrustDomain, p.Roots...)
		if err != nil {
			return nil, err
		}
		if p.TrustDomain != t.Domain { // nobody else speaks for this cluster
			other.Peer = p.Peer
			both.Others[p.TrustDomain] = other
		}
	}
	return &both, nil
}

// other is what decides about a certificate that says to be of a peer; nil where the own cluster's roots do.
func (t *Trust) other(cert *x509.Certificate) *Trust {
	if len(t.Others) == 0 {
		return nil // nothing is read of it before it is verified
	}
	id, err := IDOf(cert)
	if err != nil {
		return nil
	}
	return t.Others[id.TrustDomain]
}

// PeerOf is the name of the peer whose trust domain an identity is of, empty for the own cluster.
func (t *Trust) PeerOf(id ID) string {
	if other := t.Others[id.TrustDomain]; other != nil {
		return other.Peer
	}
	return ""
}

// NewTrust makes a Trust of root certificates in PEM.
func NewTrust(domain string, roots ...string) (*Trust, error) {
	t := &Trust{Domain: domain, Roots: x509.NewCertPool()}
	for _, text := range roots {
		cert, err := ParseCertificate(text)
		if err != nil {
			return nil, err
		}
		t.Roots.AddCert(cert)
		t.Certs = append(t.Certs, cert)
	}
	return t, nil
}

// Verify checks the certificates that a peer showed, its own first, and returns its identity. A chain to
// one of the roots is not enough: the identity must be of the trust domain, whatever a root's key signed.
func (t *Trust) Verify(shown []*x509.Certificate, usage x509.ExtKeyUsage) (ID, error) {
	if len(shown) == 0 {
		return ID{}, catalog.Errorf(catalog.Denied, "peer: it shows no certificate")
	}
	leaf, between := shown[0], x509.NewCertPool()
	if other := t.other(leaf); other != nil {
		id, err := other.Verify(shown, usage)
		if err == nil && id.Kind != KindService {
			err = catalog.Errorf(catalog.Denied, "peer: %s is no service", id)
		}
		return id, err
	}
	for _, cert := range shown[1:] {
		between.AddCert(cert)
	}
	if leaf.IsCA {
		return ID{}, catalog.Errorf(catalog.Denied, "peer: it shows the certificate of an authority as its own")
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: t.Roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		if late := t.outOfTime(shown); late != nil {
			err = fmt.Errorf("%w: %w", err, late)
		}
		return ID{}, catalog.Errorf(catalog.Denied, "peer: %w", err)
	}
	id, err := IDOf(leaf)
	if err != nil {
		return ID{}, catalog.Errorf(catalog.Denied, "peer: %w", err)
	}
	if id.TrustDomain != t.Domain || id.Kind == KindTrustDomain {
		return ID{}, catalog.Errorf(catalog.Denied, "peer: %s is no identity of trust domain %s", id, t.Domain)
	}
	return id, nil
}

// OutOfTime is that a certificate does not count at the time that it is here.
type OutOfTime struct {
	Cert *x509.Certificate
	Now  time.Time
}

// Error implements error: it says whose clock to look at.
func (e *OutOfTime) Error() string {
	what := "the certificate " + strconv.Quote(e.Cert.Subject.CommonName)
	if id, err := IDOf(e.Cert); err == nil {
		what = "the certificate of " + id.String()
	}
	now := e.Now.UTC().Format(time.RFC3339)
	if e.Now.Before(e.Cert.NotBefore) {
		return fmt.Sprintf("%s begins on %s, and by the clock of whoever checks it, it is %s: set the clock right that is wrong, of the machine that checks it or of the servers that signed it", what, e.Cert.NotBefore.UTC().Format(time.RFC3339), now)
	}
	return fmt.Sprintf("%s has ended on %s, and by the clock of whoever checks it, it is %s: set the clock right that is wrong, of the machine that checks it or of the servers that signed it; where both are right, the log of who shows it says why it was not renewed",
		what, e.Cert.NotAfter.UTC().Format(time.RFC3339), now)
}

// outOfTime is the first of the certificates shown, or of the roots that they lead to, that does not count now; nil where all do.
func (t *Trust) outOfTime(shown []*x509.Certificate) error {
	now, chain := time.Now(), shown
	for _, root := range t.Certs {
		if slices.ContainsFunc(shown, func(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, root.RawSubject) }) {
			chain = append(chain[:len(chain):len(chain)], root)
		}
	}
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return &OutOfTime{Cert: c, Now: now}
		}
	}
	return nil
}

// Source gives a side of a connection what it shows and what it believes, as both are at the moment.
// Neither method blocks; many goroutines call them at once.
type Source interface {
	Certificate() (*tls.Certificate, error)
	Trust() (*Trust, error)
}

// ServerTLS accepts connections of every identity of the trust domain. Whoever serves decides by PeerID
// what that identity may do.
func ServerTLS(s Source) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		ClientAuth:     tls.RequireAnyClientCert, // and VerifyConnection says whose
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.Certificate() },
		VerifyConnection: func(c tls.ConnectionState) error {
			_, err := verify(s, c, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// ClientTLS connects to one of the identities that are wanted, and to nobody else.
func ClientTLS(s Source, want ...ID) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		InsecureSkipVerify:   true, // of host names: VerifyConnection checks the identity, in every handshake
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.Certificate() },
		VerifyConnection: func(c tls.ConnectionState) error {
			id, err := verify(s, c, x509.ExtKeyUsageServerAuth)
			if err == nil && !slices.Contains(want, id) {
				err = catalog.Errorf(catalog.Denied, "peer: it is %s, wanted %v", id, want)
			}
			return err
		},
	}
}

func verify(s Source, c tls.ConnectionState, usage x509.ExtKeyUsage) (ID, error) {
	trust, err := s.Trust()
	if err != nil {
		return ID{}, err
	}
	return trust.Verify(c.PeerCertificates, usage)
}

// PeerID is the identity at the other end of a connection that ServerTLS or ClientTLS has let through.
func PeerID(c tls.ConnectionState) (ID, error) {
	if len(c.PeerCertificates) == 0 {
		return ID{}, catalog.Errorf(catalog.Denied, "peer: it shows no certificate")
	}
	return IDOf(c.PeerCertificates[0])
}
