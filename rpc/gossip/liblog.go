package gossip

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// linePeriod and linesPerPeriod limit lines that differ only in their details: a stranger's packets make one each.
	linePeriod     = 10 * time.Second
	linesPerPeriod = 20
	// maxLineKinds limits what is remembered; kinds can contain what peers made up.
	maxLineKinds = 128
	// maxLineBytes is where a line is cut.
	maxLineBytes = 1 << 10
)

// libraryLog stands between the loggers of serf and memberlist and the log: it counts packets that no key opens,
// which they only log, holds back repetitions and disarms control characters, since peers have a hand in the text.
type libraryLog struct {
	out           io.Writer
	undecryptable stat

	mu    sync.Mutex
	kinds map[string]*lineKind
}

type lineKind struct {
	since time.Time
	lines int
}

func newLibraryLog(out io.Writer) *libraryLog {
	if out == nil {
		out = io.Discard
	}
	return &libraryLog{out: out, kinds: map[string]*lineKind{}}
}

// Write takes one line, as log.Logger writes them.
func (l *libraryLog) Write(line []byte) (int, error) {
	kind := kindOf(string(line[:min(len(line), 256)]))
	if kind == "[ERR] memberlist: Decrypt packet failed" || bytes.Contains(line, []byte("encryption is configured but remote state is not")) ||
		bytes.HasPrefix(line, []byte("[ERR] memberlist: failed to receive: no installed keys")) {
		l.undecryptable.Add(1)
	}
	if l.out == io.Discard || bytes.Contains(line, []byte("Shutdown without a Leave")) || // which is how a restart looks
		bytes.Contains(line, []byte(avoidedLine)) {
		return len(line), nil
	}
	held, pass := l.admit(kind, time.Now())
	if !pass {
		return len(line), nil
	}
	clean := disarm(line)
	if held > 0 {
		clean = fmt.Appendf(clean[:len(clean)-1], " (%d more like this were held back)\n", held)
	}
	if _, err := l.out.Write(clean); err != nil {
		return 0, err
	}
	return len(line), nil
}

// admit tells whether a line of this kind may pass now, and how many could not before it.
func (l *libraryLog) admit(kind string, now time.Time) (held int, pass bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[kind]
	if k == nil {
		if len(l.kinds) >= maxLineKinds {
			clear(l.kinds)
		}
		k = &lineKind{since: now}
		l.kinds[kind] = k
	}
	if now.Sub(k.since) >= linePeriod {
		held, k.since, k.lines = max(k.lines-linesPerPeriod, 0), now, 0
	}
	k.lines++
	return held, k.lines <= linesPerPeriod
}

// kindOf is a line up to its second ": ": "[ERR] memberlist: Decrypt packet failed: no installed ..." without the rest.
func kindOf(line string) string {
	if i := strings.Index(line, ": "); i >= 0 {
		if j := strings.Index(line[i+2:], ": "); j >= 0 {
			return line[:i+2+j]
		}
	}
	return line
}

// disarm returns a copy with one line break, at its end, and without other control characters.
func disarm(line []byte) []byte {
	line = bytes.TrimRight(line, "\n")
	clean := make([]byte, 0, min(len(line), maxLineBytes)+1)
	for _, b := range line[:min(len(line), maxLineBytes)] {
		if b < ' ' || b == 0x7f {
			b = '?'
		}
		clean = append(clean, b)
	}
	return append(clean, '\n')
}
