package frontdoor_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// watched is a watch of each type: what it takes beside the type.
var watched = map[string]testkit.Settings{
	"key":           {"key": "watched/key"},
	"keyprefix":     {"prefix": "watched/"},
	"services":      {},
	"nodes":         {},
	"service":       {"service": "web"},
	"checks":        {"state": "any"},
	"event":         {"name": "deploy"},
	"connect_roots": {},
	"connect_leaf":  {"service": "web"},
	"agent_service": {"service_id": "web"},
}

// inbox is an HTTP handler of watches that keeps what it gets.
type inbox struct {
	mu      sync.Mutex
	got     map[string][]string // by path
	changed chan struct{}
}

func (b *inbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body) // half a body is not what is wanted
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[r.URL.Path] = append(b.got[r.URL.Path], string(text))
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *inbox) look(path, text string) (bool, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.got[path], func(body string) bool { return strings.Contains(body, text) }), b.changed
}

// wait waits until something with a text has come to a path.
func (b *inbox) wait(ctx context.Context, t *testing.T, path, text string) {
	t.Helper()
	for {
		found, changed := b.look(path, text)
		if found {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Fatalf("%s: want %q, got %.2000q", path, text, b.got[path])
		}
	}
}

// saves is a script handler that writes what it gets under a key.
func saves(c testkit.Client, key string) []string {
	return []string{testkit.Program(), "kv", "put", "-http-addr=" + c.Addr(), key, "-"}
}

func saved(t *testing.T, c testkit.Client, key, text string) {
	t.Helper()
	c.Until(t, "/v1/kv/"+key+"?raw", func(r testkit.Reply) bool { return strings.Contains(r.Body, text) })
}

// TestWatchesOfEachType: a watch of each type, of the configuration and of the command line, gives what is there
// at first and what changes to scripts and to URLs.
func TestWatchesOfEachType(t *testing.T) {
	box := &inbox{got: map[string][]string{}, changed: make(chan struct{})}
	hook := httptest.NewServer(box)
	defer hook.Close()
	n := testkit.New(t, testkit.Settings{"log_level": "info"})
	types := slices.Sorted(maps.Keys(watched))
	var watches []testkit.Settings
	for _, typ := range types {
		script, post := maps.Clone(watched[typ]), maps.Clone(watched[typ])
		script["type"], script["args"] = typ, saves(n.Client, "scripts/"+typ)
		post["type"], post["handler_type"] = typ, "http"
		post["http_handler_config"] = testkit.Settings{"path": hook.URL + "/config/" + typ}
		watches = append(watches, script, post)
	}
	n.Configure(t, testkit.Settings{"watches": watches})
	p := n.Spawn(t)
	rootsOf(t, p.Client)
	p.Put(t, "/v1/agent/service/register", `{"Name": "web"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for i, typ := range types {
		args := []string{"watch", "-http-addr=" + n.Addr(), "-type=" + typ}
		for option, value := range watched[typ] {
			args = append(args, fmt.Sprintf("-%s=%s", strings.ReplaceAll(option, "_", "-"), value))
		}
		if out, code := n.Run(t, args...); code != 0 {
			t.Errorf("watch of type %s: exit code %d: %s", typ, code, out)
		}
		begin(ctx, t, append(args, hook.URL+"/cli/"+typ)...)
		if i%3 == 0 { // the handler is the same code whatever the type
			begin(ctx, t, append(append(args, "-shell=false"), saves(n.Client, "cli/"+typ)...)...)
		}
	}
	for typ, first := range map[string]string{"key": "null", "keyprefix": "[]", "services": "consul", "nodes": "n1"} {
		box.wait(ctx, t, "/config/"+typ, first)
		box.wait(ctx, t, "/cli/"+typ, first)
	}
	for typ, text := range touch(t, p.Client) {
		box.wait(ctx, t, "/config/"+typ, text)
		box.wait(ctx, t, "/cli/"+typ, text)
		saved(t, p.Client, "scripts/"+typ, text)
		if slices.Index(types, typ)%3 == 0 {
			saved(t, p.Client, "cli/"+typ, text)
		}
	}
}

// begin runs the program until ctx ends.
func begin(ctx context.Context, t *testing.T, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, testkit.Program(), args...)
	cmd.Env = testkit.Environment()
	if err := cmd.Start(); err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
	})
}

// touch changes what each watch looks at, and returns what must be in the view then.
func touch(t *testing.T, c testkit.Client) map[string]string {
	t.Helper()
	before := leafOf(t, c, "web")
	c.Put(t, "/v1/kv/watched/key", "touched")
	c.Put(t, "/v1/agent/service/register", `{"Name": "web", "Tags": ["touched"]}`)
	c.Put(t, "/v1/agent/check/register", `{"Name": "touched", "TTL": "1h"}`)
	c.Put(t, "/v1/catalog/register", `{"Node": "touched", "Address": "10.0.0.1"}`)
	c.Put(t, "/v1/event/fire/deploy", "touched")
	c.Put(t, "/v1/connect/ca/configuration", `{"Provider": "consul", "Config": {"PrivateKeyBits": 384}}`)
	root := rootsOf(t, c).ActiveRootID
	c.Until(t, "/v1/agent/connect/ca/leaf/web", func(r testkit.Reply) bool { return !strings.Contains(r.Body, before.SerialNumber) })
	leaf := leafOf(t, c, "web")
	const encoded = "dG91Y2hlZA==" // touched
	return map[string]string{
		"key": encoded, "keyprefix": encoded, "event": encoded, "connect_roots": root, "connect_leaf": leaf.SerialNumber,
		"services": "touched", "nodes": "touched", "service": "touched", "checks": "touched", "agent_service": "touched",
	}
}
