package sidecar

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

// parcel is a snapshot as a runner takes it: what it knows of a sidecar already is not read again.
type parcel struct {
	Version  uint64
	Roots    *catalog.Roots
	Sidecars []json.RawMessage
	Gateways []*Gateway
}

// unwrap reads a snapshot but for its sidecars.
func unwrap(text []byte) (*parcel, error) {
	p := new(parcel)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("the proxy's snapshot: %w", err)
	}
	return p, (&Snapshot{Roots: p.Roots, Gateways: p.Gateways}).check()
}

// sidecar reads the sidecar at an index.
func (p *parcel) sidecar(i int) (*Sidecar, error) {
	var s *Sidecar
	if err := json.Unmarshal(p.Sidecars[i], &s); err != nil {
		return nil, fmt.Errorf("the proxy's snapshot: sidecar %d: %w", i, err)
	}
	return s, s.check(i)
}

// side is what a runner keeps of a sidecar: what it was compiled to, and what is asked for often.
type side struct {
	id, service, serial string
	until               time.Time // its certificate holds
	defaults            *catalog.ProxyDefaults
	made                []made
	// anew is whether it is compiled anew with each snapshot: providers of tokens are those of a snapshot.
	anew bool
}

// sum tells texts of sidecars apart.
type sum [sha256.Size]byte

// sides are the sidecars of a snapshot in its order. Those that are as before have been compiled; the others are returned
// by their index.
func (p *parcel) sides(before map[sum]*side) (now []*side, by map[sum]*side, others map[int]*Sidecar, err error) {
	now, by, others = make([]*side, len(p.Sidecars)), make(map[sum]*side, len(p.Sidecars)), map[int]*Sidecar{}
	for i, text := range p.Sidecars {
		key := sum(sha256.Sum256(text))
		s := before[key]
		if s == nil || s.anew {
			read, err := p.sidecar(i)
			if err != nil {
				return nil, nil, nil, err
			}
			others[i] = read
			s = &side{
				id: read.Service.ID, service: read.Service.Proxy.DestinationServiceName, serial: read.Leaf.SerialNumber, until: read.Leaf.ValidBefore,
				defaults: read.Defaults.Proxy, anew: len(read.Providers) > 0,
			}
			if i > 0 && s.defaults != nil && reflect.DeepEqual(s.defaults, now[i-1].defaults) { // mostly all have the same
				s.defaults = now[i-1].defaults
			}
		}
		now[i], by[key] = s, s
	}
	return now, by, others, nil
}

// kept is the text of a snapshot. It is in memory until it is on the disk, where it is read again for who asks.
type kept struct {
	text []byte
	dir  string // where it is, when text is nil
}

// open is the text.
func (k *kept) open() ([]byte, error) {
	if k.text != nil {
		return k.text, nil
	}
	return os.ReadFile(filepath.Join(k.dir, snapshotFile))
}
