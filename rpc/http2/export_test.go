package http2

// Codec gives tests blocks of fields by themselves.
type Codec struct {
	enc *Encoder
	dec *decoder
}

// NewCodec makes a codec.
func NewCodec() *Codec { return &Codec{newEncoder(), newDecoder()} }

// Limit has the peer take a table of a size.
func (c *Codec) Limit(n uint32) { c.enc.limit(n) }

// Encode is a block of fields.
func (c *Codec) Encode(fields [][2]string) []byte {
	c.enc.begin(nil)
	for _, f := range fields {
		c.enc.Field([]byte(f[0]), []byte(f[1]))
	}
	return c.enc.out
}

// Decode are the fields of a block.
func (c *Codec) Decode(b []byte) (fields [][2]string, err error) {
	if b, err = c.dec.updates(b); err != nil {
		return nil, err
	}
	for len(b) > 0 {
		var name, value []byte
		if name, value, b, err = c.dec.field(b); err != nil {
			return nil, err
		}
		fields = append(fields, [2]string{string(name), string(value)})
	}
	return fields, nil
}
