package gossip

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/curia-mesh/curia/rpc/durable"
)

// Key is a gossip encryption key of 16, 24 or 32 bytes (AES-128, -192, -256 in GCM mode). It prints as "[redacted]" and
// does not marshal; Base64 is the one way to its text.
type Key struct{ raw string }

// NewKey makes a random key of 32 bytes.
func NewKey() Key {
	raw := make([]byte, 32)
	rand.Read(raw) // never fails, see crypto/rand
	return Key{raw: string(raw)}
}

// ParseKey reads the base64 form that keygen prints.
func ParseKey(s string) (Key, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return Key{}, errors.New("encryption key is not base64: use one made by keygen")
	}
	return keyFromBytes(raw)
}

func keyFromBytes(raw []byte) (Key, error) {
	switch len(raw) {
	case 16, 24, 32:
		return Key{raw: string(raw)}, nil
	}
	return Key{}, fmt.Errorf("encryption key of %d bytes: it must have 16, 24 or 32, use one made by keygen", len(raw))
}

// Base64 is the key in clear, for the keyring file and the operator who may see it.
func (k Key) Base64() string { return base64.StdEncoding.EncodeToString([]byte(k.raw)) }

func (k Key) bytes() []byte { return []byte(k.raw) }

// String hides the key.
func (Key) String() string { return "[redacted]" }

// GoString hides the key.
func (Key) GoString() string { return "gossip.Key[redacted]" }

// LogValue hides the key.
func (Key) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText refuses.
func (Key) MarshalText() ([]byte, error) {
	return nil, errors.New("an encryption key does not marshal")
}

const (
	// maxKeys in a ring: every packet may be tried with each, and the list must fit into one packet.
	maxKeys = 16
	// maxKeyringBytes is far above what maxKeys take.
	maxKeyringBytes = 16 << 10
)

// LoadKeyring reads a keyring file: a JSON list of base64 keys, the primary first. The error satisfies
// errors.Is(err, fs.ErrNotExist) when there is none.
func LoadKeyring(path string) ([]Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyringBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read keyring %s: %w", path, err)
	}
	var list []string
	// What json reports may quote the text, so the cause stays out of the error.
	if len(text) > maxKeyringBytes || json.Unmarshal(text, &list) != nil || len(list) == 0 || len(list) > maxKeys {
		return nil, fmt.Errorf("keyring %s is not a JSON list of 1 to %d keys: restore it, or remove it and set encrypt", path, maxKeys)
	}
	keys := make([]Key, 0, len(list))
	for i, s := range list {
		k, err := ParseKey(s)
		if err != nil {
			return nil, fmt.Errorf("keyring %s, entry %d: %w", path, i+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// saveKeyring replaces the file in one step: a crash or a full disk leaves the old one.
func saveKeyring(path string, keys []Key) (err error) {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.Base64()
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write keyring %s: %w", path, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.Write(path, text, 0o600)
}

// startKeys decides between the file and the configuration: the file wins, or a key rotated out would come back with
// every restart of an agent whose configuration still names it.
func startKeys(cfg Config) ([]Key, error) {
	if cfg.KeyringFile == "" {
		return cfg.Keys, nil
	}
	onDisk, err := LoadKeyring(cfg.KeyringFile)
	if errors.Is(err, fs.ErrNotExist) {
		if len(cfg.Keys) == 0 {
			return nil, nil
		}
		return cfg.Keys, saveKeyring(cfg.KeyringFile, cfg.Keys)
	}
	if err != nil {
		return nil, err
	}
	if fi, err := os.Stat(cfg.KeyringFile); err == nil && fi.Mode().Perm()&0o077 != 0 {
		cfg.Logger.Warn("keyring file is open to other users: chmod 600", "path", cfg.KeyringFile, "mode", fi.Mode().Perm().String())
	}
	for _, k := range cfg.Keys {
		if !contains(onDisk, k) {
			cfg.Logger.Warn("the configured encryption key is not in the keyring file, which is used instead", "path", cfg.KeyringFile)
		}
	}
	return onDisk, nil
}
