package catalog

import "strings"

// KVPair is one key with its value.
type KVPair struct {
	LockIndex   uint64 // how often the key was locked; with the key a fencing token
	Key         string
	Flags       uint64 // the client's own
	Value       []byte
	Session     string `json:",omitempty"` // holder of the lock
	CreateIndex uint64
	ModifyIndex uint64
	// Origin is the datacenter that replication brought the pair from, empty once somebody has written it here.
	Origin string `codec:"Origin,omitempty" json:"-"`
}

// ValidateKey checks a key that is to be written.
func ValidateKey(key string) error {
	if key == "" {
		return Errorf(Invalid, "missing key name: want /v1/kv/<key>")
	}
	if strings.HasPrefix(key, "/") {
		return Errorf(Invalid, "key %q must not begin with a slash", key)
	}
	return nil
}
