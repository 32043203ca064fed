package http2_test

import (
	"bytes"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"

	"github.com/curia-mesh/curia/rpc/http1/wire"
	"github.com/curia-mesh/curia/rpc/http2"
)

// tape is a connection on which a peer says what is on it, and then no more.
type tape struct {
	net.Conn
	mu   sync.Mutex
	in   *bytes.Reader
	by   time.Time
	over chan struct{}
	once sync.Once
}

// Read implements net.Conn.
func (c *tape) Read(b []byte) (int, error) {
	select {
	case <-c.over:
		return 0, net.ErrClosed
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.by.IsZero() && !time.Now().Before(c.by) {
		return 0, os.ErrDeadlineExceeded
	}
	return c.in.Read(b)
}

// Write implements net.Conn.
func (c *tape) Write(b []byte) (int, error) { return len(b), nil }

// Close implements net.Conn.
func (c *tape) Close() error {
	c.once.Do(func() { close(c.over) })
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *tape) SetReadDeadline(by time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by = by
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// FuzzFrames feeds a connection what strangers may send. Whatever request comes out is one that HTTP/1.1 can say.
func FuzzFrames(f *testing.F) {
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	head := "\x82\x86\x84\x41\x01a"
	f.Add(append(bytes.Clone(settings), "\x00\x00\x06\x01\x05\x00\x00\x00\x01"+head...))
	f.Add(append(bytes.Clone(settings), "\x00\x00\x06\x01\x04\x00\x00\x00\x01"+head+"\x00\x00\x02\x00\x01\x00\x00\x00\x01hi"...))
	f.Add(append(bytes.Clone(settings), "\x00\x00\x03\x01\x00\x00\x00\x00\x01\x82\x86\x84\x00\x00\x03\x09\x04\x00\x00\x00\x01\x41\x01a"...))
	f.Add(append(bytes.Clone(settings), "\x00\x00\x0c\x01\x05\x00\x00\x00\x01B\x05GET /\x86\x84\x41\x01a"...))
	f.Add(append(bytes.Clone(settings), "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01"...))
	f.Fuzz(func(t *testing.T, said []byte) {
		c := &tape{in: bytes.NewReader(append([]byte(http2.Preface), said...)), over: make(chan struct{})}
		http2.New(c, nil, http2.Options{Patience: time.Second, Serve: func(s *http2.Stream) {
			text, err := s.Head(time.Time{})
			if err != nil || s.TooLarge() {
				return
			}
			var h wire.Head
			if err := h.Parse(bytes.Clone(text)); err != nil {
				if e, ok := err.(*wire.Error); !ok || e.Status == 400 && e.Reason != "malformed Host header" {
					t.Errorf("%q: %v", text, err)
				}
			}
			for {
				if _, err := s.Next(time.Time{}); err != nil {
					break
				}
			}
			s.Send(&message{[][2]string{{":status", "200"}}, ""}, []byte("x"), true, true)
		}}).Run()
	})
}

// TestCompression holds blocks of fields, of any sizes and orders, to another implementation in both directions.
func TestCompression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`)
		value := rapid.StringMatching(`([!-~]([ -~]{0,60}[!-~])?)?`)
		pool := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]string { return [2]string{name.Draw(t, "name"), value.Draw(t, "value")} }), 1, 12).Draw(t, "pool")
		size := uint32(rapid.IntRange(0, 5000).Draw(t, "table"))
		var raw bytes.Buffer
		theirs := hpack.NewEncoder(&raw)
		dec := hpack.NewDecoder(4096, nil)
		ours := http2.NewCodec()
		for round := range rapid.IntRange(1, 8).Draw(t, "rounds") {
			if round == 2 {
				ours.Limit(size)
				theirs.SetMaxDynamicTableSizeLimit(min(size, 4096))
			}
			fields := rapid.SliceOfN(rapid.SampledFrom(pool), 0, 20).Draw(t, "fields")
			got, err := dec.DecodeFull(ours.Encode(fields))
			if err != nil || len(got) != len(fields) {
				t.Fatalf("%v: %v, %v", fields, got, err)
			}
			for i, f := range got {
				if f.Name != fields[i][0] || f.Value != fields[i][1] {
					t.Fatalf("%v: got %v", fields, got)
				}
			}
			raw.Reset()
			for _, f := range fields {
				theirs.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
			back, err := ours.Decode(raw.Bytes())
			if err != nil || len(back) != len(fields) {
				t.Fatalf("back %v: %v, %v", fields, back, err)
			}
			for i := range back {
				if back[i] != fields[i] {
					t.Fatalf("back %v: got %v", fields, back)
				}
			}
		}
	})
}
