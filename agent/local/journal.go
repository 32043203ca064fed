package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/curia-mesh/curia/rpc/durable"
)

const (
	journalAhead   = 256 << 10 // bytes of zeros written ahead, so that a record changes no metadata
	journalRewrite = 1 << 20   // a file is not rewritten below this, nor before it has grown fourfold
	journalMost    = 512 << 20 // a larger file is not ours
)

// journal keeps values by their keys in a file of lines, each a checksum and a JSON object. The last line
// with a key counts. Writers share a write and a flush to the disk with all who come while one is under
// way. Once most of it is outdated the file is written anew beside the old one, which it then replaces.
type journal struct {
	path    string
	durable bool // withstands the loss of power, not only the end of the process
	log     *slog.Logger
	wake    chan struct{} // has a value when something is pending

	mu      sync.Mutex
	live    map[string]any // by key, what the file says once the pending saves are written
	pending []save
	next    *flush // of the pending saves, nil when there are none

	// Used by one goroutine: that of openJournal, then that of run.
	file   *os.File // nil after an error: what it holds then is not known, so it is written anew
	size   int64    // bytes of lines
	zeroed int64    // bytes of the file
	base   int64    // size after it was last written anew
}

// save is a new value of a key, nil to remove it. The value must not change.
type save struct {
	key   string
	value any
}

// flush is one write, as those wait for it who share it.
type flush struct {
	done chan struct{}
	err  error // once done is closed
}

// finished returns the channel that is closed when it is; nil, for a nil flush, means it is already.
func (f *flush) finished() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.done
}

func (f *flush) failure() error {
	if f == nil {
		return nil
	}
	return f.err
}

// line is what a line of the file says; without a value the key is gone.
type line struct {
	Key   string
	Value json.RawMessage `json:",omitempty"`
}

// openJournal opens a file, made with its directory when needed, and returns what it says. Damaged lines
// are left out; the file they were in is kept beside it under another name.
func openJournal(path string, durable bool, log *slog.Logger) (*journal, map[string]json.RawMessage, error) {
	j := &journal{path: path, durable: durable, log: log, wake: make(chan struct{}, 1), live: map[string]any{}}
	if err := private(filepath.Dir(path), log); err != nil {
		return nil, nil, err
	}
	data, err := readJournal(path)
	if err != nil {
		return nil, nil, err
	}
	saved, damaged, torn := parseJournal(data)
	if torn && damaged == 0 {
		log.Warn("the last line of a file of registrations is unfinished: the agent was stopped while it wrote it", "path", path)
	}
	if damaged > 0 {
		aside := fmt.Sprintf("%s.damaged-%d", path, time.Now().UnixNano())
		log.Error("a file of registrations is damaged: what can be read of it is used, the rest is lost; register it again", "path", path, "lines", damaged, "copy", aside)
		if err := os.WriteFile(aside, data, 0o600); err != nil {
			return nil, nil, fmt.Errorf("keeping a copy of a damaged file: %w", err)
		}
	}
	for key, value := range saved {
		j.live[key] = value
	}
	if err := j.rewrite(j.live); err != nil { // so that nothing stands behind the last line
		return nil, nil, err
	}
	return j, saved, nil
}

func private(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	log.Warn("others could enter a directory that holds tokens, it is closed to them now", "path", dir, "mode", info.Mode().Perm().String())
	return os.Chmod(dir, 0o700)
}

func readJournal(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > journalMost:
		return nil, fmt.Errorf("%s is no file of registrations (%s, %d bytes): move it away", path, info.Mode(), info.Size())
	}
	return os.ReadFile(path)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseJournal returns the values by key, the number of damaged lines and whether the last one is not
// finished. That is no damage: whoever wrote it was not told that it is kept.
func parseJournal(data []byte) (saved map[string]json.RawMessage, damaged int, torn bool) {
	saved = map[string]json.RawMessage{}
	for {
		zeros := len(data) - len(bytes.TrimLeft(data, "\x00"))
		data = data[zeros:]
		if len(data) == 0 {
			return saved, damaged, false
		}
		if zeros > 0 {
			damaged++
		}
		text, rest, ended := bytes.Cut(data, []byte{'\n'})
		if !ended {
			if len(saved) == 0 {
				damaged++ // not one line of it is ours
			}
			return saved, damaged, true
		}
		data = rest
		l, ok := parseLine(text)
		switch {
		case !ok:
			damaged++
		case len(l.Value) == 0:
			delete(saved, l.Key)
		default:
			saved[l.Key] = l.Value
		}
	}
}

