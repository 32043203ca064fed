package check

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// clip makes output fit for the catalog: valid UTF-8, at most limit bytes from its beginning.
func clip(output string, limit int) string {
	if len(output) > limit {
		output = output[:limit]
		for range utf8.UTFMax - 1 { // a rune that the limit cuts goes as a whole
			if r, size := utf8.DecodeLastRuneInString(output); r != utf8.RuneError || size != 1 {
				break
			}
			output = output[:len(output)-1]
		}
	}
	if utf8.ValidString(output) {
		return output
	}
	return clip(strings.ToValidUTF8(output, "?"), limit)
}

// A tail keeps the last bytes written to it. The end of what a program says is where it says why it failed.
type tail struct {
	mu    sync.Mutex // a program that cannot be killed may write while the check goes on
	limit int
	buf   []byte // a ring once it is full
	next  int    // where the oldest byte of a full ring is
	total int
}

func newTail(limit int) *tail { return &tail{limit: limit} }

// Write keeps the end of p; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	t.total += n
	if n > t.limit {
		p = p[n-t.limit:]
	}
	if room := t.limit - len(t.buf); room > 0 {
		fill := min(room, len(p))
		t.buf = append(t.buf, p[:fill]...)
		p = p[fill:]
	}
	for len(p) > 0 {
		copied := copy(t.buf[t.next:], p)
		p = p[copied:]
		t.next = (t.next + copied) % t.limit
	}
	return n, nil
}

// String returns what was kept; where that is not all, a line before it says so.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := string(t.buf[t.next:]) + string(t.buf[:t.next])
	if t.total <= t.limit {
		return kept
	}
	note := fmt.Sprintf("(the last of %d bytes)\n", t.total)
	if 2*len(note) > t.limit {
		return kept
	}
	for len(note) < len(kept) && !utf8.RuneStart(kept[len(note)]) {
		kept = kept[1:]
	}
	return note + kept[len(note):]
}
