package leaf

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/durable"
)

// suffix is how the names of files of certificates end.
const suffix = ".json"

// maxFile is the largest file that can be one of ours, in bytes.
const maxFile = 1 << 20

// hold reads a certificate and refuses one that is not the service's, or not of its key.
func hold(cert *catalog.IssuedCert, service, datacenter string) (*held, error) {
	chain, err := connect.ParseCertificates(cert.CertPEM)
	if err != nil {
		return nil, err
	}
	id, err := connect.IDOf(chain[0])
	if err != nil {
		return nil, err
	}
	if id != connect.Service(id.TrustDomain, datacenter, service) {
		return nil, fmt.Errorf("it is of %s, not of service %q", id, service)
	}
	secret, err := connect.ParseKey(cert.PrivateKeyPEM)
	if err != nil {
		return nil, err
	}
	if !connect.SameKey(secret.Public(), chain[0].PublicKey) {
		return nil, errors.New("it is of another key")
	}
	return &held{IssuedCert: cert, chain: chain, renew: Renewal(chain[0].NotBefore, chain[0].NotAfter)}, nil
}

// path is the file of the entry's certificate: a name that tells neither the service, which may be any text,
// nor the token.
func (e *entry) path() string {
	token := sha256.Sum256([]byte(e.key.token))
	sum := sha256.Sum256(append(token[:], e.key.service...))
	return filepath.Join(e.cache.o.Dir, hex.EncodeToString(sum[:])+suffix)
}

// load returns the certificate on disk, nil when there is none of use.
func (e *entry) load() *held {
	if e.cache.o.Dir == "" {
		return nil
	}
	cert, err := readFile(e.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var leaf *held
	if err == nil {
		leaf, err = hold(cert, e.key.service, e.cache.o.Datacenter)
	}
	if err != nil {
		e.cache.o.Log.Warn("a stored certificate is of no use: a new one takes its place", "service", e.key.service, "path", e.path(), "err", err)
		return nil
	}
	if time.Now().After(leaf.ValidBefore) {
		return nil
	}
	return leaf
}

func readFile(path string) (*catalog.IssuedCert, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes: it is none of this agent's", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cert := &catalog.IssuedCert{}
	return cert, json.Unmarshal(text, cert)
}

// save writes the certificate with its key, for this user's eyes only, in place of the one before.
func (e *entry) save(leaf *held) error {
	if e.cache.o.Dir == "" {
		return nil
	}
	text, err := json.Marshal(leaf.IssuedCert)
	if err != nil {
		return err
	}
	return durable.Write(e.path(), text, 0o600)
}

// sweep removes certificates that have ended, and what a crash has left half written.
func sweep(dir string, now time.Time) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		path := filepath.Join(dir, f.Name())
		switch {
		case strings.HasSuffix(f.Name(), durable.Suffix):
			os.Remove(path)
		case strings.HasSuffix(f.Name(), suffix):
			if cert, err := readFile(path); err == nil && now.After(cert.ValidBefore) {
				os.Remove(path)
			}
		}
	}
	return nil
}