const sumSize = 8 // hexadecimal digits, with a space behind them

func parseLine(text []byte) (l line, ok bool) {
	if len(text) <= sumSize || text[sumSize] != ' ' {
		return l, false
	}
	body := text[sumSize+1:]
	if string(text[:sumSize]) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) {
		return l, false
	}
	return l, json.Unmarshal(body, &l) == nil
}

func appendLine(to []byte, s save) ([]byte, error) {
	l := line{Key: s.key}
	if s.value != nil {
		value, err := json.Marshal(s.value)
		if err != nil {
			return to, fmt.Errorf("writing %q: %w", s.key, err)
		}
		l.Value = value
	}
	body, err := json.Marshal(l)
	if err != nil {
		return to, fmt.Errorf("writing %q: %w", s.key, err)
	}
	to = fmt.Appendf(to, "%08x ", crc32.Checksum(body, castagnoli))
	return append(append(to, body...), '\n'), nil
}

// commit has values written, in the order of the calls, and returns what to wait for; nil when that is
// nothing, as for a nil journal.
func (j *journal) commit(saves []save) *flush {
	if j == nil || len(saves) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	news := false
	for _, s := range saves {
		if _, known := j.live[s.key]; s.value == nil && !known {
			continue
		}
		news = true
		j.pending = append(j.pending, s)
		if s.value == nil {
			delete(j.live, s.key)
		} else {
			j.live[s.key] = s.value
		}
	}
	if !news {
		return nil
	}
	if j.next == nil {
		j.next = &flush{done: make(chan struct{})}
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return j.next
}

// run writes until ctx ends and all that is pending then is written.
func (j *journal) run(ctx context.Context) {
	defer j.close()
	for {
		j.write()
		select {
		case <-j.wake:
		case <-ctx.Done():
			j.write()
			return
		}
	}
}

// write writes what is pending.
func (j *journal) write() {
	j.mu.Lock()
	saves, flush := j.pending, j.next
	j.pending, j.next = nil, nil
	var all map[string]any
	if flush != nil && (j.file == nil || j.size > journalRewrite && j.size > 4*j.base) {
		all = make(map[string]any, len(j.live))
		for key, value := range j.live {
			all[key] = value
		}
	}
	j.mu.Unlock()
	if flush == nil {
		return
	}
	if all != nil {
		flush.err = j.rewrite(all)
	} else {
		flush.err = j.append(saves)
	}
	if flush.err != nil {
		j.log.Error("registrations could not be written", "path", j.path, "err", flush.err)
		j.close()
	}
	close(flush.done)
}

func (j *journal) append(saves []save) (err error) {
	var text []byte
	for _, s := range saves {
		if text, err = appendLine(text, s); err != nil {
			return err
		}
	}
	if err := j.extend(int64(len(text))); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(text, j.size); err != nil {
		return err
	}
	j.size += int64(len(text))
	if !j.durable {
		return nil
	}
	return syncData(j.file)
}

// extend makes room for n more bytes.
func (j *journal) extend(n int64) error {
	if !j.durable || j.size+n <= j.zeroed {
		return nil
	}
	grown := make([]byte, n+journalAhead)
	if _, err := j.file.WriteAt(grown, j.zeroed); err != nil {
		return err
	}
	j.zeroed += int64(len(grown))
	return j.file.Sync()
}

// rewrite replaces the file by one with these values.
func (j *journal) rewrite(all map[string]any) (err error) {
	var text []byte
	for key, value := range all {
		if text, err = appendLine(text, save{key, value}); err != nil {
			return err
		}
	}
	temporary := j.path + ".tmp"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	next := &journal{durable: j.durable, file: file}
	_, err = file.WriteAt(text, 0)
	if err == nil {
		next.size, next.zeroed = int64(len(text)), int64(len(text))
		err = next.extend(1)
	}
	if err == nil && !j.durable {
		err = file.Sync() // a rename must never make an empty file of a full one
	}
	if err == nil {
		err = os.Rename(temporary, j.path)
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(j.path))
	}
	if err != nil {
		file.Close()
		return err
	}
	j.close()
	j.file, j.size, j.zeroed, j.base = file, next.size, next.zeroed, next.size
	return nil
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}
