package frontdoor_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// peak is the most memory that a process had at any time, in bytes: VmHWM of proc(5).
func peak(t testing.TB, p *testkit.Process) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Pid()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if size, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(size)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// maxGrowth is how much memory an attack may cost.
const maxGrowth = 256 << 20

const maxValue = 512 << 10

func TestA04_OversizedValues(t *testing.T) {
	p := testkit.NewDev(t, nil).Spawn(t)
	put := func(path, header, body string) (int, string) {
		t.Helper()
		status, h, answer := say(t, p.Addr(), fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s", path, header, body))
		if status == 413 && h.Get("Connection") != "close" {
			t.Errorf("%s: the connection stays open", header)
		}
		return status, answer
	}
	for _, c := range []struct {
		what, header, body string
		status             int
	}{
		{"one byte too many", "Content-Length: 524289", "", 413},
		{"1 GiB", "Content-Length: 1073741824", "", 413},
		{"chunked, 1 GiB in one chunk", "Transfer-Encoding: chunked", "40000000\r\n" + strings.Repeat("x", maxValue+1), 413},
		{"chunked, small chunks", "Transfer-Encoding: chunked", strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 129), 413},
		{"negative", "Content-Length: -1", "", 400},
		{"signed", "Content-Length: +5", "hello", 400},
		{"hexadecimal", "Content-Length: 0x5", "hello", 400},
		{"beyond 64 bits", "Content-Length: 99999999999999999999", "", 400},
		{"two lengths", "Content-Length: 5\r\nContent-Length: 6", "hello!", 400},
		{"list of lengths", "Content-Length: 5, 6", "hello!", 400},
		{"unknown coding", "Transfer-Encoding: \vchunked", "5\r\nhello\r\n0\r\n\r\n", 400},
		{"not chunks", "Transfer-Encoding: chunked", "hello\r\n", 400},
		{"chunk of negative size", "Transfer-Encoding: chunked", "-5\r\nhello\r\n", 400},
	} {
		if status, answer := put("/v1/kv/bad", c.header, c.body); status != c.status {
			t.Errorf("%s: status %d %s, want %d", c.what, status, answer, c.status)
		}
	}
	// A length that is too short cuts the value; what follows is no request.
	w := open(t, p.Addr())
	fmt.Fprint(w, "PUT /v1/kv/short HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello and more\r\n\r\n")
	if status, _, _, err := w.reply("PUT"); status != 200 || err != nil {
		t.Errorf("short length: status %d, %v", status, err)
	}
	if status, _, _, err := w.reply("PUT"); status != 400 || err != nil {
		t.Errorf("what follows a short length: status %d, %v", status, err)
	}
	// One that is too long leaves nothing behind.
	w = open(t, p.Addr())
	fmt.Fprint(w, "PUT /v1/kv/bad HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nhello")
	w.Conn.(interface{ CloseWrite() error }).CloseWrite()
	if status, _, _, err := w.reply("PUT"); status != 400 || err != nil {
		t.Errorf("long length: status %d, %v", status, err)
	}
	if got := p.Do(t, "GET", "/v1/kv/bad", ""); got.Status != 404 {
		t.Errorf("a refused value was stored: %.100s", got.Body)
	}
	if got := p.Get(t, "/v1/kv/short?raw"); got.Body != "hello" {
		t.Errorf("stored %q", got.Body)
	}
	p.Put(t, "/v1/kv/full", strings.Repeat("x", maxValue))
	if got := p.Get(t, "/v1/kv/full?raw"); len(got.Body) != maxValue {
		t.Errorf("stored %d bytes", len(got.Body))
	}
}

