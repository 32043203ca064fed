// Package http2 speaks HTTP/2 with a peer, in either role: many exchanges share one connection, which has one goroutine
// that reads. Heads are handed over in the form that HTTP/1.1 gives them, for package wire to read; what is no message
// of HTTP/1.1 that says the same is refused. Frames are written into the memory that the connection has, and what many
// streams have to say leaves in one write.
//
// Source: RFC 9113, RFC 7541, RFC 8441
package http2
