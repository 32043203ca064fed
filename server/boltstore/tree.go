package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/curia-mesh/curia/server/raftstore"
)

// The parts of bbolt's file format that are read here (bbolt's internal/common:
// page.go, meta.go, bucket.go), in the byte order of the machine:
//
//	page    id u64, flags u16, count u16, overflow u32, then by flags:
//	meta    magic, version, page size, flags u32; root page, sequence, freelist
//	        page, pages in use, transaction u64; FNV-1a of all that
//	branch  count times: position, key size u32, page u64; then the keys
//	leaf    count times: flags, position, key size, value size u32; then both
//	free    count page numbers u64; with count 65535 the first is the count
//
// A bucket is a leaf's value: its root page u64, a sequence u64, and if the
// root is 0, a leaf page in place.
const (
	pageHeader = 16
	elementLen = 16
	metaLen    = 64
	bucketLen  = 16

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = 1<<64 - 1
	maxDepth    = 64
	minPage     = 1 << 10
	maxPage     = 64 << 10

	flagBranch, flagLeaf, flagMeta, flagFree = 1, 2, 4, 16
)

var order = binary.NativeEndian

// tree reads a bbolt file without bbolt, which does not verify its pages: it
// would fault, run in circles, or panic in a goroutine of its own on some
// damaged files, and write over live pages on others.
type tree struct {
	f    *os.File
	size uint64 // of a page
	used []bool // by page
	// visit is told every key and value, in order, with the bucket they are in.
	visit func(bucket, key, value []byte) error
}

// damage is a CorruptError at a page.
func (t *tree) damage(page uint64, format string, args ...any) error {
	return &raftstore.CorruptError{File: t.f.Name(), Offset: int64(page * t.size), Reason: fmt.Sprintf(format, args...)}
}

// meta is what one of the two meta pages says.
type meta struct {
	page                        []byte
	root, freelist, pages, txid uint64
}

// readMeta reads meta page n. bbolt goes on with the older one if the newer one
// is unreadable, and so forgets a transaction that was acknowledged. A torn
// write cannot be the reason: the 80 bytes that count lie in one sector.
func (t *tree) readMeta(n uint64) (meta, error) {
	p := make([]byte, minPage)
	if _, err := t.f.ReadAt(p, int64(n*t.size)); err != nil && err != io.EOF {
		return meta{}, err
	}
	b, h := p[pageHeader:], fnv.New64a()
	h.Write(b[:metaLen-8])
	if order.Uint32(b) != boltMagic || order.Uint64(b[metaLen-8:]) != h.Sum64() || order.Uint16(p[8:]) != flagMeta || order.Uint64(p) != n {
		return meta{}, t.damage(n, "meta page %d is unreadable: this is no bbolt file, or its last transaction may be lost", n)
	}
	if v := order.Uint32(b[4:]); v != boltVersion {
		return meta{}, fmt.Errorf("raft log %s has bbolt's format %d, this binary reads format %d", t.f.Name(), v, boltVersion)
	}
	size := uint64(order.Uint32(b[8:]))
	if size < minPage || size > maxPage || size&(size-1) != 0 || n == 1 && size != t.size {
		return meta{}, t.damage(n, "meta page %d tells of pages of %d bytes", n, size)
	}
	t.size = size
	m := meta{page: p[:pageHeader+metaLen], root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]), pages: order.Uint64(b[40:]), txid: order.Uint64(b[48:])}
	if m.txid%2 != n {
		return meta{}, t.damage(n, "transaction %d is not of this meta page", m.txid)
	}
	return m, nil
}

// newest returns the meta page of the last transaction.
func (t *tree) newest() (meta, error) {
	a, err := t.readMeta(0)
	if err != nil {
		return a, err
	}
	b, err := t.readMeta(1)
	if err != nil || b.txid > a.txid {
		return b, err
	}
	return a, nil
}

// walk verifies the whole file: every page is used once or free, every element
// lies in its page, every key in its order.
func (t *tree) walk() error {
	m, err := t.newest()
	if err != nil {
		return err
	}
	info, err := t.f.Stat()
	if err != nil {
		return err
	}
	if m.pages < 4 || m.pages > uint64(info.Size())/t.size {
		return t.damage(m.txid%2, "the file has %d bytes, %d pages of %d are in use", info.Size(), m.pages, t.size)
	}
	t.used = make([]bool, m.pages)
	t.used[0], t.used[1] = true, true
	if err := t.branch(nil, m.root, span{}, 0); err != nil || m.freelist == noFreelist {
		return err
	}
	return t.free(m.freelist)
}

// load reads a page with its overflow and takes it as used.
func (t *tree) load(id uint64) ([]byte, error) {
	if id >= uint64(len(t.used)) {
		return nil, t.damage(id, "page %d of %d is asked for", id, len(t.used))
	}
	h := make([]byte, pageHeader)
	if _, err := t.f.ReadAt(h, int64(id*t.size)); err != nil {
		return nil, err
	}
	n := 1 + uint64(order.Uint32(h[12:]))
	if order.Uint64(h) != id || n > uint64(len(t.used))-id {
		return nil, t.damage(id, "page %d calls itself page %d, %d pages long", id, order.Uint64(h), n)
	}
	for i := id; i < id+n; i++ {
		if t.used[i] {
			return nil, t.damage(id, "page %d is used twice", i)
		}
		t.used[i] = true
	}
	p := make([]byte, n*t.size)
	_, err := t.f.ReadAt(p, int64(id*t.size))
	return p, err
}

