//go:build unix

package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// joined are two ends of a TCP connection, one of them direct.
func joined(t *testing.T) (near net.Conn, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); other.Close() })
	other.SetDeadline(time.Now().Add(patienceOf))
	return directly(c), other.(*net.TCPConn)
}

const patienceOf = 20 * time.Second

// What goes both ways at once, more than the system holds, comes as it was said.
func TestDirect(t *testing.T) {
	near, far := joined(t)
	said := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	var all sync.WaitGroup
	for _, c := range []net.Conn{near, far} {
		all.Go(func() {
			if n, err := c.Write(said); n != len(said) || err != nil {
				t.Errorf("%T: wrote %d of %d: %v", c, n, len(said), err)
			}
			if err := c.(halfCloser).CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if heard, err := io.ReadAll(struct{ io.Reader }{c}); err != nil || !bytes.Equal(heard, said) {
				t.Errorf("%T: read %d of %d, or others: %v", c, len(heard), len(said), err)
			}
		})
	}
	all.Wait()
	if n := near.(*direct).in.eager; n > mostEager {
		t.Errorf("the scheduler has not heard of %d reads in a row that did not wait", n)
	}
}

// A question that is asked is answered, be the answer there at once, late, or none; one that does not leave at once is left.
func TestDirectAsks(t *testing.T) {
	near, far := joined(t)
	d := near.(plain)
	var b [8]byte
	for i := range 100 {
		asked := make(chan error, 1)
		go func() { // ends with the question
			var b [8]byte
			n, err := far.Read(b[:])
			if string(b[:n]) != "question" || err != nil {
				err = errors.Join(err, errors.New("heard "+string(b[:n])))
			}
			far.Write([]byte("answer"))
			asked <- err
		}()
		written, n, err := d.ask([]byte("question"), b[:])
		if written != len("question") || string(b[:n]) != "answer" || err != nil {
			t.Fatalf("question %d: wrote %d, read %q: %v", i, written, b[:n], err)
		}
		if err := <-asked; err != nil {
			t.Fatal(err)
		}
	}

	go func() { // ends with the question
		var b [8]byte
		far.Read(b[:])
		near.SetReadDeadline(past)
	}()
	if written, n, err := d.ask([]byte("question"), b[:]); written != len("question") || n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without an answer: %d, %d, %v", written, n, err)
	}
	if written, n, err := d.ask([]byte("question"), b[:]); written != 0 || n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("when it is too late to ask: %d, %d, %v", written, n, err)
	}
	near.SetReadDeadline(time.Time{})
	for room := true; room; {
		n, err := d.offer(make([]byte, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		room = n > 0
	}
	if written, n, err := d.ask([]byte("question"), b[:]); written != 0 || n != 0 || err != nil {
		t.Errorf("without room: %d, %d, %v", written, n, err)
	}
	far.SetLinger(0)
	far.Close()
	if _, n, err := d.ask([]byte("question"), b[:]); n != 0 || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("of nobody: %d, %v", n, err)
	}
}

// It fails as a connection of package net does.
func TestDirectFails(t *testing.T) {
	b := make([]byte, 1<<20)
	read := func(c net.Conn) error { _, err := c.Read(b); return err }
	write := func(c net.Conn) error {
		for {
			if _, err := c.Write(b); err != nil {
				return err
			}
		}
	}
	reset := func(c *net.TCPConn) {
		c.SetLinger(0)
		c.Close()
	}
	for _, f := range []struct {
		name  string
		spoil func(near net.Conn, far *net.TCPConn)
		do    func(net.Conn) error
		want  error
	}{
		{"read, late", func(near net.Conn, _ *net.TCPConn) { near.SetReadDeadline(time.Now().Add(time.Millisecond)) }, read, os.ErrDeadlineExceeded},
		{"write, late", func(near net.Conn, _ *net.TCPConn) { near.SetWriteDeadline(time.Now().Add(time.Millisecond)) }, write, os.ErrDeadlineExceeded},
		{"read, closed", func(near net.Conn, _ *net.TCPConn) { near.Close() }, read, net.ErrClosed},
		{"write, closed", func(near net.Conn, _ *net.TCPConn) { near.Close() }, write, net.ErrClosed},
		{"read, ended", func(_ net.Conn, far *net.TCPConn) { far.Close() }, read, io.EOF},
		{"read, reset", func(_ net.Conn, far *net.TCPConn) { reset(far) }, read, syscall.ECONNRESET},
		{"write, shut", func(near net.Conn, _ *net.TCPConn) { near.(halfCloser).CloseWrite() }, write, syscall.EPIPE},
	} {
		t.Run(f.name, func(t *testing.T) {
			fail := func(near net.Conn, far *net.TCPConn) error {
				f.spoil(near, far)
				return f.do(near)
			}
			near, far := joined(t)
			got := fail(near, far)
			near, far = joined(t)
			as := fail(bare(near), far)
			if !errors.Is(got, f.want) || !errors.Is(as, f.want) {
				t.Fatalf("%v, and of package net %v: not %v", got, as, f.want)
			}
			var op, other *net.OpError
			if errors.As(got, &op) != errors.As(as, &other) || op != nil && (op.Op != other.Op || op.Net != other.Net || op.Timeout() != other.Timeout()) {
				t.Errorf("%#v, not as %#v", op, other)
			}
		})
	}
}

// A read that waits ends when the connection is closed.
func TestDirectClosed(t *testing.T) {
	near, far := joined(t)
	failed := make(chan error, 1)
	go func() { // ends with the connection
		var b [2]byte
		if n, err := near.Read(b[:]); n != 1 || err != nil {
			failed <- errors.Join(err, errors.New("the byte did not come"))
			return
		}
		_, err := near.Read(b[:])
		failed <- err
	}()
	far.Write([]byte("x"))
	far.CloseRead()
	near.Close()
	if err := <-failed; !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the read ended with %v", err)
	}
}

// slow takes half of a question, and then nothing.
type slow struct{}

func (slow) offer([]byte) (int, error)                { return 0, os.ErrDeadlineExceeded }
func (slow) ask(question, _ []byte) (int, int, error) { return len(question) / 2, 0, nil }

// An endpoint that does not take a request is not waited for as one that has not answered yet, and half a request is the last one
// of its connection.
func TestUntaken(t *testing.T) {
	for _, used := range []bool{true, false} {
		u := &upstream{used: used, held: true}
		u.plain, u.in, u.out = slow{}, make([]byte, 8), []byte("GET / HTTP/1.1\r\n\r\n")
		if err := u.ask(); used && err != errUntaken || !used && err != nil {
			t.Errorf("used before: %t: %v", used, err)
		}
		if !u.torn || u.held {
			t.Errorf("used before: %t: torn %t, held %t", used, u.torn, u.held)
		}
	}
}

func BenchmarkDirect(b *testing.B) {
	for name, as := range map[string]func(net.Conn) net.Conn{"net": bare, "direct": directly} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() { // ends with the connection
				c, err := l.Accept()
				if err != nil {
					return
				}
				c = as(c)
				defer c.Close()
				for buf := make([]byte, 1<<10); ; {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					c.Write(buf[:n])
				}
			}()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			c = as(c)
			buf := make([]byte, 1<<10)
			b.ReportAllocs()
			for b.Loop() {
				c.Write(buf)
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
