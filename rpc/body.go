package rpc

import "sync"

// Body is a reply's value together with its encodings. All who asked the same question share one Body:
// the value is immutable and each encoding is made at most once.
type Body struct {
	*content
	stale func() bool
}

type content struct {
	value any
	json  encoding
	wire  encoding
}

type encoding struct {
	once sync.Once
	data []byte
	err  error
}

// NewBody wraps a reply. stale, which may be nil, reports whether the value has been overtaken by a
// change; it must be cheap and safe to call from many goroutines.
func NewBody(value any, stale func() bool) *Body { return &Body{&content{value: value}, stale} }

// Renewed is the same value and encodings with another way to tell whether it is stale: what was read
// anew turned out to be what it was.
func (b *Body) Renewed(stale func() bool) *Body { return &Body{b.content, stale} }

// Value is the typed reply, a pointer. It must not be changed.
func (b *Body) Value() any { return b.value }

// Stale reports whether the value is known to have been overtaken. A body that came over a network
// cannot know and says false; Watched tells the two apart.
func (b *Body) Stale() bool { return b.stale != nil && b.stale() }

// Watched is whether Stale can tell.
func (b *Body) Watched() bool { return b.stale != nil }

// JSON returns the JSON encoding, made by encode the first time.
func (b *Body) JSON(encode func(any) ([]byte, error)) ([]byte, error) {
	return b.json.get(b.value, encode)
}

// Wire returns the msgpack encoding, made by encode the first time.
func (b *Body) Wire(encode func(any) ([]byte, error)) ([]byte, error) {
	return b.wire.get(b.value, encode)
}

func (e *encoding) get(value any, encode func(any) ([]byte, error)) ([]byte, error) {
	e.once.Do(func() { e.data, e.err = encode(value) })
	return e.data, e.err
}
