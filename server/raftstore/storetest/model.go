// Package storetest is the test suite that every backend of the Raft log must
// pass.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/hashicorp/raft"
)

// Store is what is tested.
type Store interface {
	raft.LogStore
	raft.MonotonicLogStore
	raft.StableStore
}

// Model is what a store must answer. Its methods return changed copies.
type Model struct {
	First, Last uint64
	Logs        map[uint64]raft.Log
	Stable      map[string]string
}

// NewModel returns the model of an empty store.
func NewModel() Model { return Model{Logs: map[uint64]raft.Log{}, Stable: map[string]string{}} }

func (m Model) clone() Model {
	m.Logs, m.Stable = maps.Clone(m.Logs), maps.Clone(m.Stable)
	return m
}

// Append is the model after StoreLogs.
func (m Model) Append(logs []*raft.Log) Model {
	m = m.clone()
	for _, l := range logs {
		if m.Last == 0 {
			m.First = l.Index
		}
		m.Last, m.Logs[l.Index] = l.Index, *l
	}
	return m
}

// Delete is the model after DeleteRange.
func (m Model) Delete(lo, hi uint64) Model {
	m = m.clone()
	m.First, m.Last = 0, 0
	for i := range m.Logs {
		if i >= lo && i <= hi {
			delete(m.Logs, i)
			continue
		}
		if m.First == 0 || i < m.First {
			m.First = i
		}
		m.Last = max(m.Last, i)
	}
	return m
}

// Set is the model after Set.
func (m Model) Set(key, val string) Model {
	m = m.clone()
	m.Stable[key] = val
	return m
}

// Differs tells how s is not what m says.
func (m Model) Differs(s Store) error {
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if first != m.First || last != m.Last {
		return fmt.Errorf("the log is %d to %d, want %d to %d", first, last, m.First, m.Last)
	}
	var got raft.Log
	for i := range m.Logs {
		if err := s.GetLog(i, &got); err != nil {
			return err
		}
		if want := m.Logs[i]; !reflect.DeepEqual(got, want) {
			return fmt.Errorf("entry %d is %.200v, want %.200v", i, got, want)
		}
	}
	for _, i := range []uint64{0, first - 1, last + 1} {
		if err := s.GetLog(i, &got); !errors.Is(err, raft.ErrLogNotFound) {
			return fmt.Errorf("entry %d, outside of %d to %d: %v", i, first, last, err)
		}
	}
	for _, k := range []string{"a", "b"} {
		got, err := s.Get([]byte(k))
		if want, ok := m.Stable[k]; string(got) != want || ok != (err == nil) {
			return fmt.Errorf("stable %s is %q, %v; want %q", k, got, err, want)
		}
	}
	return nil
}

// Operation is one change: its call, and the models of which one must hold
// when a crash interrupts it. The last of them holds when it succeeds.
type Operation struct {
	Name string
	Call func(Store) error
	May  []Model
}

// Append makes the operation StoreLogs.
func Append(m Model, logs []*raft.Log) Operation {
	op := Operation{fmt.Sprintf("append %d", len(logs)), func(s Store) error { return s.StoreLogs(logs) }, []Model{m}}
	for i := range logs {
		op.May = append(op.May, m.Append(logs[:i+1]))
	}
	return op
}

// Delete makes the operation DeleteRange.
func Delete(m Model, lo, hi uint64) Operation {
	return Operation{fmt.Sprintf("delete %d to %d", lo, hi), func(s Store) error { return s.DeleteRange(lo, hi) }, []Model{m, m.Delete(lo, hi)}}
}

// Set makes the operation Set.
func Set(m Model, key, val string) Operation {
	return Operation{"set " + key, func(s Store) error { return s.Set([]byte(key), []byte(val)) }, []Model{m, m.Set(key, val)}}
}

// Done returns the model after success.
func (op Operation) Done() Model { return op.May[len(op.May)-1] }

// Settle returns the model that s is in after op was interrupted.
func (op Operation) Settle(s Store) (Model, error) {
	var errs error
	for _, m := range op.May {
		err := m.Differs(s)
		if err == nil {
			return m, nil
		}
		errs = errors.Join(errs, err)
	}
	return Model{}, fmt.Errorf("after an interrupted %s: %w", op.Name, errs)
}

// Entry makes an entry whose content tells its index and a version.
func Entry(index, term uint64, size int) *raft.Log {
	l := &raft.Log{Index: index, Term: term, Type: raft.LogType(index % 3), AppendedAt: time.Unix(int64(index), int64(term)).UTC()}
	if size > 0 {
		l.Data = bytes.Repeat([]byte{byte(index), byte(term), byte(size), 0}, size/4+1)[:size]
	}
	if index%5 == 0 {
		l.AppendedAt, l.Extensions = time.Time{}, []byte{byte(term)}
	}
	return l
}
