package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// model is what a store must answer.
type model struct {
	bounds Bounds
	logs   map[uint64]raft.Log
	stable map[string]string
}

func newModel() model { return model{logs: map[uint64]raft.Log{}, stable: map[string]string{}} }

func (m model) clone() model {
	return model{m.bounds, maps.Clone(m.logs), maps.Clone(m.stable)}
}

func (m model) append(logs []*raft.Log) model {
	m = m.clone()
	for _, l := range logs {
		if m.bounds.Empty() {
			m.bounds.First = l.Index
		}
		m.bounds.Last, m.logs[l.Index] = l.Index, *l
	}
	return m
}

func (m model) delete(lo, hi uint64) model {
	m = m.clone()
	left, first, last := m.logs, uint64(0), uint64(0)
	for i := range left {
		if i >= lo && i <= hi {
			delete(left, i)
			continue
		}
		if first == 0 || i < first {
			first = i
		}
		last = max(last, i)
	}
	m.bounds = Bounds{first, last}
	return m
}

func (m model) set(key, val string) model {
	m = m.clone()
	m.stable[key] = val
	return m
}

// differs tells how s is not what m says.
func (m model) differs(s *Store) error {
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if (Bounds{first, last}) != m.bounds {
		return fmt.Errorf("the log is %d to %d, want %v", first, last, m.bounds)
	}
	var got raft.Log
	for i := range m.logs {
		if err := s.GetLog(i, &got); err != nil {
			return err
		}
		if want := m.logs[i]; !reflect.DeepEqual(got, want) {
			return fmt.Errorf("entry %d is %.200v, want %.200v", i, got, want)
		}
	}
	for _, i := range []uint64{0, first - 1, last + 1} {
		if err := s.GetLog(i, &got); !errors.Is(err, raft.ErrLogNotFound) {
			return fmt.Errorf("entry %d, outside of %v: %v", i, m.bounds, err)
		}
	}
	for _, k := range []string{"a", "b"} {
		got, err := s.Get([]byte(k))
		if want, ok := m.stable[k]; string(got) != want || ok != (err == nil) {
			return fmt.Errorf("stable %s is %q, %v; want %q", k, got, err, want)
		}
	}
	return nil
}

// operation is one change: its call, and the models of which one must hold
// when a crash interrupts it. The last of them holds when it succeeds.
type operation struct {
	name string
	call func(*Store) error
	may  []model
}

func appendOp(m model, logs []*raft.Log) operation {
	op := operation{fmt.Sprintf("append %d", len(logs)), func(s *Store) error { return s.StoreLogs(logs) }, []model{m}}
	for i := range logs {
		op.may = append(op.may, m.append(logs[:i+1]))
	}
	return op
}

func deleteOp(m model, lo, hi uint64) operation {
	return operation{fmt.Sprintf("delete %d to %d", lo, hi), func(s *Store) error { return s.DeleteRange(lo, hi) }, []model{m, m.delete(lo, hi)}}
}

func setOp(m model, key, val string) operation {
	return operation{"set " + key, func(s *Store) error { return s.Set([]byte(key), []byte(val)) }, []model{m, m.set(key, val)}}
}

func (op operation) done() model { return op.may[len(op.may)-1] }

// settle returns the model that s is in after op was interrupted.
func (op operation) settle(s *Store) (model, error) {
	var errs error
	for _, m := range op.may {
		err := m.differs(s)
		if err == nil {
			return m, nil
		}
		errs = errors.Join(errs, err)
	}
	return model{}, fmt.Errorf("after an interrupted %s: %w", op.name, errs)
}

const testSegment = 4 << 10

func openDisk(d *disk) (*Store, error) {
	return Open("mem", Options{SegmentSize: testSegment, CacheBytes: 600, LockTimeout: time.Nanosecond, FS: d})
}

// testLog makes an entry whose content tells its index and a version.
func testLog(index, term uint64, size int) *raft.Log {
	l := &raft.Log{Index: index, Term: term, Type: raft.LogType(index % 3), AppendedAt: time.Unix(int64(index), int64(term)).UTC()}
	if size > 0 {
		l.Data = bytes.Repeat([]byte{byte(index), byte(term), byte(size), 0}, size/4+1)[:size]
	}
	if index%5 == 0 {
		l.AppendedAt, l.Extensions = time.Time{}, []byte{byte(term)}
	}
	return l
}

// TestModel compares a store with a plain map under random operations,
// restarts, kills, power cuts and faults.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, m, term := newDisk(), newModel(), uint64(0)
		s, err := openDisk(d)
		if err != nil {
			t.Fatal(err)
		}
		reopen := func(next *disk) {
			s.bg.Wait()
			d = next
			if s, err = openDisk(d); err != nil {
				t.Fatal(err)
			}
		}
		// rapid's ranges prefer small numbers; an even choice needs SampledFrom.
		draw := func(lo, hi uint64, name string) uint64 { return rapid.Uint64Range(lo, hi).Draw(t, name) }
		pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
		drawAppend := func() operation {
			term++
			next := m.bounds.Last + 1
			if m.bounds.Empty() {
				next = draw(1, 40, "first")
			}
			var logs []*raft.Log
			for range rapid.SampledFrom([]int{1, 2, 3, 5}).Draw(t, "entries") {
				logs = append(logs, testLog(next, term, rapid.SampledFrom([]int{0, 1, 90, 470, 1200, 5000}).Draw(t, "size")))
				next++
			}
			return appendOp(m, logs)
		}
		drawOp := func() operation {
			switch pick("op", "append", "append", "conflict", "conflict", "compact", "restore", "set") {
			case "conflict":
				return deleteOp(m, m.bounds.Last-min(m.bounds.Last, draw(0, 5, "n")), m.bounds.Last+draw(0, 1, "over"))
			case "compact":
				return deleteOp(m, m.bounds.First-min(m.bounds.First, draw(0, 1, "under")), m.bounds.Last-min(m.bounds.Last, draw(0, 9, "keep")))
			case "restore":
				return deleteOp(m, m.bounds.First, m.bounds.Last)
			case "set":
				return setOp(m, pick("key", "a", "b"), rapid.StringN(0, 8, -1).Draw(t, "val"))
			}
			return drawAppend()
		}
		apply := func(op operation) {
			if err := op.call(s); err != nil {
				t.Fatal(op.name, err)
			}
			m = op.done()
			s.bg.Wait() // keeps the order of disk operations the same for shrinking
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if err := m.differs(s); err != nil {
					t.Fatal(err)
				}
			},
			"append":    func(t *rapid.T) { apply(drawAppend()) },
			"operation": func(t *rapid.T) { apply(drawOp()) },
			"stop": func(t *rapid.T) {
				switch pick("how", "close", "kill", "cut") {
				case "close":
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					reopen(d.kill())
				case "kill":
					reopen(d.kill())
				case "cut":
					reopen(d.powerCut(keepSome(draw(0, 1<<32, "seed"))))
				}
			},
			"fault": func(t *rapid.T) {
				op := drawOp()
				d.failFrom(d.ops + int(draw(1, 12, "after")))
				err := op.call(s)
				s.bg.Wait()
				if err == nil {
					op.may = op.may[len(op.may)-1:]
				}
				if pick("how", "kill", "cut") == "cut" {
					reopen(d.powerCut(keepSome(draw(0, 1<<32, "seed"))))
				} else {
					reopen(d.kill())
				}
				if m, err = op.settle(s); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}
