package peer

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/rpc"
)

// maxFrame bounds one message of a stream, in bytes.
const maxFrame = 2 << 20

// message is what goes over the stream of a peering, in either direction: one of these. A stream begins with a bundle and
// the list of exports of each side.
type message struct {
	Heartbeat bool           `codec:",omitempty"`
	Bundle    *bundle        `codec:",omitempty"`
	Exports   *exportList    `codec:",omitempty"`
	Service   *serviceUpdate `codec:",omitempty"`
	// Gone says that the peering was deleted on the side that sends it. Nothing follows.
	Gone bool `codec:",omitempty"`

	size int // in bytes, of one that was read
}

// bundle is how the servers of the sender are reached and known, and its mesh gateways. KnownAs is the name that it gives
// the receiver, which is in the names of TLS that lead through the gateways.
type bundle struct {
	ServerName string
	Roots      []string
	Addresses  []string
	KnownAs    string
	Gateways   []string
}

// same reports whether two say the same.
func (b *bundle) same(o *bundle) bool {
	return b.ServerName == o.ServerName && b.KnownAs == o.KnownAs && slices.Equal(b.Roots, o.Roots) && slices.Equal(b.Addresses, o.Addresses) &&
		slices.Equal(b.Gateways, o.Gateways)
}

// exportList names all services that the sender exports to the receiver.
type exportList struct {
	Whole bool // always true: the codec leaves out what says nothing
	Names []string
}

// serviceUpdate is one of them as it is now; with More the rest of it follows in the next message.
type serviceUpdate struct {
	Name      string
	Instances []*catalog.Instance
	Sidecars  []*catalog.Instance
	More      bool
}

// encodeMessage writes a message behind its length.
func encodeMessage(m *message) ([]byte, error) {
	body, err := rpc.Encode(m)
	if err != nil {
		return nil, err
	}
	if len(body) > maxFrame {
		return nil, errFrame
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...), nil
}

var errFrame = catalog.Errorf(catalog.TooLarge, "peering: a message exceeds %d bytes", maxFrame)

// readMessage reads the next message. What is longer than maxFrame is an error before any of it is read.
func readMessage(r io.Reader) (*message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return nil, errFrame
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	m := &message{size: int(n)}
	if err := rpc.Decode(body, m); err != nil {
		return nil, catalog.Errorf(catalog.Invalid, "peering: %w", err)
	}
	return m, nil
}

// chunk is how many instances of a service go in one message.
const chunk = 200

// pieces cuts an update into messages. What does not fit by itself is left out, and counted.
func pieces(u *serviceUpdate) (frames [][]byte, left int, err error) {
	type part struct {
		sidecar  bool
		instance *catalog.Instance
	}
	var all []part
	for _, i := range u.Instances {
		all = append(all, part{false, i})
	}
	for _, i := range u.Sidecars {
		all = append(all, part{true, i})
	}
	size := chunk
	for at := 0; ; {
		n := min(size, len(all)-at)
		m := &serviceUpdate{Name: u.Name, More: at+n < len(all)}
		for _, p := range all[at : at+n] {
			if p.sidecar {
				m.Sidecars = append(m.Sidecars, p.instance)
			} else {
				m.Instances = append(m.Instances, p.instance)
			}
		}
		frame, err := encodeMessage(&message{Service: m})
		switch {
		case err == errFrame && n > 1:
			size = n / 2
			continue
		case err == errFrame && n == 1:
			left++
			all = append(all[:at:at], all[at+1:]...)
			continue
		case err != nil:
			return nil, 0, fmt.Errorf("service %q: %w", u.Name, err)
		}
		frames = append(frames, frame)
		if at += n; at >= len(all) {
			return frames, left, nil
		}
	}
}
