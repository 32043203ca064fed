package http2

import "hash/maphash"

// tableSize is the most that a dynamic table of ours holds, by the measure of RFC 7541, 4.1.
const tableSize = 4096

// entrySize is what an entry takes beside its bytes.
const entrySize = 32

// maxEntries is how many entries a table may have, rounded up to a power of two.
const maxEntries = tableSize / entrySize

// table is a dynamic table. It takes no memory once it has been in use.
type table struct {
	entries [maxEntries]entry // by sequence number
	next, n uint32            // of the entry that comes, and how many there are
	bytes   []byte            // of all entries, one behind the other
	size    int
	max     int
}

// entry is a field in bytes.
type entry struct{ from, mid, to int }

func (t *table) at(seq uint32) *entry { return &t.entries[seq%maxEntries] }

// get is the entry at a place, of which 1 is the newest.
func (t *table) get(place uint32) (name, value []byte, ok bool) {
	if place == 0 || place > t.n {
		return nil, nil, false
	}
	e := t.at(t.next - place)
	return t.bytes[e.from:e.mid], t.bytes[e.mid:e.to], true
}

// resize changes how much the table may hold.
func (t *table) resize(max int) {
	t.max = max
	t.evict(0)
}

// evict makes room for n bytes.
func (t *table) evict(n int) {
	for t.n > 0 && t.size+n > t.max {
		e := t.at(t.next - t.n)
		t.size -= e.to - e.from + entrySize
		t.n--
	}
}

// add adds an entry, whose bytes are not the table's own. It reports whether there was room for it.
func (t *table) add(name, value []byte) bool {
	n := len(name) + len(value)
	t.evict(n + entrySize)
	if n+entrySize > t.max {
		return false
	}
	if len(t.bytes)+n > 2*tableSize {
		t.compact()
	}
	from := len(t.bytes)
	t.bytes = append(append(t.bytes, name...), value...)
	*t.at(t.next) = entry{from, from + len(name), from + n}
	t.next++
	t.n++
	t.size += n + entrySize
	return true
}

// compact moves the bytes of all entries to the front.
func (t *table) compact() {
	if t.n == 0 {
		t.bytes = t.bytes[:0]
		return
	}
	off := t.at(t.next - t.n).from
	t.bytes = t.bytes[:copy(t.bytes, t.bytes[off:])]
	for i := uint32(1); i <= t.n; i++ {
		e := t.at(t.next - i)
		e.from, e.mid, e.to = e.from-off, e.mid-off, e.to-off
	}
}

// static is the table that both sides know.
// Source: RFC 7541, appendix A
var static = [...][2]string{
	{":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"}, {":scheme", "http"},
	{":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"}, {":status", "304"}, {":status", "400"},
	{":status", "404"}, {":status", "500"}, {"accept-charset", ""}, {"accept-encoding", "gzip, deflate"}, {"accept-language", ""},
	{"accept-ranges", ""}, {"accept", ""}, {"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""},
	{"cache-control", ""}, {"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
	{"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""}, {"expect", ""},
	{"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""}, {"if-none-match", ""}, {"if-range", ""},
	{"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""}, {"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""},
	{"proxy-authorization", ""}, {"range", ""}, {"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
	{"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""}, {"www-authenticate", ""},
}

var (
	staticBytes [len(static)][2][]byte
	staticNames = map[string]int{}    // the first place of each name
	staticPairs = map[[2]string]int{} // the place of each field
	hashSeed    = maphash.MakeSeed()
)

func init() {
	for i := len(static) - 1; i >= 0; i-- {
		s := static[i]
		staticBytes[i] = [2][]byte{[]byte(s[0]), []byte(s[1])}
		staticNames[s[0]] = i + 1
		staticPairs[s] = i + 1
	}
}
