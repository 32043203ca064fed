package fsm

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"reflect"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/endpoint"
)

// A snapshot's state is a header and then chunks of rows of one table each, so that they can be decoded
// side by side:
//
//	"CURIASN1", index uint64, sum uint32
//	per chunk: name length uint8, name, rows uint32, bytes uint32, sum uint32, rows in msgpack
//	at the end: a chunk with an empty name and no bytes, whose count of rows is that of chunks before it
//
// Numbers are big-endian. A sum is the CRC-32C of everything else in the header or chunk.
const magic = "CURIASN1"

const (
	chunkBytes = 256 << 10
	maxChunk   = 64 << 20 // a single row may be as large as a key's value
	minRow     = 8        // bytes: the least that a row of any table takes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type snapshot struct {
	tx    *state.Txn
	index uint64
}

var persistKey = []string{"fsm", "persist"}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	defer metrics.MeasureSince(persistKey, time.Now())
	if err := Save(sink, s.tx, s.index); err != nil {
		sink.Cancel()
		return fmt.Errorf("writing snapshot %s: %w", sink.ID(), err)
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}

// Save writes a version of the store, taken at index.
func Save(to io.Writer, tx *state.Txn, index uint64) error {
	w := &chunkWriter{out: bufio.NewWriterSize(to, 1<<20)}
	w.encoder = codec.NewEncoderBytes(&w.row, RowHandle())
	head := binary.BigEndian.AppendUint64([]byte(magic), index)
	w.out.Write(binary.BigEndian.AppendUint32(head, checksum(head, nil)))
	if err := state.Save(tx, w.put); err != nil {
		return err
	}
	w.flush()
	w.header("", uint32(w.chunks), nil)
	return w.out.Flush() // remembers the first error of all writes
}

// RowHandle is the codec of rows.
func RowHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.MapType = reflect.TypeFor[map[string]any]()
	endpoint.Unseal(h)
	return h
}

type chunkWriter struct {
	out     *bufio.Writer
	encoder *codec.Encoder
	row     []byte
	table   string
	rows    uint32
	body    []byte
	chunks  int
}

func (w *chunkWriter) put(table string, row any) error {
	if table != w.table || len(w.body) >= chunkBytes {
		w.flush()
		w.table = table
	}
	w.row = w.row[:0]
	w.encoder.ResetBytes(&w.row)
	if err := w.encoder.Encode(row); err != nil {
		return err
	}
	w.body = append(w.body, w.row...)
	w.rows++
	return nil
}

func (w *chunkWriter) flush() {
	if w.rows == 0 {
		return
	}
	w.header(w.table, w.rows, w.body)
	w.out.Write(w.body)
	w.body, w.rows = w.body[:0], 0
	w.chunks++
}

func (w *chunkWriter) header(table string, rows uint32, body []byte) {
	h := append([]byte{byte(len(table))}, table...)
	h = binary.BigEndian.AppendUint32(h, rows)
	h = binary.BigEndian.AppendUint32(h, uint32(len(body)))
	w.out.Write(binary.BigEndian.AppendUint32(h, checksum(h, body)))
}

func checksum(head, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body)
}
