package httpapi

import (
	"net/http"

	"github.com/curia-mesh/curia/rpc/gossip"
)

func keyringRoutes() []Route {
	return []Route{{
		Path: "/v1/operator/keyring", Doc: "list, install, use and remove gossip encryption keys", ACL: "keyring:write", Local: true,
		Methods: []Method{{Name: http.MethodGet, Handle: keyringList, ACL: "keyring:read"}, {Name: http.MethodPost, Handle: keyringInstall}, {Name: http.MethodPut, Handle: keyringUse}, {Name: http.MethodDelete, Handle: keyringRemove}},
	}}
}

// KeyringOp is what is done to the keys of the gossip pools.
type KeyringOp string

// The operations on keys.
const (
	KeyringList    KeyringOp = "list"
	KeyringInstall KeyringOp = "install"
	KeyringUse     KeyringOp = "use"
	KeyringRemove  KeyringOp = "remove"
)

// KeyringAnswer is what the nodes of one pool answered.
type KeyringAnswer struct {
	WAN         bool
	Datacenter  string
	Segment     string
	Messages    map[string]string `json:",omitempty"`
	Keys        map[string]int
	PrimaryKeys map[string]int
	NumNodes    int
}

func keyring(c *call, op KeyringOp, key gossip.Key) ([]KeyringAnswer, error) {
	relay, err := c.number("relay-factor")
	if err != nil {
		return nil, err
	}
	if relay > gossip.MaxRelayFactor {
		return nil, badRequest("relay-factor %d is not between 0 and %d", relay, gossip.MaxRelayFactor)
	}
	localOnly, err := c.flag("local-only")
	if err != nil {
		return nil, err
	}
	if localOnly && op != KeyringList {
		return nil, badRequest("local-only goes with listing keys only")
	}
	return c.api.Node.Keyring(c.ctx(), op, key, int(relay), localOnly)
}

func keyringList(c *call) error {
	answers, err := keyring(c, KeyringList, gossip.Key{})
	if err != nil {
		return err
	}
	return c.json(answers)
}

func keyringInstall(c *call) error { return keyringChange(c, KeyringInstall) }
func keyringUse(c *call) error     { return keyringChange(c, KeyringUse) }
func keyringRemove(c *call) error  { return keyringChange(c, KeyringRemove) }

func keyringChange(c *call, op KeyringOp) error {
	body := struct{ Key string }{}
	if err := c.decode(&body); err != nil {
		return err
	}
	key, err := gossip.ParseKey(body.Key)
	if err != nil {
		return badRequest("%w", err)
	}
	if _, err := keyring(c, op, key); err != nil {
		return err
	}
	return c.done()
}
