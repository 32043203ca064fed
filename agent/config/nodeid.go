package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc/durable"
)

// nodeIDFile is the file of the data directory that keeps a random id.
const nodeIDFile = "node-id"

// ResolveNodeID returns the id of the node: the one that is set, else the one that the data directory
// keeps, else a random one, which the data directory keeps from then on. Without a data directory the id
// is a new one each time. It is never derived from the host, since hosts are cloned.
func (c *Config) ResolveNodeID() (string, error) {
	if c.NodeID != "" {
		return strings.ToLower(c.NodeID), nil
	}
	if c.Dev || c.DataDir == "" {
		return randomID(), nil
	}
	path := filepath.Join(c.DataDir, nodeIDFile)
	id, err := readID(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id = randomID()
	if err := writeID(path, id); err != nil {
		return "", err
	}
	return id, nil
}

func readID(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read node id: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return "", fmt.Errorf("read node id: %w", err)
	}
	id := strings.ToLower(strings.TrimSpace(string(text)))
	if !catalog.IsUUID(id) {
		return "", fmt.Errorf("%s holds no UUID: remove it to get a new id, or write the id of this node into it", path)
	}
	return id, nil
}

// writeID writes the file whole or not at all: a half written id would stop the next start.
func writeID(path, id string) error {
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = durable.Write(path, []byte(id+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write node id: %w", err)
	}
	return nil
}

// randomID makes a UUID of version 4 (RFC 9562 section 5.4).
func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // it never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
