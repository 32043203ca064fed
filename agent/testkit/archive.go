package testkit

import (
	"bytes"
	"compress/gzip"
	"io"
)

// Unpacked is what a gzip file holds, or why it holds nothing. A changed bit between two blocks of the
// compression says nothing (RFC 1951 section 3.2.4): tests that damage archives tell it from damage by this.
func Unpacked(archive []byte) string {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err.Error()
	}
	content, err := io.ReadAll(z)
	if err != nil {
		return err.Error()
	}
	return string(content)
}
