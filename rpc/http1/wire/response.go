package wire

import "net/http"

// ParseResponse reads the head of a response, which ends with an empty line, to a request that was for the head alone
// or not. Of what Parse refuses it refuses what responses have too, and
//   - a status that is not three digits from 100 on;
//   - Content-Length or Transfer-Encoding in 101, after which bytes are another protocol's.
//
// Where there cannot be a body and the fields tell of one, the connection is taken to end with the response.
//
// Source: RFC 9112, sections 4 and 6.3
func (h *Head) ParseResponse(b []byte, headOnly bool) error {
	if err := h.parse(b, 0, h.statusLine); err != nil {
		return err
	}
	switch {
	case h.codings > 0 && h.lengths > 0:
		return Bad("both Content-Length and Transfer-Encoding")
	case h.codings > 0 && h.Minor == 0:
		return Bad("Transfer-Encoding in HTTP/1.0")
	case h.Status == http.StatusSwitchingProtocols && (h.codings > 0 || h.lengths > 0):
		return Bad("a body in a response that switches protocols")
	case h.Status < 200 || h.Status == http.StatusNoContent:
		h.Close = h.Close || h.codings > 0 || h.Declared > 0
		h.Length = 0
	case headOnly || h.Status == http.StatusNotModified:
		h.Length = 0
	case h.codings > 0:
		h.Length = Chunked
	case h.lengths == 0:
		h.Length, h.Close = UntilClose, true
	}
	if h.Minor == 0 {
		h.Close = h.Close || !h.alive
	}
	return nil
}

// HasCoding is whether the message has a Transfer-Encoding, which the answer to HEAD may have without a body.
func (h *Head) HasCoding() bool { return h.codings > 0 }

// statusLine reads version, status and reason. The space before an empty reason may be missing: some servers leave it out.
func (h *Head) statusLine(b []byte, from, to int) error {
	line := b[from:to]
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' {
		return Bad("malformed status line")
	}
	if err := h.version(line[:8]); err != nil {
		return err
	}
	for _, c := range line[9:12] {
		if !digit(c) {
			return Bad("malformed status")
		}
		h.Status = h.Status*10 + int(c-'0')
	}
	if h.Status < 100 || len(line) > 12 && line[12] != ' ' || !IsText(line[12:]) {
		return Bad("malformed status line")
	}
	h.Reason = Span{min(from+13, to), to}
	return nil
}