// span is where the keys of a page must lie: from lo, below hi; nil is open.
type span struct{ lo, hi []byte }

func (s span) holds(key []byte) bool {
	return (s.lo == nil || bytes.Compare(key, s.lo) >= 0) && (s.hi == nil || bytes.Compare(key, s.hi) < 0)
}

// branch verifies the subtree below page id.
func (t *tree) branch(bucket []byte, id uint64, keys span, depth int) error {
	p, err := t.load(id)
	if err != nil {
		return err
	}
	switch flags := order.Uint16(p[8:]); {
	case flags == flagLeaf:
		return t.leaf(bucket, id, p, keys, depth)
	case flags != flagBranch || depth > maxDepth || order.Uint16(p[10:]) == 0:
		return t.damage(id, "page %d is no branch and no leaf", id)
	}
	count := int(order.Uint16(p[10:]))
	end := pageHeader + count*elementLen
	for i := range count {
		at := pageHeader + i*elementLen
		key := part(p, at, 0, end, 4)
		if key == nil || !keys.holds(key) {
			return t.damage(id, "key %d of page %d is out of place", i, id)
		}
		end += len(key)
		below := span{key, keys.hi}
		if i+1 < count {
			if below.hi = part(p, at+elementLen, 0, end, 4); below.hi == nil || bytes.Compare(key, below.hi) >= 0 {
				return t.damage(id, "key %d of page %d is out of order", i+1, id)
			}
		}
		if err := t.branch(bucket, order.Uint64(p[at+8:]), below, depth+1); err != nil {
			return err
		}
	}
	return t.tail(id, p, end)
}

// leaf verifies a leaf and what it holds; p may lie inside another page.
func (t *tree) leaf(bucket []byte, id uint64, p []byte, keys span, depth int) error {
	count := int(order.Uint16(p[10:]))
	end := pageHeader + count*elementLen
	for i := range count {
		at := pageHeader + i*elementLen
		key, both := part(p, at, 4, end, 8), part(p, at, 4, end, 8, 12)
		if key == nil || both == nil || !keys.holds(key) {
			return t.damage(id, "key %d of page %d is out of place", i, id)
		}
		end += len(both)
		value := both[len(key):]
		keys.lo = append(bytes.Clone(key), 0) // the least that may follow
		var err error
		switch flags := order.Uint32(p[at:]); {
		case flags == 0:
			err = t.visit(bucket, key, value)
		case flags == 1 && bucket == nil && len(value) >= bucketLen:
			err = t.bucket(key, id, value, depth)
		default:
			err = t.damage(id, "element %d of page %d is of no known kind", i, id)
		}
		if err != nil {
			return err
		}
	}
	return t.tail(id, p, end)
}

// tail verifies that nothing lies behind the elements of a page: bbolt leaves
// zeros there, and a count that lost a bit would hide the last elements.
func (t *tree) tail(id uint64, p []byte, end int) error {
	if end > len(p) || len(bytes.Trim(p[end:], "\x00")) > 0 {
		return t.damage(id, "page %d holds more than it counts", id)
	}
	return nil
}

// bucket verifies what the value of a bucket leads to.
func (t *tree) bucket(name []byte, id uint64, value []byte, depth int) error {
	if err := t.visit(name, nil, nil); err != nil {
		return err
	}
	if root := order.Uint64(value); root != 0 {
		return t.branch(name, root, span{}, depth+1)
	}
	if p := value[bucketLen:]; len(p) >= pageHeader && order.Uint16(p[8:]) == flagLeaf {
		return t.leaf(name, id, p, span{}, depth+1)
	}
	return t.damage(id, "the bucket %q has no page", name)
}

// part returns the bytes of the element at that start, as its field pos must
// say, at start, and are as long as its fields sizes say in all; nil if not.
func part(p []byte, at, pos, start int, sizes ...int) []byte {
	if at+elementLen > len(p) || start > len(p) || at+int(order.Uint32(p[at+pos:])) != start {
		return nil
	}
	n := uint64(start)
	for _, size := range sizes {
		n += uint64(order.Uint32(p[at+size:]))
	}
	if n > uint64(len(p)) {
		return nil
	}
	return p[start:n:n]
}

// free verifies that exactly the pages that nothing uses are free.
func (t *tree) free(id uint64) error {
	p, err := t.load(id)
	if err != nil {
		return err
	}
	count, list := uint64(order.Uint16(p[10:])), p[pageHeader:]
	if count == 0xFFFF {
		count, list = order.Uint64(list), list[8:]
	}
	if order.Uint16(p[8:]) != flagFree || count > uint64(len(list)/8) {
		return t.damage(id, "page %d is no list of free pages", id)
	}
	for i := range count {
		page := order.Uint64(list[8*i:])
		if page >= uint64(len(t.used)) || t.used[page] {
			return t.damage(id, "page %d is free and in use", page)
		}
		t.used[page] = true
	}
	for page, used := range t.used {
		if !used {
			return t.damage(id, "page %d is neither free nor in use", page)
		}
	}
	return nil
}

// settle writes the newest meta page again. The former process may have died
// between writing and syncing it, or after the sync failed: then only the page
// cache may hold it. The pages it leads to were synced before it was written.
func (t *tree) settle() error {
	m, err := t.newest()
	if err == nil {
		_, err = t.f.WriteAt(m.page, int64(m.txid%2*t.size))
	}
	if err == nil {
		err = t.f.Sync()
	}
	return err
}
