package rpc

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// A frame is a header of 13 bytes (length of what follows the length, kind, call id; big endian) and a
// payload. A message longer than chunkSize is cut: all its frames but the last are chunks, so that small
// messages pass between them.
const (
	frameHeader = 13
	// maxFrame bounds a frame after its length field, so that a length costs the reader nothing.
	maxFrame = 64 << 10
	// chunkSize is the payload of a full chunk: one TLS record, less the header.
	chunkSize = 16<<10 - frameHeader
	// window is how many bytes of a stream may be under way or unread in one direction.
	window = 256 << 10
)

type kind uint8

const (
	// kindCall: method, Header and body; asks for one answer.
	kindCall kind = iota + 1
	// kindOpen: the same; asks for a stream.
	kindOpen
	// kindAnswer: the outcome of a call, or the end of one direction of a stream.
	kindAnswer
	// kindChunk: a piece of a longer message, which its last frame completes.
	kindChunk
	// kindData: bytes of a stream.
	kindData
	// kindCancel: the caller has gone; empty.
	kindCancel
	// kindCredit: four bytes, how many more bytes of a stream may be sent.
	kindCredit
	// kindPing: a sign of life; empty.
	kindPing
	// kindBye: the answering side ends, and has not acted on the calls that it has not answered, but for reads that
	// wait for a change; empty. The caller hangs up.
	kindBye

	kindEnd
	// kindDrop is never sent: it tells the writer that nobody waits for the rest of an answer.
	kindDrop
)

// frame is one frame as it was read. The payload of chunk and data is only valid until the next frame is
// read; that of every other kind is the receiver's to keep.
type frame struct {
	kind    kind
	id      uint64
	payload []byte
}

func putFrameHeader(b *[frameHeader]byte, k kind, id uint64, payload int) {
	binary.BigEndian.PutUint32(b[:4], uint32(payload+frameHeader-4))
	b[4] = byte(k)
	binary.BigEndian.PutUint64(b[5:], id)
}

// frameReader reads frames. It trusts no length: a frame costs at most maxFrame bytes.
type frameReader struct {
	r     *bufio.Reader
	chunk []byte // the payload of the latest chunk or data
}

func (f *frameReader) next() (frame, error) {
	header, err := f.r.Peek(frameHeader)
	if err != nil {
		if len(header) > 0 && err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	length := binary.BigEndian.Uint32(header)
	k := kind(header[4])
	id := binary.BigEndian.Uint64(header[5:])
	if length < frameHeader-4 || length > maxFrame {
		return frame{}, fmt.Errorf("frame of %d bytes, want %d to %d: the peer does not speak this protocol", length, frameHeader-4, maxFrame)
	}
	if k == 0 || k >= kindEnd {
		return frame{}, fmt.Errorf("frame of unknown kind %d: the peer does not speak this protocol", k)
	}
	f.r.Discard(frameHeader) // cannot fail: it was peeked
	payload := f.space(k, int(length)-(frameHeader-4))
	if _, err := io.ReadFull(f.r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	return frame{k, id, payload}, nil
}

func (f *frameReader) space(k kind, n int) []byte {
	if n == 0 {
		return nil
	}
	if k != kindChunk && k != kindData {
		return make([]byte, n)
	}
	if n > cap(f.chunk) {
		f.chunk = make([]byte, max(n, chunkSize))
	}
	return f.chunk[:n]
}
