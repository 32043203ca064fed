package raftstore

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

var errInjected = errors.New("injected fault")

// disk is an FS in memory that knows what would survive a power cut.
type disk struct {
	mu     sync.Mutex
	names  map[string]*inode // what the process sees
	synced map[string]*inode // names as of the last SyncDir
	dirOps []func(map[string]*inode)
	locked bool
	ops    int // that change something, so far

	// fail, if set, decides about each of them before it happens.
	fail func(op, name string, n int) error
	// wrote, if set, sees every write.
	wrote func(name string, off int64, b []byte)
}

type inode struct {
	name    string
	data    []byte // what the process reads
	synced  []byte
	pending []pendingWrite
}

type pendingWrite struct {
	off int64
	b   []byte
}

const sector = 512

func newDisk() *disk {
	return &disk{names: map[string]*inode{}, synced: map[string]*inode{}}
}

// capturedWrite is one write to a segment.
type capturedWrite struct {
	name string
	off  int64
	b    []byte
}

// nextWrite returns where the next write to a segment will be told.
func (d *disk) nextWrite() *capturedWrite {
	w := &capturedWrite{}
	d.wrote = func(name string, off int64, b []byte) {
		if w.b == nil && name != spareName {
			*w = capturedWrite{name, off, slices.Clone(b)}
		}
	}
	return w
}

func (d *disk) step(op, name string) error {
	d.ops++
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name, d.ops)
}

// failFrom makes operation n and all later ones fail: the process is dead.
func (d *disk) failFrom(n int) {
	d.fail = func(_, _ string, at int) error {
		if at >= n {
			return errInjected
		}
		return nil
	}
}

func (d *disk) Lock(string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return nil, ErrLocked
	}
	d.locked = true
	return unlocker{d}, nil
}

type unlocker struct{ d *disk }

func (u unlocker) Close() error {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	u.d.locked = false
	return nil
}

func (d *disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names)), nil
}

// change applies a directory operation now, and at a power cut perhaps.
func (d *disk) change(op, name string, f func(map[string]*inode)) error {
	if err := d.step(op, name); err != nil {
		return err
	}
	f(d.names)
	d.dirOps = append(d.dirOps, f)
	return nil
}

func (d *disk) Create(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &inode{name: name}
	err := d.change("create", name, func(m map[string]*inode) { m[name] = n })
	return &diskFile{d, n}, err
}

func (d *disk) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.names[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &diskFile{d, n}, nil
}

func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.names[from]
	if !ok {
		return fs.ErrNotExist
	}
	return d.change("rename", from, func(m map[string]*inode) {
		delete(m, from)
		m[to], n.name = n, to
	})
}

func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.names[name]; !ok {
		return fs.ErrNotExist
	}
	return d.change("remove", name, func(m map[string]*inode) { delete(m, name) })
}

func (d *disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("syncdir", ""); err != nil {
		return err
	}
	d.synced, d.dirOps = maps.Clone(d.names), nil
	return nil
}

type diskFile struct {
	d *disk
	n *inode
}

func (f *diskFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes half of b before it fails.
func (f *diskFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.step("write", f.n.name)
	if err != nil {
		b = b[:len(b)/2]
	}
	if f.d.wrote != nil {
		f.d.wrote(f.n.name, off, b)
	}
	f.n.data = put(f.n.data, off, b)
	f.n.pending = append(f.n.pending, pendingWrite{off, slices.Clone(b)})
	return len(b), err
}

// Sync forgets the pending writes even when it fails, as Linux does: the next
// Sync succeeds and the data is not on the disk.
func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step("sync", f.n.name); err != nil {
		f.n.pending = nil
		return err
	}
	for _, w := range f.n.pending {
		f.n.synced = put(f.n.synced, w.off, w.b)
	}
	f.n.pending = nil
	return nil
}

func (f *diskFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *diskFile) Close() error { return nil }

func put(dst []byte, off int64, b []byte) []byte {
	if grow := int(off) + len(b) - len(dst); grow > 0 {
		dst = append(dst, make([]byte, grow)...)
	}
	copy(dst[off:], b)
	return dst
}

// kill returns the disk as the next process finds it after kill -9.
func (d *disk) kill() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &disk{names: d.names, synced: d.synced, dirOps: d.dirOps}
}

// powerCut returns the disk after a power cut: of what was not synced, a
// prefix of the directory operations and any sectors of any writes survive.
func (d *disk) powerCut(keep func(n int) int) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := maps.Clone(d.synced)
	for _, op := range d.dirOps[:keep(len(d.dirOps)+1)] {
		op(names)
	}
	after := newDisk()
	for name, n := range names {
		data := slices.Clone(n.synced)
		for _, w := range n.pending {
			for from := 0; from < len(w.b); {
				to := min(len(w.b), from+sector-int(w.off+int64(from))%sector)
				if keep(2) == 1 {
					data = put(data, w.off+int64(from), w.b[from:to])
				}
				from = to
			}
		}
		after.names[name] = &inode{name: name, data: data, synced: slices.Clone(data)}
	}
	after.synced = maps.Clone(after.names)
	return after
}

// What a power cut keeps: nothing that was not synced, all of it, or some.
func keepNothing(int) int { return 0 }
func keepAll(n int) int   { return n - 1 }
func keepSome(seed uint64) func(int) int {
	return rand.New(rand.NewPCG(seed, 0)).IntN
}

// clone copies the disk as the process sees it.
func (d *disk) clone() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := newDisk()
	for name, n := range d.names {
		c.names[name] = &inode{name: name, data: slices.Clone(n.data), synced: slices.Clone(n.data)}
	}
	c.synced = maps.Clone(c.names)
	return c
}