// All connections of a client at once announce the largest body, or send it but for its last byte.
func TestA04_MemoryIsNotHeld(t *testing.T) {
	p := testkit.NewDev(t, nil).Spawn(t)
	before := peak(t, p)
	hold := func(header, body string) {
		t.Helper()
		var wait sync.WaitGroup
		conns := make([]*wire, maxConns-10)
		for i := range conns {
			conns[i] = open(t, p.Addr())
			wait.Go(func() { fmt.Fprintf(conns[i], "PUT /v1/kv/%d HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s", i, header, body) })
		}
		wait.Wait()
		p.Put(t, "/v1/kv/others", "live on")
		for _, c := range conns {
			c.Close()
		}
	}
	hold("Content-Length: 524288", "")
	announced := peak(t, p)
	if grown := announced - before; grown > 32<<20 {
		t.Errorf("announcing bodies cost %d MiB", grown>>20)
	}
	hold("Content-Length: 524288", strings.Repeat("x", maxValue-1))
	hold("Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s", maxValue, strings.Repeat("x", maxValue-1)))
	if grown := peak(t, p) - before; grown > maxGrowth {
		t.Errorf("bodies cost %d MiB", grown>>20)
	}
	p.Put(t, "/v1/kv/after", "well")
}

func TestA05_OversizedEvent(t *testing.T) {
	p := testkit.NewDev(t, nil).Spawn(t)
	before := peak(t, p)
	for what, request := range map[string]string{
		"1 GiB announced":   "Content-Length: 1073741824\r\n\r\n",
		"64 KiB and a byte": "Content-Length: 65537\r\n\r\n", // net/http would wait for so little
		"chunks":            "Transfer-Encoding: chunked\r\n\r\n40000000\r\n" + strings.Repeat("x", 1<<20),
	} {
		if status, _, body := say(t, p.Addr(), "PUT /v1/event/fire/boom HTTP/1.1\r\nHost: a\r\n"+request); status != 413 {
			t.Errorf("%s: status %d %s", what, status, body)
		}
	}
	// Who sends on regardless is cut off.
	w := open(t, p.Addr())
	fmt.Fprint(w, "PUT /v1/event/fire/boom HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n")
	sent, err := io.Copy(w, io.LimitReader(zeros{}, 1<<30))
	if err == nil || sent > 64<<20 {
		t.Errorf("%d bytes of a refused body were taken: %v", sent, err)
	}
	if grown := peak(t, p) - before; grown > 32<<20 {
		t.Errorf("refusing events cost %d MiB", grown>>20)
	}
	if got := p.Get(t, "/v1/event/list"); got.Body != "[]" {
		t.Errorf("events: %s", got.Body)
	}
	p.Put(t, "/v1/event/fire/small", "payload")
}

