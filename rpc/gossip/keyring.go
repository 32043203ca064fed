package gossip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/serf/serf"
)

// Keyring operations go to all nodes as a query of our own. Serf's would do, but it writes the keyring file in place,
// so that a full disk in a rotation leaves nodes without any key, and it changes the ring before the file.

const (
	keyringQuery = "curia:keyring"
	// MaxRelayFactor limits over how many other nodes an answer may also come.
	MaxRelayFactor = 5
	// queryBytes limits a query and an answer: a list of maxKeys and two node names, in one packet.
	queryBytes = 1300
	// keyBacklog limits the key operations that wait for their turn on this node.
	keyBacklog = 16
)

type keyRequest struct {
	Op  keyOp
	Key []byte `json:",omitempty"`
}

type keyAnswer struct {
	Err  string   `json:",omitempty"`
	Keys [][]byte `json:",omitempty"` // after the operation, the primary first
}

// KeyringAnswers is what the nodes answered to a keyring operation.
type KeyringAnswers struct {
	// Nodes were alive when asked; Answered of them did, with success or not.
	Nodes, Answered int
	// Messages says by node what went wrong; a node that did not answer in time is here too.
	Messages map[string]string
	// Keys counts by key, in base64, the nodes that have it installed; Primary those that encrypt with it.
	Keys, Primary map[string]int
}

// keysMayChange is nil when a stranger can neither give key orders nor read the answers.
func (p *Pool) keysMayChange() error {
	switch {
	case p.ring == nil:
		return errNoEncryption
	case p.cfg.AcceptPlaintext || p.cfg.SendPlaintext:
		return errMigrating
	}
	return nil
}

// EncryptionEnabled tells whether this node encrypts its gossip.
func (p *Pool) EncryptionEnabled() bool { return p.ring != nil }

// Keys returns this node's keys, the primary first; none without encryption.
func (p *Pool) Keys() []Key {
	if p.ring == nil {
		return nil
	}
	return p.ring.list()
}

// ReplaceKeys sets the keys of this node alone, the first one primary, for a node that missed a rotation and got
// the keys another way.
func (p *Pool) ReplaceKeys(keys []Key) error {
	if p.ring == nil {
		return errNoEncryption
	}
	return p.ring.replace(keys)
}

// ListKeys asks all nodes which keys they have. relay is over how many other nodes each answer is also sent, 0 to
// MaxRelayFactor. It takes until all alive nodes answered, at most a few seconds by the size of the pool. An error
// comes with the answers when a node failed or stayed silent.
func (p *Pool) ListKeys(ctx context.Context, relay int) (KeyringAnswers, error) {
	return p.askKeyring(ctx, keyList, Key{}, relay)
}

// InstallKey makes all nodes accept key; see ListKeys.
func (p *Pool) InstallKey(ctx context.Context, key Key, relay int) (KeyringAnswers, error) {
	return p.askKeyring(ctx, keyInstall, key, relay)
}

// UseKey makes all nodes encrypt with key, which they must have installed; see ListKeys.
func (p *Pool) UseKey(ctx context.Context, key Key, relay int) (KeyringAnswers, error) {
	return p.askKeyring(ctx, keyUse, key, relay)
}

// RemoveKey makes all nodes forget key, which must not be the primary one; see ListKeys.
func (p *Pool) RemoveKey(ctx context.Context, key Key, relay int) (KeyringAnswers, error) {
	return p.askKeyring(ctx, keyRemove, key, relay)
}

func (p *Pool) askKeyring(ctx context.Context, op keyOp, key Key, relay int) (KeyringAnswers, error) {
	a := KeyringAnswers{Messages: map[string]string{}, Keys: map[string]int{}, Primary: map[string]int{}}
	if err := p.keysMayChange(); err != nil {
		return a, err
	}
	if err := p.ended(); err != nil {
		return a, err
	}
	if relay < 0 || relay > MaxRelayFactor {
		return a, fmt.Errorf("relay factor %d is not between 0 and %d", relay, MaxRelayFactor)
	}
	// What this node would refuse is not worth asking the others.
	if _, err := changed(p.ring.list(), op, key); err != nil {
		return a, fmt.Errorf("keyring %s: %w", op, err)
	}
	payload, err := json.Marshal(keyRequest{Op: op, Key: key.bytes()})
	if err != nil {
		return a, err
	}
	silent := map[string]bool{}
	for _, m := range p.serf.Members() {
		if m.Status == serf.StatusAlive {
			silent[m.Name] = true
		}
	}
	a.Nodes = len(silent)
	params := p.serf.DefaultQueryParams()
	params.RelayFactor = uint8(relay)
	query, err := p.serf.Query(keyringQuery, payload, params)
	if err != nil {
		return a, fmt.Errorf("keyring %s: %w", op, err)
	}
	defer query.Close()
	for len(silent) > 0 {
		select {
		case r, open := <-query.ResponseCh():
			if !open {
				return a, a.failure(op, silent)
			}
			delete(silent, r.From)
			a.add(r)
		case <-ctx.Done():
			return a, ctx.Err()
		case <-p.closing:
			return a, errClosed
		}
	}
	return a, a.failure(op, silent)
}

func (a *KeyringAnswers) add(r serf.NodeResponse) {
	a.Answered++
	var answer keyAnswer
	if err := json.Unmarshal(r.Payload, &answer); err != nil {
		a.Messages[r.From] = "the answer is not understood: is this node of another version?"
		return
	}
	if answer.Err != "" {
		a.Messages[r.From] = answer.Err
		return
	}
	for i, raw := range answer.Keys {
		k := Key{raw: string(raw)}.Base64()
		a.Keys[k]++
		if i == 0 {
			a.Primary[k]++
		}
	}
}

func (a *KeyringAnswers) failure(op keyOp, silent map[string]bool) error {
	for name := range silent {
		a.Messages[name] = "no answer in time"
	}
	if len(a.Messages) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(a.Messages))
	first := a.Messages[names[0]]
	return fmt.Errorf("keyring %s: %d of %d nodes failed or did not answer: %s (%s: %s)",
		op, len(names), a.Nodes, strings.Join(names[:min(len(names), 10)], ", "), names[0], first)
}

// serveKeyring answers keyring queries one after the other, away from the pump since they write a file.
// It ends with the pool.
func (p *Pool) serveKeyring() {
	for {
		select {
		case q := <-p.keyQueries:
			answer := refusal(p.keysMayChange())
			if answer == nil {
				answer = p.ring.answer(q.Payload)
			}
			if err := q.Respond(answer); err != nil {
				p.log.Warn("keyring query is not answered", "node", q.SourceNode(), "err", err)
			}
		case <-p.closing:
			return
		}
	}
}

// answer carries out a request off the wire.
func (r *ring) answer(payload []byte) []byte {
	var req keyRequest
	if err := json.Unmarshal(payload, &req); err != nil {
		return refusal(errors.New("the request is not understood: is this node of another version?"))
	}
	keys, err := r.apply(req.Op, Key{raw: string(req.Key)})
	if err != nil {
		return refusal(err)
	}
	return keyAnswer{Keys: rawKeys(keys)}.encode()
}

// refusal is the answer for err, nil for none.
func refusal(err error) []byte {
	if err == nil {
		return nil
	}
	return keyAnswer{Err: clip(err.Error(), 150)}.encode()
}

func (a keyAnswer) encode() []byte {
	text, err := json.Marshal(a)
	if err != nil { // cannot be: strings and bytes
		return nil
	}
	return text
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
