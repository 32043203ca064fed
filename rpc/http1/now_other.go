//go:build !unix

package http1

// WriteNow writes what the connection takes without waiting and returns how much that was, which is nothing where
// there is no way to tell. Its caller has taken the connection.
func (c *Conn) WriteNow([]byte) (int, error) { return 0, nil }
