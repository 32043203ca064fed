//go:build unix

package watch_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/config"
	"github.com/curia-mesh/curia/agent/watch"
	"github.com/curia-mesh/curia/catalog"
)

func oneNode() *shop {
	s := newShop()
	s.values["Catalog.Nodes"] = &[]*catalog.Node{}
	return s
}

func TestScripts(t *testing.T) {
	f := func(w config.Watch, wants ...string) {
		t.Helper()
		w.Type = "nodes"
		plans, log := runPlans(t, watch.Deps{}, oneNode())
		set(t, plans, w)
		line := soon(t, log)
		for _, want := range wants {
			if !strings.Contains(line, want) {
				t.Errorf("%q misses %q", line, want)
			}
		}
		if len(line) > 5000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	f(config.Watch{Args: []string{"sh", "-c", `cat; echo "$CONSUL_INDEX $CURIA_INDEX"; echo to stderr >&2`}},
		"level=DEBUG", "watch=nodes", "index=10", `output="[]\n10 10\nto stderr"`)
	f(config.Watch{Handler: `echo $((6 * 7)) && exit 3`}, "level=WARN", `err="exit status 3"`, "output=42")
	f(config.Watch{Args: []string{"/absent/program"}}, "level=WARN", "no such file")
	f(config.Watch{Args: []string{"sh", "-c", "seq 1 100000; echo the end"}}, "level=DEBUG", "the end", "99999", "bytes)")
	f(config.Watch{Args: []string{"sh", "-c", "exit 0 <&-"}}, "level=DEBUG", "output=\"\"")          // it does not read
	f(config.Watch{Args: []string{"sh", "-c", "sleep 4 & echo gone"}}, "level=DEBUG", "output=gone") // as a daemon may
}

// TestScriptEndsWithItsWatch has programs that hold a pipe open for as long as they, or their children, live.
func TestScriptEndsWithItsWatch(t *testing.T) {
	for name, text := range map[string]string{
		"child":  `exec 3>"$0"; sleep 1000 & echo up >&3; wait`,
		"deaf":   `trap '' TERM; exec 3>"$0"; echo up >&3; while :; do sleep 1000; done`,
		"polite": `exec 3>"$0"; trap 'echo bye >&3; exit 0' TERM; echo up >&3; sleep 1000 & wait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			plans, _ := runPlans(t, watch.Deps{}, oneNode())
			set(t, plans, config.Watch{Type: "nodes", Args: []string{"sh", "-c", text, pipe}})
			r, err := os.OpenFile(pipe, os.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			up := make([]byte, 3)
			if _, err := io.ReadFull(r, up); err != nil || string(up) != "up\n" {
				t.Fatal(string(up), err)
			}
			set(t, plans)
			ended := make(chan string)
			go func() {
				rest, _ := io.ReadAll(r)
				ended <- string(rest)
			}()
			if rest := soon(t, ended); (rest == "bye\n") != (name == "polite") {
				t.Fatal(rest)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	quick := config.WatchHTTPHandler{Path: "/", Method: "PUT", Header: map[string][]string{"X-Foo": {"a", "b"}, "host": {"hooks.test"}, "X-Consul-Index": {"1"}}}
	f := func(start func(http.Handler) *httptest.Server, h config.WatchHTTPHandler, answer http.HandlerFunc, wants ...string) posted {
		t.Helper()
		plans, log := runPlans(t, watch.Deps{}, oneNode())
		server, got := hook(t, start, answer)
		h.Path = server.URL + "/secret?secret=1"
		set(t, plans, config.Watch{Type: "nodes", HTTPHandler: h})
		var p posted
		if wants[0] != "x509" && h.Timeout == 0 {
			p = soon(t, got)
		}
		line := soon(t, log)
		for _, want := range wants {
			if !strings.Contains(line, want) {
				t.Errorf("%q misses %q", line, want)
			}
		}
		if strings.Contains(line, "secret") || len(line) > 5000 {
			t.Errorf("the log says %q", line)
		}
		return p
	}
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	p := f(httptest.NewServer, quick, say(200, "thanks"), "level=DEBUG", "output=thanks")
	if p.method != "PUT" || p.host != "hooks.test" || p.path != "/secret" || strings.Join(p.header["X-Foo"], " ") != "a b" || p.header.Get("X-Consul-Index") != "10" {
		t.Error(p)
	}
	f(httptest.NewServer, config.WatchHTTPHandler{}, say(500, strings.Repeat("sorry ", 10000)), "level=WARN", "500 Internal Server Error", "sorry")
	f(httptest.NewServer, config.WatchHTTPHandler{}, say(302, ""), "level=WARN", "302 Found")
	f(httptest.NewServer, config.WatchHTTPHandler{Timeout: time.Second / 4}, until(nil), "level=WARN", "deadline exceeded")
	f(httptest.NewTLSServer, config.WatchHTTPHandler{}, nil, "x509", "level=WARN")
	f(httptest.NewTLSServer, config.WatchHTTPHandler{TLSSkipVerify: true}, nil, "level=DEBUG")
}

// TestOnlyWhatIsNew has an index that moves while there is nothing new to see.
func TestOnlyWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{index: 10, values: map[string]any{}, changed: make(chan struct{})}
		plans, log := runPlans(t, watch.Deps{}, s)
		f := func(index uint64, ran int, names ...string) {
			t.Helper()
			list := []*catalog.Node{}
			for _, n := range names {
				list = append(list, &catalog.Node{Node: n})
			}
			s.set(index, "Catalog.Nodes", &list, nil)
			if index == 10 {
				set(t, plans, config.Watch{Type: "nodes", Args: []string{"true"}})
			}
			time.Sleep(time.Second)
			if n := len(log); n != ran {
				t.Fatalf("at %d it ran %d times, want %d", index, n, ran)
			}
		}
		f(10, 1, "a")
		f(11, 1, "a")
		f(12, 2, "a", "b")
		f(13, 2, "a", "b")
		f(5, 3)
	})
}
