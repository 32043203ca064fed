//go:build linux

package lab

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is what is wrong with a host's disk. The zero value is a good one.
type Disk struct {
	// Slow is what each sync takes longer.
	Slow time.Duration
	// Full makes every write fail with "no space left on device".
	Full bool
	// FailSync makes every sync fail with "input/output error".
	FailSync bool
	// ReadOnly makes everything that changes something fail, as a remount after an error does.
	ReadOnly bool
}

// disk is a file system over a directory that does as its faults say. go-fuse passes everything else on.
type disk struct {
	faults atomic.Pointer[Disk]
	server *fuse.Server
	syncs  atomic.Int64
}

// mountDisk mounts the directory backing at point. It must run inside the host's mount namespace.
func mountDisk(backing, point string) (*disk, error) {
	d := &disk{}
	d.faults.Store(&Disk{})
	var st syscall.Stat_t
	if err := syscall.Stat(backing, &st); err != nil {
		return nil, fmt.Errorf("disk %s: %w", backing, err)
	}
	// The root tells the nodes about itself only when it is set here.
	root := &fs.LoopbackRoot{Path: backing, Dev: st.Dev}
	root.RootNode = &diskNode{&fs.LoopbackNode{RootData: root}, d}
	var err error
	known := time.Minute // nobody changes the directory but through this mount; else the kernel asks at each read
	d.server, err = fs.Mount(point, root.RootNode, &fs.Options{AttrTimeout: &known, EntryTimeout: &known, MountOptions: fuse.MountOptions{
		DirectMountStrict: true, DirectMountFlags: syscall.MS_NOSUID | syscall.MS_NODEV, FsName: "curia-lab", Name: "lab",
	}})
	if err != nil {
		return nil, fmt.Errorf("mount a disk at %s: %w", point, err)
	}
	return d, nil
}

// change is the error of whatever changes something, 0 when the disk is good.
func (d *disk) change() syscall.Errno {
	switch f := d.faults.Load(); {
	case f.ReadOnly:
		return syscall.EROFS
	case f.Full:
		return syscall.ENOSPC
	}
	return 0
}

// sync is the error of a sync, after the time it takes.
func (d *disk) sync() syscall.Errno {
	d.syncs.Add(1)
	f := d.faults.Load()
	time.Sleep(f.Slow)
	if f.FailSync {
		return syscall.EIO
	}
	return 0
}

// diskNode is one file or directory.
type diskNode struct {
	*fs.LoopbackNode
	disk *disk
}

// WrapChild makes what is in a directory of ours one of ours too.
func (n *diskNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &diskNode{ops.(*fs.LoopbackNode), n.disk}
}

func (n *diskNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.disk.change(); errno != 0 {
		return nil, nil, 0, errno
	}
	node, file, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return node, n.disk.wrap(file), fuseFlags, errno
}

func (n *diskNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	file, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	return n.disk.wrap(file), fuseFlags, errno
}

func (n *diskNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.disk.change(); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// Rename, Unlink and Setattr need no space, and so work on a full disk.

func (n *diskNode) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if n.disk.faults.Load().ReadOnly {
		return syscall.EROFS
	}
	return n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
}

func (n *diskNode) Unlink(ctx context.Context, name string) syscall.Errno {
	if n.disk.faults.Load().ReadOnly {
		return syscall.EROFS
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *diskNode) Setattr(ctx context.Context, file fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if n.disk.faults.Load().ReadOnly {
		return syscall.EROFS
	}
	if f, ok := file.(*diskFile); ok {
		file = f.file
	}
	return n.LoopbackNode.Setattr(ctx, file, in, out)
}

func (n *diskNode) Getattr(ctx context.Context, file fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if f, ok := file.(*diskFile); ok {
		file = f.file
	}
	return n.LoopbackNode.Getattr(ctx, file, out)
}

// Fsync is that of directories; files have their own.
func (n *diskNode) Fsync(ctx context.Context, file fs.FileHandle, flags uint32) syscall.Errno {
	if f, ok := file.(*diskFile); ok {
		return f.Fsync(ctx, flags)
	}
	return n.disk.sync()
}

func (n *diskNode) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.ENOSYS // whoever copies then reads and writes
}

// diskFile is an open file. It does not embed go-fuse's: what that offers besides, the kernel would use behind us.
type diskFile struct {
	disk *disk
	file fs.FileHandle
}

var _ interface {
	fs.FileReader
	fs.FileWriter
	fs.FileFsyncer
	fs.FileFlusher
	fs.FileReleaser
	fs.FileAllocater
	fs.FileLseeker
} = (*diskFile)(nil)

func (d *disk) wrap(file fs.FileHandle) fs.FileHandle {
	if file == nil {
		return nil
	}
	return &diskFile{d, file}
}

func (f *diskFile) Read(ctx context.Context, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return f.file.(fs.FileReader).Read(ctx, b, off)
}

func (f *diskFile) Write(ctx context.Context, b []byte, off int64) (uint32, syscall.Errno) {
	if errno := f.disk.change(); errno != 0 {
		return 0, errno
	}
	return f.file.(fs.FileWriter).Write(ctx, b, off)
}

func (f *diskFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.disk.sync(); errno != 0 {
		return errno
	}
	return f.file.(fs.FileFsyncer).Fsync(ctx, flags)
}

func (f *diskFile) Flush(ctx context.Context) syscall.Errno {
	return f.file.(fs.FileFlusher).Flush(ctx)
}

func (f *diskFile) Release(ctx context.Context) syscall.Errno {
	return f.file.(fs.FileReleaser).Release(ctx)
}

func (f *diskFile) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if errno := f.disk.change(); errno != 0 {
		return errno
	}
	return f.file.(fs.FileAllocater).Allocate(ctx, off, size, mode)
}

func (f *diskFile) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	return f.file.(fs.FileLseeker).Lseek(ctx, off, whence)
}
