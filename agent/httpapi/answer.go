package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/curia-mesh/curia/rpc"
)

const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
)

// Header keys in their canonical form, so that setting them costs no conversion.
const (
	headerIndex       = "X-Consul-Index"
	headerLeader      = "X-Consul-Knownleader"
	headerContact     = "X-Consul-Lastcontact"
	headerEffective   = "X-Consul-Effective-Consistency"
	headerBackend     = "X-Consul-Query-Backend"
	headerFiltered    = "X-Consul-Results-Filtered-By-Acls"
	headerPolicy      = "X-Consul-Default-Acl-Policy"
	headerReason      = "X-Consul-Reason"
	headerContentHash = "X-Consul-Contenthash"
	headerCache       = "X-Cache"
)

// Values that never change are shared: a header's value is a slice.
var (
	valueTrue     = []string{"true"}
	valueFalse    = []string{"false"}
	valueZero     = []string{"0"}
	valueFirst    = []string{"1"} // the lowest index
	valueBlocking = []string{"blocking-query"}
	valueJSON     = []string{typeJSON}
	valueHit      = []string{"HIT"}
	valueMiss     = []string{"MISS"}
	valueRetry    = []string{"1"} // seconds
	effective     = map[rpc.Consistency][]string{rpc.Default: {"leader"}, rpc.Consistent: {"consistent"}, rpc.Stale: {"stale"}}
)

// meta writes what is known about an answer into its header.
func (c *call) meta(m rpc.Meta) {
	h := c.w.Header()
	h[headerIndex] = []string{strconv.FormatUint(max(m.Index, 1), 10)}
	c.contact(m)
	h[headerBackend] = valueBlocking
	if c.route.Effective {
		h[headerEffective] = effective[m.Consistency]
	}
	c.filtered(m.Filtered)
}

// contact writes what is known about the leader into the answer's header.
func (c *call) contact(m rpc.Meta) {
	h := c.w.Header()
	h[headerLeader] = valueFalse
	if m.KnownLeader {
		h[headerLeader] = valueTrue
	}
	h[headerContact] = valueZero
	if m.LastContact > 0 {
		h[headerContact] = []string{strconv.FormatInt(int64(m.LastContact/time.Millisecond), 10)}
	}
}

// answer writes a server's answer. Its encoding is shared with all who asked the same.
func (c *call) answer(a rpc.Answer) error {
	c.meta(a.Meta)
	if v, other := c.translated(a.Value()); other {
		return c.json(v)
	}
	body, err := a.JSON(encodeJSON)
	if err != nil {
		return err
	}
	return c.raw(http.StatusOK, body)
}

// json writes a value as the answer.
func (c *call) json(v any) error { return c.jsonWith(http.StatusOK, v) }

func (c *call) jsonWith(status int, v any) error {
	body, err := encodeJSON(v)
	if err != nil {
		return err
	}
	return c.raw(status, body)
}

// raw writes a body that is JSON already.
func (c *call) raw(status int, body []byte) error {
	c.w.Header()["Content-Type"] = valueJSON
	if c.pretty && indented(body) <= 4*len(body)+prettyRoom {
		var b bytes.Buffer
		if err := json.Indent(&b, body, "", indent); err != nil {
			return err
		}
		b.WriteByte('\n')
		body = b.Bytes()
	}
	c.write(status, body)
	return nil
}

// indent is what pretty answers are indented with, for each level.
const indent = "    "

// prettyRoom is how much longer than four times as long, in bytes, indenting may make an answer; else it stays as
// it is. What lies deep would become two hundred times as long.
const prettyRoom = 1 << 20

// indented is about how many bytes JSON has when it is indented.
func indented(body []byte) int {
	size, depth, text := len(body), 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			depth++
			size += 1 + depth*len(indent)
		case c == '}' || c == ']':
			depth--
			size += 1 + depth*len(indent)
		case c == ',':
			size += 1 + depth*len(indent)
		case c == ':':
			size++
		}
	}
	return size
}

// done answers a request that has nothing to tell.
func (c *call) done() error {
	c.w.Header()["Content-Type"] = valueJSON
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// text writes plain text.
func (c *call) text(status int, kind, body string) error {
	c.w.Header().Set("Content-Type", kind)
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	c.write(status, []byte(body))
	return nil
}

// absent answers that there is nothing there, without a body.
func (c *call) absent() error {
	c.w.WriteHeader(http.StatusNotFound)
	return nil
}

func (c *call) write(status int, body []byte) {
	if status != http.StatusNotModified && c.r.Method != http.MethodHead {
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))} // else a long answer is chunked
	}
	c.w.WriteHeader(status)
	c.w.Write(body) // the client may be gone: nobody is left to tell
}
