package fsm

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"golang.org/x/sync/errgroup"

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
// decoded side by side and stored in order. On an error the store stays as it was. Whoever wrote it is
// not trusted: memory is taken in proportion to what is read.
func Load(from io.Reader, store *state.Store) (index uint64, rows int, err error) {
	l, index, rows, err := read(from, store, true)
	if err == nil {
		l.Finish()
	}
	return index, rows, err
}

// Scan gives each the rows of a saved version in order, for those who only look, and returns its index.
func Scan(from io.Reader, each func(table string, row any) error) (index uint64, err error) {
	return scan(from, true, each)
}

// read loads a saved version beside the store's present one. It is wary of what Raft did not keep for us:
// what is our own has to be read whatever it costs.
func read(from io.Reader, store *state.Store, wary bool) (l *state.Loader, index uint64, rows int, err error) {
	l = store.Load()
	index, err = scan(from, wary, func(table string, row any) error {
		rows++
		return l.Row(table, row)
	})
	return l, index, rows, err
}

// scan gives each the rows of a saved version in order, and returns its index. Damage is an error that
// names the place. Nothing is read any more when it returns.
func scan(from io.Reader, wary bool, each func(table string, row any) error) (index uint64, err error) {
	r := &chunkReader{in: bufio.NewReaderSize(from, 64<<10)}
	if index, err = r.begin(); err != nil {
		return 0, err
	}
	var group errgroup.Group
	defer group.Wait()
	workers := runtime.NumCPU()           // GOMAXPROCS may be 1 just now: see rpc/cores
	ahead := make(chan *chunk, 2*workers) // in order, being decoded
	work := make(chan *chunk, 2*workers)  // has room for all that are ahead
	stop := make(chan struct{})
	defer close(stop)
	for range workers {
		group.Go(func() error { decodeChunks(work, wary); return nil })
	}
	var failed error // to be read once ahead is closed
	group.Go(func() error {
		defer close(ahead)
		defer close(work)
		failed = r.chunks(func(c *chunk) bool {
			select {
			case <-stop:
				return false
			case ahead <- c:
				work <- c
				return true
			}
		})
		return nil
	})
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
	return index, failed
}

type chunkReader struct {
	in     *bufio.Reader
	offset int64
	chunk  int
}

func (r *chunkReader) begin() (uint64, error) {
	head := make([]byte, len(magic)+12)
	if err := r.read(head); err != nil {
		return 0, fmt.Errorf("snapshot: reading its header: %w", err)
	}
	if string(head[:len(magic)]) != magic {
		return 0, errors.New("snapshot: it does not begin as a snapshot of this program does")
	}
	said, sum := head[:len(magic)+8], head[len(magic)+8:]
	if checksum(said, nil) != binary.BigEndian.Uint32(sum) {
		return 0, errors.New("snapshot: checksum mismatch in its header: it is damaged")
	}
	return binary.BigEndian.Uint64(said[len(magic):]), nil
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
	head := make([]byte, 1+int(length)+12)
	head[0] = length
	if err := r.read(head[1:]); err != nil {
		return nil, fmt.Errorf("it ends too early: %w", err)
	}
	said, numbers := head[:len(head)-4], head[1+int(length):]
	c := &chunk{table: string(head[1 : 1+int(length)]), count: binary.BigEndian.Uint32(numbers), done: make(chan struct{})}
	size, sum := binary.BigEndian.Uint32(numbers[4:]), binary.BigEndian.Uint32(numbers[8:])
	if size > maxChunk || uint64(c.count)*minRow > uint64(size) && length > 0 {
		return nil, fmt.Errorf("impossible size: %d rows in %d bytes", c.count, size)
	}
	if c.body, err = r.body(int(size)); err != nil {
		return nil, err
	}
	if checksum(said, c.body) != sum {
		return nil, errors.New("checksum mismatch: the snapshot is damaged")
	}
	if length > 0 {
		return c, nil
	}
	if int(c.count) != r.chunk || size != 0 {
		return nil, fmt.Errorf("the end mark counts %d chunks, there were %d", c.count, r.chunk)
	}
	if _, err := r.in.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("something follows its end: %w", cmp.Or(err, errors.New("one byte more at least")))
	}
	return nil, nil
}

// body reads size bytes, and takes memory only as they come.
func (r *chunkReader) body(size int) ([]byte, error) {
	body := make([]byte, 0, min(size, chunkBytes+chunkBytes/4))
	for len(body) < size {
		at := len(body)
		body = slices.Grow(body, min(size-at, chunkBytes))
		body = body[:min(size, cap(body))]
		if err := r.read(body[at:]); err != nil {
			return nil, fmt.Errorf("it ends too early: %w", err)
		}
	}
	return body, nil
}

func decodeChunks(work <-chan *chunk, wary bool) {
	handle := RowHandle()
	for c := range work {
		if wary {
			c.err = frugal(c.body)
		}
		if c.err == nil {
			c.err = c.decode(handle)
		}
		if c.err != nil {
			c.err = fmt.Errorf("snapshot: table %q: %w", c.table, c.err)
		}
		c.body = nil
		close(c.done)
	}
}

func (c *chunk) decode(handle *codec.MsgpackHandle) (err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours
			err = fmt.Errorf("malformed row: %v", r)
		}
	}()
	decoder := codec.NewDecoderBytes(c.body, handle)
	c.rows = make([]any, 0, c.count)
	for range c.count {
		row := state.Blank(c.table)
		if row == nil {
			return errors.New("there is no such table: was it made by a newer version?")
		}
		if err := decoder.Decode(row); err != nil {
			return err
		}
		c.rows = append(c.rows, row)
	}
	if rest := len(c.body) - decoder.NumBytesRead(); rest != 0 {
		return fmt.Errorf("%d bytes follow its %d rows", rest, c.count)
	}
	return nil
}
