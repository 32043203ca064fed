package raftstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/raftstore/storetest"
)

// workload is a fixed list of operations that rotate, compact, truncate, grow
// a segment beyond its size, and vote. Each is made from the model before it.
func workload() []func(storetest.Model) storetest.Operation {
	rng := rand.New(rand.NewPCG(1, 2))
	var ops []func(storetest.Model) storetest.Operation
	for term := uint64(1); term <= 40; term++ {
		n, size := 1+rng.IntN(4), rng.IntN(900)
		if term%13 == 0 {
			n, size = 2, 2*testSegment
		}
		ops = append(ops, func(m storetest.Model) storetest.Operation {
			next := m.Last + 1
			if m.Last == 0 {
				next = 100
			}
			var logs []*raft.Log
			for i := range n {
				logs = append(logs, storetest.Entry(next+uint64(i), term, size))
			}
			return storetest.Append(m, logs)
		})
		switch term % 10 {
		case 3:
			ops = append(ops, func(m storetest.Model) storetest.Operation { return storetest.Delete(m, m.Last-1, m.Last) })
		case 5:
			ops = append(ops, func(m storetest.Model) storetest.Operation { return storetest.Set(m, "a", string(rune('A'+term))) })
		case 7:
			ops = append(ops, func(m storetest.Model) storetest.Operation { return storetest.Delete(m, m.First, m.Last-6) })
		case 9:
			if term == 29 {
				ops = append(ops, func(m storetest.Model) storetest.Operation { return storetest.Delete(m, m.First, m.Last) })
			}
		}
	}
	return ops
}

// run applies ops until one fails, which is returned with the model before it.
func run(s *Store, ops []func(storetest.Model) storetest.Operation) (storetest.Model, *storetest.Operation) {
	m := storetest.NewModel()
	for _, next := range ops {
		op := next(m)
		err := op.Call(s)
		s.bg.Wait()
		if err != nil {
			return m, &op
		}
		m = op.Done()
	}
	return m, nil
}

// TestCrashEverywhere stops the process at every single operation on the disk
// and cuts the power in several ways: what was acknowledged is always there.
func TestCrashEverywhere(t *testing.T) {
	whole := newDisk()
	s := mustOpen(t, whole)
	if m, failed := run(s, workload()); failed != nil {
		t.Fatal(failed.Name)
	} else if err := m.Differs(s); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= whole.ops; n++ {
		cuts := []func(*disk) *disk{
			(*disk).kill,
			func(d *disk) *disk { return d.powerCut(keepNothing) },
			func(d *disk) *disk { return d.powerCut(keepAll) },
			func(d *disk) *disk { return d.powerCut(keepSome(uint64(n))) },
		}
		for i, cut := range cuts {
			d := newDisk()
			d.failFrom(n)
			m, op := storetest.NewModel(), (*storetest.Operation)(nil)
			if s, err := openDisk(d); err == nil {
				m, op = run(s, workload())
			}
			d = cut(d)
			s := mustOpen(t, d)
			if op == nil { // Open itself, or nothing, was interrupted
				op = &storetest.Operation{Name: "open", May: []storetest.Model{m}}
			}
			m, err := op.Settle(s)
			if err != nil {
				t.Fatalf("operation %d, cut %d: %v", n, i, err)
			}
			// The reopened store must survive the next cut, too.
			if err := s.SetUint64([]byte("a"), 7); err != nil {
				t.Fatal(err)
			}
			s.bg.Wait()
			m = m.Set("a", "\x00\x00\x00\x00\x00\x00\x00\x07")
			if err := m.Differs(mustOpen(t, d.powerCut(keepNothing))); err != nil {
				t.Fatalf("operation %d, cut %d, then again: %v", n, i, err)
			}
		}
	}
}

// TestTornAtEveryByte tears the last write after each of its bytes, from the
// front and from the back, in the segment and as the first of a new one.
func TestTornAtEveryByte(t *testing.T) {
	for _, room := range []int64{testSegment / 2, 300} {
		d := newDisk()
		s := mustOpen(t, d)
		m, _ := run(s, []func(storetest.Model) storetest.Operation{func(m storetest.Model) storetest.Operation {
			return storetest.Append(m, []*raft.Log{storetest.Entry(1, 1, int(testSegment-room-s.active.end-frameSize(entryFixed)))})
		}})
		before := d.clone()
		w := d.nextWrite()
		next := m.Last + 1
		op := storetest.Append(m, []*raft.Log{storetest.Entry(next, 50, 300), storetest.Entry(next+1, 50, 0), storetest.Entry(next+2, 50, 41)})
		if err := op.Call(s); err != nil {
			t.Fatal(err)
		}
		for n := range len(w.b) + 1 {
			for _, part := range [][2]int{{0, n}, {n, len(w.b)}} {
				d := before.clone()
				d.names[w.name].data = put(d.names[w.name].data, w.off+int64(part[0]), w.b[part[0]:part[1]])
				got, err := op.Settle(mustOpen(t, d))
				if err != nil {
					t.Fatalf("%s, bytes %v of %d: %v", w.name, part, len(w.b), err)
				}
				if whole := part == [2]int{0, len(w.b)}; whole && got.Last != op.Done().Last {
					t.Fatalf("the whole batch was written, found up to %d", got.Last)
				}
			}
		}
	}
}

