package raftstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A segment file is a 64-byte file header followed by frames. A frame is a
// 24-byte header, a payload, and zero padding to a multiple of 8:
//
//	 0  crc32c of bytes 4..24, seeded with the segment's salt and sequence
//	 4  crc32c of the payload
//	 8  payload length
//	12  offset of this frame in the file
//	16  offset of the first frame of the same batch (one write, one sync)
//	20  kind, then the low 24 bits of the segment's sequence number
//
// All integers are big-endian.
const (
	fileHeaderSize  = 64
	frameHeaderSize = 24
	frameAlign      = 8

	// maxBatch bounds one write; offsets in a frame header are 32 bits wide.
	maxBatch = 1 << 30
)

// kind tells what a frame's payload means.
type kind uint8

const (
	// kindState opens every segment: the log's bounds, all stable values, and
	// where the previous segment ended. It makes older segments disposable.
	kindState kind = 1
	// kindEntry is one log entry.
	kindEntry kind = 2
	// kindBounds records the log's bounds after a DeleteRange.
	kindBounds kind = 3
	// kindStable is one key and its value.
	kindStable kind = 4
	// kindMark follows the newest batch once that batch is synced, and is
	// overwritten by the next one: it tells a damaged batch from a torn one.
	kindMark kind = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// align rounds n up to the frame alignment.
func align(n int64) int64 { return (n + frameAlign - 1) &^ (frameAlign - 1) }

// frameSize is the room a payload of n bytes takes in a segment.
func frameSize(n int64) int64 { return align(frameHeaderSize + n) }

// frameHeader is a parsed and verified frame header.
type frameHeader struct {
	kind       kind
	length     int64 // of the payload
	batch      int64 // offset of the batch's first frame
	payloadCRC uint32
}

// parseFrameHeader verifies the 24 bytes found at off of the segment.
func parseFrameHeader(h []byte, seg *segment, off int64) (frameHeader, bool) {
	word := binary.BigEndian.Uint32(h[20:])
	if word&0xffffff != uint32(seg.seq)&0xffffff || int64(binary.BigEndian.Uint32(h[12:])) != off {
		return frameHeader{}, false // cheap tests first: most offsets of a scan end here
	}
	if binary.BigEndian.Uint32(h) != crc32.Update(seg.seed, castagnoli, h[4:frameHeaderSize]) {
		return frameHeader{}, false
	}
	f := frameHeader{
		kind:       kind(word >> 24),
		length:     int64(binary.BigEndian.Uint32(h[8:])),
		batch:      int64(binary.BigEndian.Uint32(h[16:])),
		payloadCRC: binary.BigEndian.Uint32(h[4:]),
	}
	return f, f.kind >= kindState && f.kind <= kindMark
}

// batch builds the frames of one write. It is reused from write to write.
type batch struct {
	seg   *segment
	start int64 // offset in seg of the first byte of buf
	buf   []byte
	frame int // position in buf of the open frame
}

// reset aims the batch at offset start of seg, with room for size bytes.
func (b *batch) reset(seg *segment, start, size int64) {
	b.seg, b.start = seg, start
	if int64(cap(b.buf)) < size {
		b.buf = make([]byte, 0, size)
	}
	b.buf = b.buf[:0]
}

// open starts a frame; the payload is then appended to b.buf.
func (b *batch) open() {
	b.frame = len(b.buf)
	b.buf = append(b.buf, make([]byte, frameHeaderSize)...)
}

// close ends the open frame and returns where its payload lies in the segment.
func (b *batch) close(k kind) location {
	h := b.buf[b.frame:]
	payload := h[frameHeaderSize:]
	off := b.start + int64(b.frame)
	binary.BigEndian.PutUint32(h[4:], crc32.Checksum(payload, castagnoli))
	binary.BigEndian.PutUint32(h[8:], uint32(len(payload)))
	binary.BigEndian.PutUint32(h[12:], uint32(off))
	binary.BigEndian.PutUint32(h[16:], uint32(b.start))
	binary.BigEndian.PutUint32(h[20:], uint32(k)<<24|uint32(b.seg.seq)&0xffffff)
	binary.BigEndian.PutUint32(h, crc32.Update(b.seg.seed, castagnoli, h[4:frameHeaderSize]))
	for len(b.buf)%frameAlign != 0 {
		b.buf = append(b.buf, 0)
	}
	return location{off: uint32(off), length: uint32(len(payload))}
}

// location is where a frame starts in its segment, and its payload's length.
type location struct{ off, length uint32 }

// File header: 8 bytes of magic, version, zero, sequence, salt, zeros, and a
// crc32c of the first 60 bytes.
const (
	fileMagic   = "CURIAWAL"
	fileVersion = 1
)

// encodeFileHeader returns the header of segment seq.
func encodeFileHeader(seq, salt uint64) []byte {
	h := make([]byte, fileHeaderSize)
	copy(h, fileMagic)
	binary.BigEndian.PutUint32(h[8:], fileVersion)
	binary.BigEndian.PutUint64(h[16:], seq)
	binary.BigEndian.PutUint64(h[24:], salt)
	binary.BigEndian.PutUint32(h[60:], crc32.Checksum(h[:60], castagnoli))
	return h
}

// frameSeed is the start value of the header checksums of one segment. The
// random salt keeps the former contents of a recycled file, and anything a
// client hides in an entry, from ever looking like a frame of this segment.
func frameSeed(seq, salt uint64) uint32 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], salt)
	binary.BigEndian.PutUint64(b[8:], seq)
	return crc32.Checksum(b[:], castagnoli)
}

// readFileHeader verifies the header of the file that is named as segment
// seq and returns its salt.
func readFileHeader(f io.ReaderAt, name string, seq uint64) (uint64, error) {
	h := make([]byte, fileHeaderSize)
	if _, err := f.ReadAt(h, 0); err == io.EOF {
		return 0, corrupt(name, 0, "the file is shorter than its header")
	} else if err != nil {
		return 0, err
	}
	if string(h[:8]) != fileMagic || binary.BigEndian.Uint32(h[60:]) != crc32.Checksum(h[:60], castagnoli) {
		return 0, corrupt(name, 0, "the file header fails its checksum")
	}
	if v := binary.BigEndian.Uint32(h[8:]); v != fileVersion {
		return 0, fmt.Errorf("raft log %s has format version %d, this binary reads version %d: run the version that wrote it", name, v, fileVersion)
	}
	if got := binary.BigEndian.Uint64(h[16:]); got != seq {
		return 0, corrupt(name, 16, "the header says segment %d: the file was renamed", got)
	}
	return binary.BigEndian.Uint64(h[24:]), nil
}
