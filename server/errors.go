package server

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog"
)

// encodeError and DecodeError are the mapper between errors and the wire.
func encodeError(err error) (code, msg string) { return string(catalog.CodeOf(err)), err.Error() }

// DecodeError is the error of a server as it comes out of the wire again, for those who call servers.
func DecodeError(code, msg string) error {
	return catalog.Errorf(catalog.Code(code), "%s", msg)
}

// raftError gives Raft's errors their code.
func raftError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrLeadershipLost):
		return catalog.Errorf(catalog.Unavailable, "this server lost the leadership before the entry was committed, which may still happen: look before writing again: %w", err)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return catalog.Errorf(catalog.NoLeader, "no cluster leader: %w", err)
	case errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrAbortedByRestore):
		return catalog.Errorf(catalog.Unavailable, "this server cannot write now: %w", err)
	}
	return catalog.Errorf(catalog.Internal, "raft: %w", err)
}

// bindError says which port is taken and which setting moves it.
func bindError(what, setting, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: address %s is in use by another process: stop it or set %s to a free port", what, addr, setting)
	}
	return fmt.Errorf("%s: listening on %s: %w", what, addr, err)
}
