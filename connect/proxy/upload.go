package proxy

import (
	"io"
	"sync/atomic"
	"time"
)

// upload passes the body of a request on while its response is being read.
type upload struct {
	done   chan struct{}
	err    error // why it is not complete
	client bool  // the client is why
	over   atomic.Bool
	copied *copied // that gets what is passed on; nil for none
	proxy  *Proxy  // that sends it
}

// start passes on what is left of a body, in a goroutine that ends with it, or when stop is called.
func (u *upload) start(d near, to far) {
	u.done = make(chan struct{})
	u.err, u.client = nil, false
	u.over.Store(false)
	go func() {
		defer close(u.done)
		u.err = u.pass(d, to)
		u.over.Store(u.err == nil)
		if u.client { // no response can come to half a request
			to.Close()
		}
	}()
}

func (u *upload) pass(d near, to far) error {
	for {
		part, err := d.next()
		if err == io.EOF {
			err := to.finish(trailersOf(d.rear()))
			if err == nil && u.copied != nil {
				u.proxy.sendCopy(u.copied)
			}
			return err
		}
		if err != nil {
			u.client = true
			return err
		}
		if err := to.more(part); err != nil {
			return err
		}
		if u.copied != nil && !u.copied.add(part) {
			u.copied = nil
		}
	}
}

// settle is how long the end of an upload is waited for when its response has come: the last bytes of it may just have
// been written.
const settle = 5 * time.Millisecond

// finished reports whether everything was passed on, or will be at once.
func (u *upload) finished() bool {
	if u.over.Load() {
		return true
	}
	late := time.NewTimer(settle)
	defer late.Stop()
	select {
	case <-u.done:
	case <-late.C:
	}
	return u.over.Load()
}

// stop ends the upload, wherever it is, and reports whether it was complete.
func (u *upload) stop(d near, up far) bool {
	if !u.over.Load() {
		d.interrupt(true)
		up.interrupt(true)
	}
	<-u.done
	d.interrupt(false)
	up.interrupt(false)
	return u.over.Load()
}
