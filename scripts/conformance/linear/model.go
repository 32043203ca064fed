// Package linear decides whether what clients saw of keys, transactions and locks could have happened one at a time:
// linearizability (Herlihy and Wing, 1990), with porcupine as the judge.
package linear

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// slots is how many keys an object has. A transaction touches several of one object.
const slots = 3

// Verb is what a call does.
type Verb string

const (
	// Write sets the cells of Set if those of Expect hold: a put, a delete, a check-and-set or a transaction.
	Write Verb = "write"
	// Read returns the values of the slots in Read, all of one moment.
	Read Verb = "read"
	// Acquire takes the object's lock for Session, Release gives it back, Holder tells who has it.
	Acquire Verb = "acquire"
	Release Verb = "release"
	Holder  Verb = "holder"
)

// Cell is a key of an object and its value, "" for none. No value is written twice, so that a value stands for the
// index that check-and-set compares.
type Cell struct {
	Slot  int
	Value string
}

// Call is what a client asks for.
type Call struct {
	Object      string
	Verb        Verb
	Expect, Set []Cell `json:",omitempty"`
	Read        []int  `json:",omitempty"`
	Session     string `json:",omitempty"`
}

// Answer is what it was told.
type Answer struct {
	// Unknown is no answer: a write may have happened, may still happen later, or never.
	Unknown bool `json:",omitempty"`
	// OK is whether a conditional write or an acquisition succeeded.
	OK        bool
	Values    []string `json:",omitempty"` // of Read, in the order of the call
	Holder    string   `json:",omitempty"`
	LockIndex uint64   `json:",omitempty"`
}

// state is an object as it is at one moment.
type state struct {
	values [slots]string
	holder string
	// lockIndex is the fencing token, at least; exactly once somebody has read it. It only has to grow.
	lockIndex uint64
	atLeast   bool
}

// step says whether the call can have this answer in this state, and what the state is then.
func (s state) step(c Call, a Answer) (bool, state) {
	happens, next := true, s
	switch c.Verb {
	case Read:
		for i, slot := range c.Read {
			if s.values[slot] != a.Values[i] {
				return false, s
			}
		}
		return true, s
	case Holder:
		if s.holder != a.Holder || a.LockIndex != s.lockIndex && !(s.atLeast && a.LockIndex > s.lockIndex) {
			return false, s
		}
		next.lockIndex, next.atLeast = a.LockIndex, false
		return true, next
	case Write:
		for _, e := range c.Expect {
			happens = happens && s.values[e.Slot] == e.Value
		}
		for _, cell := range c.Set {
			next.values[cell.Slot] = cell.Value
		}
	case Acquire: // again by the holder succeeds and changes nothing
		if happens = s.holder == "" || s.holder == c.Session; s.holder == "" {
			next.holder = c.Session
			next.lockIndex++
			next.atLeast = true
		}
	case Release:
		happens = s.holder == c.Session
		next.holder = ""
	}
	if !happens {
		next = s
	}
	return a.Unknown || a.OK == happens, next
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, call, answer any) (bool, any) { return s.(state).step(call.(Call), answer.(Answer)) },
	DescribeOperation: func(call, answer any) string {
		return call.(Call).String() + " → " + answer.(Answer).String()
	},
}

// String is how a picture of the history shows the call.
func (c Call) String() string {
	parts := []string{string(c.Verb)}
	for _, e := range c.Expect {
		parts = append(parts, fmt.Sprintf("%d=%q?", e.Slot, e.Value))
	}
	for _, e := range c.Set {
		parts = append(parts, fmt.Sprintf("%d:=%q", e.Slot, e.Value))
	}
	for _, slot := range c.Read {
		parts = append(parts, fmt.Sprint(slot))
	}
	if c.Session != "" {
		parts = append(parts, c.Session)
	}
	return strings.Join(parts, " ")
}

// String is how a picture of the history shows the answer.
func (a Answer) String() string {
	switch {
	case a.Unknown:
		return "?"
	case len(a.Values) > 0:
		return fmt.Sprintf("%q", a.Values)
	case a.Holder != "" || a.LockIndex > 0:
		return fmt.Sprintf("%s at %d", a.Holder, a.LockIndex)
	}
	return fmt.Sprint(a.OK)
}

// Valid refuses calls that the model cannot judge.
func (c Call) Valid() error {
	for _, cell := range slices.Concat(c.Expect, c.Set) {
		if cell.Slot < 0 || cell.Slot >= slots {
			return fmt.Errorf("slot %d of %q is not below %d", cell.Slot, c.Object, slots)
		}
	}
	for _, slot := range c.Read {
		if slot < 0 || slot >= slots {
			return fmt.Errorf("slot %d of %q is not below %d", slot, c.Object, slots)
		}
	}
	return nil
}
