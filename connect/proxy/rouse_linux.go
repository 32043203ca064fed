package proxy

import (
	"os"
	"sync"
	"syscall"
)

// rouser wakes listeners when connections wait at them, so that those nobody connects to need no goroutine each.
//
// It is an epoll of its own that the runtime waits for as for any file: no thread stands in a system call.
type rouser struct {
	file *os.File
	done chan struct{} // closed when run has returned

	mu sync.Mutex
	by map[int32]*listening // those that are watched, by their file
}

// newRouser returns nil where there can be none.
func newRouser() *rouser {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil
	}
	r := &rouser{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), by: map[int32]*listening{}}
	go r.run() // ends with close
	return r
}

// once is for one connection at least, of those that wait already or come: then the listener has to be watched again.
const once = syscall.EPOLLIN | syscall.EPOLLONESHOT

// watch has a listener woken once, when a connection waits. It reports whether that can be done.
func (r *rouser) watch(l *listening) bool { return r.control(l, syscall.EPOLL_CTL_ADD) }

// again is watch for a listener that is watched already.
func (r *rouser) again(l *listening) bool { return r.control(l, syscall.EPOLL_CTL_MOD) }

func (r *rouser) control(l *listening, op int) bool {
	if r == nil {
		return false
	}
	ok := false
	err := onFile(l.Listener, func(fd uintptr) {
		r.mu.Lock()
		r.by[int32(fd)] = l // before it can be woken
		r.mu.Unlock()
		ok = onFile(r.file, func(poll uintptr) {
			ok = syscall.EpollCtl(int(poll), op, int(fd), &syscall.EpollEvent{Events: once, Fd: int32(fd)}) == nil
		}) == nil && ok
		if !ok {
			r.drop(int32(fd), l)
		}
	})
	return err == nil && ok
}

// forget wakes a listener no more, which is still open. It is taken out, as closing it does that only where no other process
// has it.
func (r *rouser) forget(l *listening) {
	if r == nil {
		return
	}
	_ = onFile(l.Listener, func(fd uintptr) {
		r.drop(int32(fd), l)
		_ = onFile(r.file, func(poll uintptr) {
			_ = syscall.EpollCtl(int(poll), syscall.EPOLL_CTL_DEL, int(fd), nil) // it may never have been in
		})
	})
}

func (r *rouser) drop(fd int32, l *listening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by[fd] == l {
		delete(r.by, fd)
	}
}

// onFile calls f with the file of a socket or an epoll, which stays open meanwhile.
func onFile(of any, f func(fd uintptr)) error {
	c, ok := of.(syscall.Conn)
	if !ok {
		return syscall.EINVAL
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(f)
}

// run wakes listeners until close.
func (r *rouser) run() {
	defer close(r.done)
	raw, err := r.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]syscall.EpollEvent, 64)
	n := 0
	look := func(fd uintptr) bool {
		for {
			if n, err = syscall.EpollWait(int(fd), events, 0); err != syscall.EINTR {
				return n != 0
			}
		}
	}
	for raw.Read(look) == nil && err == nil {
		for _, e := range events[:n] {
			r.mu.Lock()
			l := r.by[e.Fd]
			r.mu.Unlock()
			if l != nil { // else it has been closed meanwhile
				l.wake()
			}
		}
	}
}

// close ends it. No listener is watched any more.
func (r *rouser) close() {
	if r == nil {
		return
	}
	r.file.Close()
	<-r.done
}
