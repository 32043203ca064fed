package raftstore

import "hash/crc32"

// window reads a segment's frames through a buffer that slides over the file.
type window struct {
	seg *segment
	off int64 // of buf[0]
	buf []byte
}

const windowSize = 256 << 10

// bytes returns n bytes at off, or nil if the file ends before.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off+n > w.seg.size {
		return nil, nil
	}
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		size := min(max(n, windowSize), w.seg.size-off)
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, size)
		}
		w.off, w.buf = off, w.buf[:size]
		if _, err := w.seg.file.ReadAt(w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[off-w.off:][:n], nil
}

// frame returns the frame at off; its payload is nil if there is no good one,
// and is valid until the next call.
func (w *window) frame(off int64) (frameHeader, []byte, error) {
	b, err := w.bytes(off, frameHeaderSize)
	if b == nil {
		return frameHeader{}, nil, err
	}
	h, ok := parseFrameHeader(b, w.seg, off)
	if !ok {
		return h, nil, nil
	}
	if b, err = w.bytes(off, frameHeaderSize+h.length); b == nil {
		return h, nil, err
	}
	if p := b[frameHeaderSize:]; h.payloadCRC == crc32.Checksum(p, castagnoli) {
		return h, p, nil
	}
	return h, nil, nil
}

// scan looks for headers of seg's frames from off on: the first one that
// belongs to a batch begun after off, and the last one at all; 0 is none. The
// mark at off itself, the normal end of a log, does not count.
func scan(seg *segment, off int64) (later, last int64, err error) {
	w := window{seg: seg}
	for at := off; ; at += frameAlign {
		b, err := w.bytes(at, frameHeaderSize)
		if b == nil {
			return 0, last, err
		}
		h, ok := parseFrameHeader(b, seg, at)
		if !ok || at == off && h.kind == kindMark {
			continue
		}
		if h.batch > off {
			return at, last, nil
		}
		last = at
	}
}
