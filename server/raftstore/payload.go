package raftstore

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// entryFixed is the size of an entry's payload without data and extensions:
// index, term, type, seconds and nanoseconds of AppendedAt, length of extensions.
const entryFixed = 8 + 8 + 1 + 8 + 4 + 4

// EntrySize is the payload size of l.
func EntrySize(l *raft.Log) int64 {
	return entryFixed + int64(len(l.Extensions)) + int64(len(l.Data))
}

// AppendEntry appends l's payload to b.
func AppendEntry(b []byte, l *raft.Log) []byte {
	b = binary.BigEndian.AppendUint64(b, l.Index)
	b = binary.BigEndian.AppendUint64(b, l.Term)
	b = append(b, byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, uint64(l.AppendedAt.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(l.AppendedAt.Nanosecond()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(b, l.Extensions...)
	return append(b, l.Data...)
}

// DecodeEntry fills l from a payload, whose memory l then shares. Empty data
// comes back as nil.
func DecodeEntry(p []byte, l *raft.Log) bool {
	if len(p) < entryFixed {
		return false
	}
	rest, ext := p[entryFixed:], uint64(binary.BigEndian.Uint32(p[29:]))
	nsec := binary.BigEndian.Uint32(p[25:])
	if ext > uint64(len(rest)) || nsec >= uint32(time.Second) {
		return false
	}
	*l = raft.Log{
		Index:      binary.BigEndian.Uint64(p),
		Term:       binary.BigEndian.Uint64(p[8:]),
		Type:       raft.LogType(p[16]),
		AppendedAt: time.Unix(int64(binary.BigEndian.Uint64(p[17:])), int64(nsec)).UTC(),
	}
	if ext > 0 {
		l.Extensions = rest[:ext:ext]
	}
	if rest = rest[ext:]; len(rest) > 0 {
		l.Data = rest
	}
	return true
}

// Bounds are the first and last index of a log; both are 0 when it is empty.
type Bounds struct{ First, Last uint64 }

// Empty says whether there are no entries.
func (b Bounds) Empty() bool { return b.Last == 0 }

// maxIndex keeps the index after any entry's representable.
const maxIndex = 1<<63 - 1

// valid says whether b can be what a log looks like.
func (b Bounds) valid() bool {
	return b == Bounds{} || b.First > 0 && b.First <= b.Last && b.Last <= maxIndex
}

// without returns what remains of b when lo to hi are deleted, and false when
// that would tear a hole into the log.
func (b Bounds) without(lo, hi uint64) (Bounds, bool) {
	switch {
	case b.Empty() || lo > hi || hi < b.First || lo > b.Last:
		return b, true
	case lo <= b.First && hi >= b.Last:
		return Bounds{}, true
	case lo <= b.First:
		return Bounds{hi + 1, b.Last}, true
	case hi >= b.Last:
		return Bounds{b.First, lo - 1}, true
	}
	return b, false
}

func appendBounds(b []byte, v Bounds) []byte {
	b = binary.BigEndian.AppendUint64(b, v.First)
	return binary.BigEndian.AppendUint64(b, v.Last)
}

func decodeBounds(p []byte) (Bounds, bool) {
	if len(p) != 16 {
		return Bounds{}, false
	}
	v := Bounds{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])}
	return v, v.valid()
}

// state is what the first frame of a segment tells about everything before it.
type state struct {
	bounds  Bounds
	prevEnd int64 // where the frames of the previous segment end
	stable  map[string][]byte
}

func appendState(b []byte, s state) []byte {
	b = appendBounds(b, s.bounds)
	b = binary.BigEndian.AppendUint32(b, uint32(s.prevEnd))
	for _, k := range slices.Sorted(maps.Keys(s.stable)) {
		b = appendStable(b, k, s.stable[k])
	}
	return b
}

func decodeState(p []byte) (state, bool) {
	if len(p) < 20 {
		return state{}, false
	}
	v, ok := decodeBounds(p[:16])
	s := state{bounds: v, prevEnd: int64(binary.BigEndian.Uint32(p[16:])), stable: map[string][]byte{}}
	for p = p[20:]; ok && len(p) > 0; {
		var key string
		var val []byte
		key, val, p, ok = decodeStable(p)
		s.stable[key] = val
	}
	return s, ok
}

// stateSize is the payload size of a state frame.
func stateSize(s state) int64 {
	n := int64(16 + 4)
	for k, v := range s.stable {
		n += stableOverhead + int64(len(k)+len(v))
	}
	return n
}

// stableOverhead is what a stable key and value take beyond their own bytes.
const stableOverhead = 2 + 4

func appendStable(b []byte, key string, val []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(val)))
	return append(b, val...)
}

// decodeStable reads one key and value, copied, and returns what follows.
func decodeStable(p []byte) (key string, val, rest []byte, ok bool) {
	if len(p) < 2 {
		return "", nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(p))
	if len(p) < 2+n+4 {
		return "", nil, nil, false
	}
	key, p = string(p[2:2+n]), p[2+n:]
	m := uint64(binary.BigEndian.Uint32(p))
	if p = p[4:]; m > uint64(len(p)) {
		return "", nil, nil, false
	}
	return key, append([]byte{}, p[:m]...), p[m:], true
}
