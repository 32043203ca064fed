package linear

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// History is what all clients saw. Its methods may be called by many goroutines.
type History struct {
	start time.Time

	mu      sync.Mutex
	entries []*Entry
}

// Entry is one call with its answer. Times are since the history began, on the monotonic clock.
type Entry struct {
	Client   int
	Call     Call
	Answer   Answer
	From, To time.Duration
	done     bool
}

// NewHistory begins a history.
func NewHistory() *History { return &History{start: time.Now()} }

// Begin records that a client is about to send a call.
func (h *History) Begin(client int, c Call) *Entry {
	e := &Entry{Client: client, Call: c}
	h.mu.Lock()
	defer h.mu.Unlock()
	e.From = time.Since(h.start)
	h.entries = append(h.entries, e)
	return e
}

// End records the answer to a call. What never ends counts as unknown.
func (h *History) End(e *Entry, a Answer) {
	to := time.Since(h.start)
	h.mu.Lock()
	defer h.mu.Unlock()
	e.To, e.Answer, e.done = to, a, true
}

// Forget takes back a call that certainly was never carried out.
func (h *History) Forget(e *Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.Call.Verb = ""
}

// Answered counts the calls that were answered.
func (h *History) Answered() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.entries {
		if e.done && !e.Answer.Unknown && e.Call.Verb != "" {
			n++
		}
	}
	return n
}

// Verdict is what Check found.
type Verdict struct {
	Objects   int      // judged
	Calls     int      // of them, answered or not
	Wrong     []string // objects whose history is not linearizable
	Undecided []string // and those where limit was not enough to tell
}

// Check judges every object, with limit as the time for each. It must not be called while calls are under way. The
// histories of wrong and undecided objects are written to dir, as JSON and as a picture for a browser.
func (h *History) Check(limit time.Duration, dir string) (Verdict, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	byObject := map[string][]*Entry{}
	var v Verdict
	for _, e := range h.entries {
		if err := e.Call.Valid(); err != nil {
			return v, err
		}
		byObject[e.Call.Object] = append(byObject[e.Call.Object], e)
	}
	var errs []error
	for object, entries := range byObject {
		ops := operations(entries)
		v.Objects++
		v.Calls += len(ops)
		result, info := porcupine.CheckOperationsVerbose(model, ops, limit)
		switch result {
		case porcupine.Ok:
			continue
		case porcupine.Illegal:
			v.Wrong = append(v.Wrong, object)
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, object)
		}
		errs = append(errs, keep(dir, object, entries, info))
	}
	slices.Sort(v.Wrong)
	slices.Sort(v.Undecided)
	return v, errors.Join(errs...)
}

// operations are the calls that have to be explained: not reads without an answer, and not what was never sent.
func operations(entries []*Entry) []porcupine.Operation {
	var ops []porcupine.Operation
	for _, e := range entries {
		a, to := e.Answer, int64(e.To)
		if !e.done || a.Unknown {
			a, to = Answer{Unknown: true}, math.MaxInt64
		}
		if reads := e.Call.Verb == Read || e.Call.Verb == Holder; e.Call.Verb == "" || reads && a.Unknown {
			continue
		}
		ops = append(ops, porcupine.Operation{ClientId: e.Client, Input: e.Call, Output: a, Call: int64(e.From), Return: to})
	}
	return ops
}

// keep writes the history of one object.
func keep(dir, object string, entries []*Entry, info porcupine.LinearizationInfo) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	base := filepath.Join(dir, strings.ReplaceAll(object, "/", "_"))
	f, err := os.Create(base + ".json")
	if err != nil {
		return err
	}
	defer f.Close()
	for out, rest := json.NewEncoder(f), entries; len(rest) > 0; rest = rest[1:] {
		if err := out.Encode(rest[0]); err != nil {
			return fmt.Errorf("history of %s: %w", object, err)
		}
	}
	return porcupine.VisualizePath(model, info, base+".html")
}