// keys is the inside of an object with n keys.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":"v",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func TestA06_HostileJSON(t *testing.T) {
	p := testkit.NewDev(t, nil).Spawn(t)
	before := peak(t, p)
	nest := func(open, inner, shut string) string {
		return strings.Repeat(open, 10000) + inner + strings.Repeat(shut, 10000)
	}
	op := `{"KV": {"Verb": "set", "Key": "k", "Value": "eA=="}}`
	ops := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(op+",", n), ",") + "]" }
	const register, txn, service = "/v1/catalog/register", "/v1/txn", "/v1/agent/service/register"
	for _, c := range []struct {
		what, path, body string
		status           int
	}{
		{"129 operations", txn, ops(129), 413},
		{"a long transaction", txn, ops(20000), 413},
		{"lists 10,000 deep", txn, nest("[", "", "]"), 400},
		{"objects 10,000 deep", service, `{"Name": "x", "Meta": ` + nest(`{"a":`, "1", "}") + "}", 400},
		{"10,000 deep where anything goes", service, `{"Name": "x", "Proxy": {"Config": ` + nest(`{"a":`, "1", "}") + "}}", 400},
		{"the same with lists", register, `{"Node": "x", "Address": "1.1.1.1", "Service": {"Service": "w", "Proxy": {"Config": {"a": ` + nest("[", "", "]") + "}}}}", 400},
		{"a deep session", "/v1/session/create", `{"Name": ` + nest("[", "", "]") + "}", 400},
		{"a number for text", register, `{"Node": 5, "Address": "1.1.1.1"}`, 400},
		{"text for a number", register, `{"Node": "x", "Address": "1.1.1.1", "Service": {"Service": "w", "Port": "80"}}`, 400},
		{"an object for a list", txn, `{"KV": {}}`, 400},
		{"a list for an object", register, `[]`, 400},
		{"no base64", txn, `[{"KV": {"Verb": "set", "Key": "k", "Value": "%%%"}}]`, 400},
		{"a number beyond all", txn, `[{"KV": {"Verb": "set", "Key": "k", "Flags": 1e400}}]`, 400},
		{"a broken escape", register, `{"Node": "\u12", "Address": "1.1.1.1"}`, 400},
		{"not UTF-8", register, "{\"Node\": \"\xff\xfe", 400},
		{"two documents", register, `{"Node": "x", "Address": "1.1.1.1"} {"Node": "y", "Address": "1.1.1.1"}`, 400},
		{"an unknown field", register, `{"Node": "x", "Address": "1.1.1.1", "Adress": "1.1.1.2"}`, 400},
		{"a key twice", register, `{"Node": "x", "Address": "1.1.1.1", "Node": "y"}`, 400},
		{"a key twice in an operation", txn, `[{"KV": {"Verb": "set", "Key": "k", "Key": "l"}}]`, 400},
		{"a key twice where anything goes", service, `{"Name": "x", "Proxy": {"Config": {"a": {"b": 1, "\u0062": 2}}}}`, 400},
		{"a key twice in a session", "/v1/session/create", `{"Name": "a", "Name": "b"}`, 400},
		{"50,000 keys", register, `{"Node": "x", "NodeMeta": {` + keys(50000) + `}, "Adress": ""}`, 400},
		{"1 MiB of space", register, strings.Repeat(" ", 1<<20), 400},
	} {
		if got := p.Do(t, "PUT", c.path, c.body); got.Status != c.status || got.Body == "" || len(got.Body) > 4096 {
			t.Errorf("%s: status %d, want %d: %.300s", c.what, got.Status, c.status, got.Body)
		}
	}
	if got := p.Do(t, "GET", "/v1/kv/k", ""); got.Status != 404 {
		t.Errorf("a refused transaction was applied: %s", got.Body)
	}
	if nodes := p.Get(t, "/v1/catalog/nodes?filter=Node!=n1"); nodes.Body != "[]" {
		t.Errorf("a refused registration was applied: %s", nodes.Body)
	}
	if got := p.Put(t, txn, ops(128)); !strings.Contains(got.Body, `"Errors":null`) {
		t.Errorf("128 operations: %.300s", got.Body)
	}
	if got := p.Do(t, "PUT", register, `{"Node": "first", "Address": "1.1.1.1", "Node": "last"}`); !strings.Contains(got.Body, "Node: the key is given twice") {
		t.Errorf("a key that is there twice is not named: %s", got.Body)
	}
	// Of a field that is there in two spellings the last counts.
	p.Put(t, register, `{"Node": "first", "Address": "1.1.1.1", "node": "last"}`)
	if nodes := p.Get(t, "/v1/catalog/nodes?filter=Node!=n1"); !strings.Contains(nodes.Body, `"Node":"last"`) || strings.Contains(nodes.Body, "first") {
		t.Errorf("a field in two spellings: %s", nodes.Body)
	}
	for _, filter := range []string{nest("(", "Node==a", ")"), strings.Repeat("not ", 10000) + "Node==a", nest("", "Node==a", " and Node==a")} {
		status, _, body := say(t, p.Addr(), "GET /v1/catalog/nodes?filter="+strings.ReplaceAll(filter[:min(len(filter), 60000)], " ", "+")+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if status != 500 && status != 400 {
			t.Errorf("filter of %d bytes: status %d %.200s", len(filter), status, body)
		}
	}
	if grown := peak(t, p) - before; grown > maxGrowth {
		t.Errorf("hostile JSON cost %d MiB", grown>>20)
	}
}
