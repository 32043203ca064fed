// Package http1 speaks HTTP/1.1 on a connection: it reads heads, in place and strictly, decides where bodies end, and
// serves an http.Handler with one goroutine for each connection and one write for each short answer.
//
// What could be read in two ways is refused, because whoever stands between client and server may have read it in the
// other: see wire.Head.Parse. Sources: RFC 9110, RFC 9112.
package http1
