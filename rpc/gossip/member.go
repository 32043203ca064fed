package gossip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/serf/serf"
)

// Status is what the pool believes of a member. The numbers are those of Consul's HTTP API.
type Status int

const (
	StatusNone    Status = 0
	StatusAlive   Status = 1
	StatusLeaving Status = 2
	StatusLeft    Status = 3
	StatusFailed  Status = 4
)

// String is the word that `members` prints.
func (s Status) String() string {
	switch s {
	case StatusAlive:
		return "alive"
	case StatusLeaving:
		return "leaving"
	case StatusLeft:
		return "left"
	case StatusFailed:
		return "failed"
	}
	return "none"
}

// Member is one node of the pool, a value that nobody changes: Tags are shared, read them only.
// Its JSON form is that of Consul's /v1/agent/members.
type Member struct {
	Name   string
	Addr   netip.Addr
	Port   uint16
	Tags   map[string]string
	Status Status

	ProtocolMin, ProtocolMax, ProtocolCur uint8
	DelegateMin, DelegateMax, DelegateCur uint8
}

// AddrPort is where the member takes gossip.
func (m Member) AddrPort() netip.AddrPort { return netip.AddrPortFrom(m.Addr, m.Port) }

func fromSerf(m *serf.Member) Member {
	addr, _ := netip.AddrFromSlice(m.Addr)
	return Member{
		Name: m.Name, Addr: addr.Unmap(), Port: m.Port, Tags: m.Tags, Status: Status(m.Status),
		ProtocolMin: m.ProtocolMin, ProtocolMax: m.ProtocolMax, ProtocolCur: m.ProtocolCur,
		DelegateMin: m.DelegateMin, DelegateMax: m.DelegateMax, DelegateCur: m.DelegateCur,
	}
}

// MaxNameBytes is the longest node name.
const MaxNameBytes = 128

// ValidateName refuses names that cannot travel: empty, over MaxNameBytes, not UTF-8, with white space, control
// characters, quotation marks or slashes. Names outside letters, digits and hyphens are fine here, DNS cannot ask for
// them. It also guards what peers call themselves: names end up in logs, file lines and join addresses.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("node name is empty: set node_name")
	case len(name) > MaxNameBytes:
		return fmt.Errorf("node name of %d bytes is longer than %d: shorten node_name", len(name), MaxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("node name %q is not UTF-8: change node_name", name)
	}
	if i := strings.IndexFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("\"'`/\\", r)
	}); i >= 0 {
		r, _ := utf8.DecodeRuneInString(name[i:])
		return fmt.Errorf("node name %q has %q: white space, quotation marks and slashes cannot be in node_name", name, r)
	}
	return nil
}
