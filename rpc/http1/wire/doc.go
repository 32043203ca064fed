// Package wire reads the messages of HTTP/1.1 where they lie: heads of requests and responses as places in the bytes
// that came, bodies in chunks a byte of framing at a time. Both who serves and who stands in between read with it, so
// that they cannot disagree about where a message ends.
//
// What could be read in two ways is refused, because whoever stands between client and server may have read it in the
// other: see Head.Parse and Head.ParseResponse. Sources: RFC 9110, RFC 9112.
package wire
