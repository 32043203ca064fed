package enroll

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/curia-mesh/curia/connect"
	"github.com/curia-mesh/curia/rpc/durable"
	"github.com/curia-mesh/curia/server/api"
)

// Kept is what an agent has from the servers. It is a secret.
type Kept struct {
	// Certificate and Key are in PEM, the certificate with those between it and the root behind it.
	Certificate, Key string
	// Settings is nil for an agent that has its certificate alone from them.
	Settings *api.AutoSettings `json:",omitempty"`
}

// maxFile bounds a file of what is kept, in bytes.
const maxFile = 1 << 20

// Read reads what is kept; nil when there is nothing. A file that is none of an agent's is an error that names it.
func Read(path string) (*Kept, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no file of this agent's: delete it, and the servers are asked anew", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k := &Kept{}
	if json.Unmarshal(text, k) != nil { // whose error could repeat a key
		return nil, fmt.Errorf("%s is damaged: delete it, and the servers are asked anew", path)
	}
	if _, err := k.Pair(); err != nil {
		return nil, fmt.Errorf("%s: %w: delete it, and the servers are asked anew", path, err)
	}
	return k, nil
}

// Write replaces the file, of mode 0600, in one step: a crash leaves the old one or the new.
func (k *Kept) Write(path string) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return durable.Write(path, text, 0o600)
}

// Pair is the certificate with its key. One of another key is an error.
func (k *Kept) Pair() (*tls.Certificate, error) {
	chain, err := connect.ParseCertificates(k.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := connect.ParseKey(k.Key)
	if err != nil {
		return nil, err
	}
	if !connect.SameKey(key.Public(), chain[0].PublicKey) {
		return nil, errors.New("the certificate is of another key")
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, cert := range chain {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair, nil
}

// Serves reports whether a certificate is of this agent, and its time is not over.
func Serves(pair *tls.Certificate, datacenter, node string, now time.Time) bool {
	id, err := connect.IDOf(pair.Leaf)
	return err == nil && id.Kind == connect.KindAgent && id.Datacenter == datacenter && id.Name == node && now.Before(pair.Leaf.NotAfter)
}
