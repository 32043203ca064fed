package catalog

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"
)

// JoinRole is what somebody who joins with a token becomes.
type JoinRole string

// The roles.
const (
	JoinServer JoinRole = "server"
	JoinClient JoinRole = "client"
)

// JoinToken lets agents join a secured cluster. Its secret is not stored, only the secret's SHA-256: it is random and
// long, so that nobody finds it from that.
type JoinToken struct {
	ID   string
	Role JoinRole
	// Uses is how many agents may still join with it.
	Uses    int
	Expires time.Time
	// Hash is the SHA-256 of the secret, in hexadecimal.
	Hash        string `json:"-" codec:"Hash"`
	CreateIndex uint64
	ModifyIndex uint64
}

// maxJoins is how many agents may join with one token.
const maxJoins = 10_000

// Validate refuses tokens that nobody could join with, or too many.
func (t *JoinToken) Validate() error {
	switch {
	case ValidateID("join token", t.ID) != nil:
		return ValidateID("join token", t.ID)
	case t.Role != JoinServer && t.Role != JoinClient:
		return Errorf(Invalid, "join token: role %.40q is neither server nor client", string(t.Role))
	case t.Uses < 1 || t.Uses > maxJoins:
		return Errorf(Invalid, "join token: %d uses: want 1 to %d", t.Uses, maxJoins)
	case t.Expires.IsZero():
		return Errorf(Invalid, "join token: it must expire")
	case len(t.Hash) != 2*sha256.Size:
		return Errorf(Invalid, "join token: it has no secret")
	}
	return nil
}

// HashJoinSecret is what is stored of a secret.
func HashJoinSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Refuse says why a secret with this hash does not let anybody in at a time, nil when it does. Who has no secret learns
// nothing of the token.
func (t *JoinToken) Refuse(hash string, now time.Time) error {
	switch {
	case t == nil || subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) != 1:
		return Errorf(Denied, "join token: it is unknown, used up or revoked: make another with operator join-token create")
	case !now.Before(t.Expires):
		return Errorf(Denied, "join token %s: it expired on %s: make another with operator join-token create", t.ID, t.Expires.Format(time.RFC3339))
	}
	return nil
}