// TestTornRemainsStayDead tears a batch so that its second half is intact, then
// writes a batch just as long as the first half, whose mark is lost with the
// power: the old half must not become its continuation.
func TestTornRemainsStayDead(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, d)
	m, _ := run(s, workload()[:2])
	torn, next := d.clone(), m.Last+1
	w := d.nextWrite()
	if err := s.StoreLogs([]*raft.Log{storetest.Entry(next, 50, 300), storetest.Entry(next+1, 50, 300)}); err != nil {
		t.Fatal(err)
	}
	half := len(w.b) / 2
	n := torn.names[w.name]
	n.data, n.synced = put(n.data, w.off+int64(half), w.b[half:]), put(n.synced, w.off+int64(half), w.b[half:])
	s = mustOpen(t, torn)
	op := storetest.Append(m, []*raft.Log{storetest.Entry(next, 51, 300)})
	if err := op.Call(s); err != nil {
		t.Fatal(err)
	}
	s.bg.Wait()
	if err := op.Done().Differs(mustOpen(t, torn.powerCut(keepNothing))); err != nil {
		t.Error(err)
	}
}

// TestBitFlips flips single bits of a log that was closed or killed: what was
// acknowledged is read back right, or opening tells of the damage.
func TestBitFlips(t *testing.T) {
	for _, end := range []string{"closed", "killed"} {
		d := newDisk()
		s := mustOpen(t, d)
		m, _ := run(s, workload())
		if end == "closed" {
			s.Close()
			d = d.powerCut(keepNothing)
		}
		rng := rand.New(rand.NewPCG(3, 4))
		var files []string
		used := map[string]int{}
		for name, n := range d.names {
			if _, ok := parseSegmentName(name); ok {
				files, used[name] = append(files, name), len(n.data)
			}
		}
		found := 0
		for range 500 {
			d := d.clone()
			name := files[rng.IntN(len(files))]
			off, bit := rng.IntN(used[name]), rng.IntN(8)
			d.names[name].data[off] ^= 1 << bit
			s, err := openDisk(d)
			if err != nil {
				if damage := (*CorruptError)(nil); !errors.As(err, &damage) || !strings.Contains(err.Error(), name) {
					t.Fatalf("%s, %s offset %d bit %d: %v, want a CorruptError naming the file", end, name, off, bit, err)
				}
				found++
				continue
			}
			if err := m.Differs(s); err != nil {
				t.Fatalf("%s, %s offset %d bit %d: opened, but %v", end, name, off, bit, err)
			}
		}
		if found < 100 {
			t.Errorf("%s: only %d of 500 flips found: the log under test is too empty", end, found)
		}
	}
}

// TestDamageWhileOpen flips a bit under an entry that is not cached.
func TestDamageWhileOpen(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, d)
	run(s, workload()[:12])
	first, _ := s.FirstIndex()
	seg, at := s.find(first)
	d.names[seg.name].data[at.off+frameHeaderSize+entryFixed+1] ^= 4
	if n, err := Verify(t.Context(), s); n != 0 || err == nil {
		t.Errorf("verified %d entries, %v", n, err)
	}
	err := s.GetLog(first, new(raft.Log))
	if damage := (*CorruptError)(nil); !errors.As(err, &damage) || damage.File != "mem/"+seg.name {
		t.Fatalf("got %v", err)
	}
}

// TestMissingFiles deletes a segment: the error names it.
func TestMissingFiles(t *testing.T) {
	d := newDisk()
	s := mustOpen(t, d)
	run(s, workload()[:30])
	s.Close()
	for i, seg := range s.segments {
		d := d.clone()
		delete(d.names, seg.name)
		_, err := openDisk(d)
		if damage := (*CorruptError)(nil); !errors.As(err, &damage) || damage.File != "mem/"+seg.name {
			t.Errorf("segment %d of %d missing: %v", i, len(s.segments), err)
		}
	}
}

// TestNewerVersion: a downgrade is told as such, not as damage.
func TestNewerVersion(t *testing.T) {
	d := newDisk()
	mustOpen(t, d).Close()
	h := d.names[segmentName(1)].data
	h[11] = fileVersion + 1
	binary.BigEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	_, err := openDisk(d)
	if damage := (*CorruptError)(nil); err == nil || errors.As(err, &damage) || !strings.Contains(err.Error(), "run the version that wrote it") {
		t.Error(err)
	}
}

func mustOpen(t *testing.T, d *disk) *Store {
	t.Helper()
	s, err := openDisk(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
