package raftstore

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

// Bits of the control byte that begins each step of a fuzz script; the low
// three are the frame's kind.
const (
	newBatch   = 1 << 3
	newFile    = 1 << 4
	tornPart   = 1 << 5 // the payload is not what was summed
	afterMark  = 1 << 6 // put a mark first
	scriptHead = 3      // control byte and length of the payload
)

// fuzzDisk makes segment files from a script of frames whose checksums are
// right, or, if raw, one segment whose frames are the script itself.
func fuzzDisk(script []byte, raw bool) *disk {
	d := newDisk()
	seq := uint64(0)
	var b *batch
	file := func() {
		seq++
		seg := &segment{seq: seq, seed: frameSeed(seq, 1)}
		b = &batch{seg: seg, start: fileHeaderSize}
		d.names[segmentName(seq)] = &inode{data: encodeFileHeader(seq, 1)}
	}
	save := func() {
		n := d.names[segmentName(seq)]
		n.data = put(n.data, b.start, b.buf)
		b.start, b.buf = b.start+int64(len(b.buf)), nil
	}
	file()
	if raw {
		b.buf = script
		save()
		return d.clone() // as found after a power cut
	}
	for len(script) >= scriptHead && seq < 5 {
		ctl, n := script[0], int(binary.BigEndian.Uint16(script[1:]))
		script = script[scriptHead:]
		n = min(n, len(script))
		if ctl&(newBatch|newFile|afterMark) != 0 {
			save()
		}
		if ctl&newFile != 0 {
			file()
		}
		if ctl&afterMark != 0 {
			b.open()
			b.close(kindMark)
			save()
		}
		b.open()
		b.buf = append(b.buf, script[:n]...)
		at := b.close(kind(ctl & 7))
		if ctl&tornPart != 0 && n > 0 {
			b.buf[int64(at.off)-b.start+frameHeaderSize] ^= 1
		}
		script = script[n:]
	}
	save()
	return d.clone()
}

// step encodes one step of a script.
func step(ctl byte, payload []byte) []byte {
	return append([]byte{ctl, byte(len(payload) >> 8), byte(len(payload))}, payload...)
}

// FuzzRecover opens files of any content: an error or a log that can be read,
// appended to, and opened again; never a panic.
func FuzzRecover(f *testing.F) {
	entry := func(i uint64) []byte { return AppendEntry(nil, storetest.Entry(i, 1, 20)) }
	log := slices.Concat(
		step(byte(kindState), appendState(nil, state{})),
		step(newBatch|byte(kindEntry), entry(1)),
		step(byte(kindEntry), entry(2)),
		step(newBatch|byte(kindStable), appendStable(nil, "a", []byte("v"))),
		step(newBatch|byte(kindBounds), appendBounds(nil, Bounds{2, 2})),
	)
	end := int64(len(fuzzDisk(log, false).names[segmentName(1)].data))
	second := appendState(nil, state{Bounds{2, 2}, end, map[string][]byte{"a": []byte("v")}})
	f.Add(log, false)
	f.Add(slices.Concat(log, step(newFile|byte(kindState), second), step(newBatch|byte(kindEntry), entry(3))), false)
	f.Add(slices.Concat(log, step(tornPart|newBatch|byte(kindEntry), entry(3))), false)
	f.Add(slices.Concat(log, step(tornPart|newBatch|byte(kindEntry), entry(3)), step(newBatch|byte(kindEntry), entry(4))), false)
	f.Add(slices.Concat(log, step(afterMark|byte(kindEntry), entry(3))), false)
	f.Add([]byte("no frame at all"), true)
	f.Fuzz(func(t *testing.T, script []byte, raw bool) {
		d := fuzzDisk(script, raw)
		s, err := openDisk(d)
		if err != nil {
			return
		}
		first, _ := s.FirstIndex()
		last, _ := s.LastIndex()
		var l raft.Log
		for i := first; i <= last && i > 0; i++ {
			if err := s.GetLog(i, &l); err != nil || l.Index != i {
				t.Fatalf("entry %d of %d to %d: %v", i, first, last, err)
			}
		}
		if last == maxIndex {
			return
		}
		if err := s.StoreLog(storetest.Entry(last+1, 9, 50)); err != nil {
			t.Fatal(err)
		}
		s.bg.Wait()
		if s, err = openDisk(d.powerCut(keepNothing)); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.LastIndex(); got != last+1 {
			t.Fatalf("appended %d, found %d", last+1, got)
		}
	})
}
