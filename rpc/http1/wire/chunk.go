package wire

// Bounds of what a body in chunks may hold beside its data, in bytes.
const (
	maxExtensions = 16 << 10 // of all chunks together
	maxTrailer    = 16 << 10
)

// Chunks reads the framing of a body in chunks, a byte at a time. Extensions are read and dropped.
// Source: RFC 9112, 7.1
type Chunks struct {
	state chunkState
	// Left is how many bytes of data follow, while InData.
	Left int64
	// Keep has the lines of the trailer section appended to Trailers, each with its end; else they are dropped too.
	Keep     bool
	Trailers []byte

	extra int  // bytes of extensions, then of trailers
	line  int  // digits of this size, bytes of this trailer
	named bool // this trailer has its colon
}

// InData reports whether data follow, not framing.
func (c *Chunks) InData() bool { return c.state == chunkData }

// Ended reports whether the body has ended.
func (c *Chunks) Ended() bool { return c.state == chunkEnd }

// Begin makes c ready for a body, with the memory that it has.
func (c *Chunks) Begin(keep bool) { *c = Chunks{Keep: keep, Trailers: c.Trailers[:0]} }

type chunkState uint8

const (
	chunkSize chunkState = iota // before the first digit
	chunkDigits
	chunkExtension
	chunkSizeLF
	chunkData // Left says how many
	chunkCR
	chunkLF
	chunkTrailer
	chunkTrailerLF
	chunkEnd
)

// maxSizeDigits is how many digits a chunk's size may have.
const maxSizeDigits = 15

// Next takes framing from b until data begin, the body ends, or b does. It returns how many bytes it took.
func (c *Chunks) Next(b []byte) (n int, err error) {
	for n < len(b) && c.state != chunkData && c.state != chunkEnd {
		if err := c.take(b[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

var errChunk = Bad("malformed chunk")

func (c *Chunks) take(x byte) error {
	switch c.state {
	case chunkSize, chunkDigits:
		return c.size(x)
	case chunkExtension:
		if x == '\r' {
			c.state = chunkSizeLF
			return nil
		}
		if c.extra++; c.extra > maxExtensions || !Text[x] {
			return errChunk
		}
	case chunkSizeLF:
		if x != '\n' {
			return errChunk
		}
		c.line = 0
		if c.state = chunkData; c.Left == 0 {
			c.state, c.extra = chunkTrailer, 0
		}
	case chunkCR, chunkLF:
		if c.state == chunkCR && x != '\r' || c.state == chunkLF && x != '\n' {
			return errChunk
		}
		if c.state++; c.state > chunkLF {
			c.state, c.line = chunkSize, 0
		}
	case chunkTrailer:
		if err := c.trailer(x); err != nil {
			return err
		}
		c.keep(x)
	case chunkTrailerLF:
		if x != '\n' {
			return errChunk
		}
		c.keep(x)
		if c.state = chunkTrailer; c.line == 0 {
			c.state = chunkEnd
		}
		c.line, c.named = 0, false
	}
	return nil
}

// size takes a byte of the line with a chunk's size; line counts the digits.
func (c *Chunks) size(x byte) error {
	digit := hexDigit(x)
	switch {
	case digit >= 0:
		if c.line++; c.line > maxSizeDigits {
			return errChunk
		}
		c.state, c.Left = chunkDigits, c.Left<<4|int64(digit)
	case c.state == chunkSize:
		return errChunk
	case x == '\r':
		c.state = chunkSizeLF
	case x == ';':
		c.state = chunkExtension
	default:
		return errChunk
	}
	return nil
}

// trailer takes a byte of a line behind the chunks: a field as in a head, or an empty one.
func (c *Chunks) trailer(x byte) error {
	switch {
	case x == '\r' && (c.named || c.line == 0):
		c.state = chunkTrailerLF
		return nil
	case c.named && Text[x], Token[x]:
	case x == ':' && c.line > 0:
		c.named = true
	default:
		return errChunk
	}
	c.line++
	if c.extra++; c.extra > maxTrailer {
		return errChunk
	}
	return nil
}

// keep keeps a byte of a line behind the chunks, but for the empty line.
func (c *Chunks) keep(x byte) {
	if c.Keep && c.line > 0 {
		c.Trailers = append(c.Trailers, x)
	}
}

// Data says that n bytes of data were taken.
func (c *Chunks) Data(n int) {
	if c.Left -= int64(n); c.Left == 0 {
		c.state = chunkCR
	}
}

func hexDigit(x byte) int {
	switch {
	case digit(x):
		return int(x - '0')
	case 'a' <= x|0x20 && x|0x20 <= 'f':
		return int(x|0x20-'a') + 10
	}
	return -1
}
