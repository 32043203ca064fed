package snapshot

import "io"

// ReadWithin is Read with limits of its own.
func ReadWithin(state, bomb, ratio int64, from io.Reader) (*Archive, error) {
	return readWithin(limits{state, bomb, ratio}, from)
}
