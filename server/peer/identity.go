package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/connect"
)

// serverName is how the servers of a datacenter are called in tokens.
func serverName(id connect.ID) string {
	return catalog.PeerServerName(id.Datacenter, id.TrustDomain)
}

// parseServerName returns the identity that serverName has written.
func parseServerName(name string) (connect.ID, error) {
	rest, ok := strings.CutPrefix(name, "server.")
	datacenter, domain, cut := strings.Cut(rest, ".peering.")
	id := connect.ID{Kind: connect.KindServer, TrustDomain: domain, Datacenter: datacenter}
	if !ok || !cut || id.Validate() != nil {
		return connect.ID{}, catalog.Errorf(catalog.Invalid, "server name %.255q: want server.<datacenter>.peering.<trust domain>", name)
	}
	return id, nil
}

// identity is what this server shows to the servers of peers. Every server of a cluster has a certificate of its own; it
// is of the mesh's authority, and says that whoever has it is a server of this datacenter.
type identity struct {
	datacenter string
	store      *state.Store
	sign       func(ctx context.Context, csr string) (*catalog.IssuedCert, error)
	log        *slog.Logger
	present    atomic.Pointer[shown]
	first      chan struct{} // closed when there is something to show
}

// shown is one state of it.
type shown struct {
	id    connect.ID
	cert  *tls.Certificate
	serve *tls.Config
	roots []string
	renew time.Time
}

// Identity is renewed at half of its life, and tried again after a pause when that failed.
const (
	renewRetry    = 2 * time.Second
	renewRetryMax = time.Minute
)

// run keeps the certificate until ctx ends.
func (i *identity) run(ctx context.Context) {
	failures, told := 0, ""
	for ctx.Err() == nil {
		gone, w := i.store.Abandoned(), &state.Watch{}
		tx := i.store.Read()
		list, _ := state.Roots(tx, w)
		config := state.CA(tx, w)
		until := 24 * time.Hour
		if config != nil && len(list) > 0 {
			err := i.refresh(ctx, connect.TrustDomain(config.ClusterID), list)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				failures, told = 0, ""
				until = time.Until(i.present.Load().renew)
			default:
				until = min(renewRetry<<min(failures, 10), renewRetryMax)
				failures++
				if err.Error() != told {
					told = err.Error()
					i.log.Warn("this server has no certificate to meet peers with; it is tried again", "err", err)
				}
			}
		}
		waiting, cancel := context.WithTimeout(ctx, until)
		_ = w.Wait(waiting, gone) // whatever ends it, the next round sees to it
		cancel()
	}
}

// refresh makes a certificate where the one that there is does not fit any more.
func (i *identity) refresh(ctx context.Context, domain string, list []*catalog.Root) error {
	id := connect.ID{Kind: connect.KindServer, TrustDomain: domain, Datacenter: i.datacenter}
	roots := rootsOf(list)
	if now := i.present.Load(); now != nil && now.id == id && slices.Equal(now.roots, roots) && time.Now().Before(now.renew) {
		return nil
	}
	key, err := connect.GenerateKey(connect.KeySpec{Type: "ec", Bits: 256})
	if err != nil {
		return err
	}
	csr, err := connect.NewCSR(key, id)
	if err != nil {
		return err
	}
	issued, err := i.sign(ctx, csr)
	if err != nil {
		return err
	}
	chain, err := connect.ParseCertificates(issued.CertPEM)
	if err != nil {
		return err
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	half := chain[0].NotAfter.Sub(chain[0].NotBefore) / 2
	was := i.present.Swap(&shown{
		id: id, cert: cert, roots: roots, renew: chain[0].NotAfter.Add(-half),
		serve: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert},
			ClientAuth: tls.RequireAnyClientCert, // whose it must be is known once the peering is
		},
	})
	if was == nil {
		close(i.first)
	}
	return nil
}

func rootsOf(list []*catalog.Root) []string {
	var roots []string
	for _, r := range list {
		roots = append(roots, r.RootCert)
	}
	slices.Sort(roots)
	return roots
}

// now is what there is to show, an error with code unavailable while there is nothing.
func (i *identity) now() (*shown, error) {
	if s := i.present.Load(); s != nil {
		return s, nil
	}
	return nil, catalog.Errorf(catalog.Unavailable, "this server has no certificate of the mesh's CA yet, with which to meet peers: the leader makes the CA soon after its election, if connect.enabled is set")
}

// firstWait is how long those who ask wait for the first certificate: a new leader is about to make the CA.
const firstWait = 5 * time.Second

// await is now, after a wait for the first certificate.
func (i *identity) await(ctx context.Context) (*shown, error) {
	late := time.NewTimer(firstWait)
	defer late.Stop()
	select {
	case <-i.first:
	case <-late.C:
	case <-ctx.Done():
	}
	return i.now()
}

// dialing connects to the servers of another cluster, and to nobody else.
func (s *shown) dialing(to connect.ID, roots []string) (*tls.Config, error) {
	trust, err := connect.NewTrust(to.TrustDomain, roots...)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: serverName(to),
		InsecureSkipVerify:   true, // of host names: VerifyConnection checks the identity, in every handshake
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.cert, nil },
		VerifyConnection: func(c tls.ConnectionState) error {
			err := isServer(trust, to, c.PeerCertificates, x509.ExtKeyUsageServerAuth)
			if late := (*connect.OutOfTime)(nil); err != nil && !errors.As(err, &late) { // a clock may be wrong, and the token good
				return fmt.Errorf("%w: %w", errStranger, err)
			}
			return err
		},
	}, nil
}

// errStranger is that who answers is no server of the other cluster.
var errStranger = errors.New("who answers is no server of the other cluster")

// isServer refuses all that is no server of a cluster.
func isServer(trust *connect.Trust, want connect.ID, shown []*x509.Certificate, usage x509.ExtKeyUsage) error {
	id, err := trust.Verify(shown, usage)
	if err == nil && id != want {
		err = catalog.Errorf(catalog.Denied, "peer: it is %s, wanted %s", id, want)
	}
	return err
}
