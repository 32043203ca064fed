package fsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/curia-mesh/curia/catalog/state"
)

// chunk is a run of rows of one table, first as bytes and then decoded.
type chunk struct {
	table string
	count uint32
	body  []byte
	rows  []any
	err   error
	done  chan struct{}
}

// Load replaces the store by a saved version and returns its index and how many rows it has. Chunks are
// decoded side by side and stored in order. On an error the store stays as it was.
func Load(from io.Reader, store *state.Store) (index uint64, rows int, err error) {
	l := store.Load()
	index, err = Scan(from, func(table string, row any) error {
		rows++
		return l.Row(table, row)
	})
	if err != nil {
		return 0, 0, err
	}
	l.Finish()
	return index, rows, nil
}

// Scan gives each the rows of a saved version in order, and returns its index. Damage is an error that
// names the place.
func Scan(from io.Reader, each func(table string, row any) error) (index uint64, err error) {
	r := &chunkReader{in: bufio.NewReaderSize(from, 1<<20)}
	if index, err = r.begin(); err != nil {
		return 0, err
	}
	workers := runtime.GOMAXPROCS(0)
	ahead := make(chan *chunk, 2*workers) // in order, being decoded
	work := make(chan *chunk)
	stop := make(chan struct{})
	defer close(stop)
	for range workers {
		go decodeChunks(work) // ends when the reader below closes work
	}
	failed := make(chan error, 1)
	go func() { // ends at the last chunk, at an error, or when Scan returns
		defer close(ahead)
		defer close(work)
		failed <- r.chunks(func(c *chunk) bool {
			select {
			case ahead <- c:
			case <-stop:
				return false
			}
			work <- c
			return true
		})
	}()
	for c := range ahead {
		<-c.done
		if c.err != nil {
			return 0, c.err
		}
		for _, row := range c.rows {
			if err := each(c.table, row); err != nil {
				return 0, err
			}
		}
	}
	return index, <-failed
}

type chunkReader struct {
	in     *bufio.Reader
	offset int64
	chunk  int
}

func (r *chunkReader) begin() (uint64, error) {
	head := make([]byte, len(magic)+8)
	if err := r.read(head); err != nil {
		return 0, fmt.Errorf("snapshot: reading its header: %w", err)
	}
	if string(head[:len(magic)]) != magic {
		return 0, errors.New("snapshot: it does not begin as a snapshot of this program does")
	}
	return binary.BigEndian.Uint64(head[len(magic):]), nil
}

func (r *chunkReader) read(into []byte) error {
	n, err := io.ReadFull(r.in, into)
	r.offset += int64(n)
	return err
}

// chunks reads chunk after chunk until the end mark, for as long as next says.
func (r *chunkReader) chunks(next func(*chunk) bool) error {
	for ; ; r.chunk++ {
		c, err := r.next()
		if err != nil {
			return fmt.Errorf("snapshot: chunk %d at byte %d: %w", r.chunk, r.offset, err)
		}
		if c == nil || !next(c) {
			return nil
		}
	}
}

func (r *chunkReader) next() (*chunk, error) {
	length, err := r.in.ReadByte()
	if err != nil {
		return nil, fmt.Errorf("it ends too early: %w", err)
	}
	r.offset++
	head := make([]byte, int(length)+12)
	if err := r.read(head); err != nil {
		return nil, fmt.Errorf("it ends too early: %w", err)
	}
	c := &chunk{table: string(head[:length]), done: make(chan struct{})}
	numbers := head[length:]
	c.count = binary.BigEndian.Uint32(numbers)
	size, sum := binary.BigEndian.Uint32(numbers[4:]), binary.BigEndian.Uint32(numbers[8:])
	if length == 0 {
		if int(c.count) != r.chunk || size != 0 {
			return nil, fmt.Errorf("the end mark counts %d chunks, there were %d", c.count, r.chunk)
		}
		return nil, nil
	}
	if size > maxChunk || c.count > size {
		return nil, fmt.Errorf("impossible size: %d rows in %d bytes", c.count, size)
	}
	c.body = make([]byte, size)
	if err := r.read(c.body); err != nil {
		return nil, fmt.Errorf("it ends too early: %w", err)
	}
	if crc32.Checksum(c.body, castagnoli) != sum {
		return nil, errors.New("checksum mismatch: the snapshot is damaged")
	}
	return c, nil
}

func decodeChunks(work <-chan *chunk) {
	handle := rowHandle()
	for c := range work {
		c.err = c.decode(handle)
		c.body = nil
		close(c.done)
	}
}

func (c *chunk) decode(handle *codec.MsgpackHandle) (err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours
			err = fmt.Errorf("snapshot: table %q: malformed row: %v", c.table, r)
		}
	}()
	decoder := codec.NewDecoderBytes(c.body, handle)
	c.rows = make([]any, 0, c.count)
	for range c.count {
		row := state.Blank(c.table)
		if row == nil {
			return fmt.Errorf("snapshot: unknown table %q: was it made by a newer version?", c.table)
		}
		if err := decoder.Decode(row); err != nil {
			return fmt.Errorf("snapshot: table %q: %w", c.table, err)
		}
		c.rows = append(c.rows, row)
	}
	return nil
}
