package fsm

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/curia-mesh/curia/catalog/state"
)

// Version is what the store holds now, and the index of the last entry that it holds.
func (f *FSM) Version() (*state.Txn, uint64) {
	f.changing.Lock()
	defer f.changing.Unlock()
	return f.store.Read(), f.shown.Load()
}

// Digest is the SHA-256, in hex, of all rows of a version of the store: servers that have applied the same entries have
// the same. It takes as long as writing a snapshot does, and keeps nobody from writing meanwhile.
func Digest(tx *state.Txn) (string, error) {
	sum := sha256.New()
	out := bufio.NewWriterSize(sum, 64<<10)
	handle := RowHandle()
	handle.Canonical = true // maps in the order of their keys
	encoder := codec.NewEncoder(out, handle)
	err := state.Save(tx, func(table string, row any) error {
		fmt.Fprintf(out, "%d %s ", len(table), table)
		return encoder.Encode(row)
	})
	if err != nil {
		return "", err
	}
	if err := out.Flush(); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
