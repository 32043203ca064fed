package command

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// locks is an agent with one lock that is free until somebody takes it, and lost when lost is closed.
func locks(t *testing.T, lost chan struct{}) string {
	held := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("X-Consul-Index", "7")
		switch {
		case r.URL.Path == "/v1/session/create":
			io.WriteString(w, `{"ID":"s1"}`)
		case r.Method == "PUT" && q.Has("acquire"):
			held = "s1"
			io.WriteString(w, "true")
		case r.Method == "PUT" && q.Has("release"):
			held = ""
			io.WriteString(w, "true")
		case r.Method == "GET" && q.Has("index"):
			select {
			case <-lost:
				w.WriteHeader(404)
			case <-r.Context().Done():
			}
		case r.Method == "GET" && held == "":
			w.WriteHeader(404)
		case r.Method == "GET":
			fmt.Fprintf(w, `[{"Key":"l/.lock","Session":%q,"Flags":%d}]`, held, uint64(0x2ddccbc058a50c18))
		default:
			io.WriteString(w, "true")
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestLock(t *testing.T) {
	f := func(wantCode int, wantOut, says string, args ...string) {
		t.Helper()
		code, out, errs := invoke(locks(t, nil), "given\n", append([]string{"lock"}, args...)...)
		if code != wantCode || out != wantOut || !strings.Contains(errs, says) || says == "" && errs != "" {
			t.Errorf("%q: got %d, %q, %q", args, code, out, errs)
		}
	}
	f(0, "locked\n", "", "l", "echo locked")
	f(0, "", "exit status 3", "l", "exit 3")
	f(2, "", "exit status 3", "-child-exit-code", "l", "exit 3")
	f(0, "a  b\n", "", "-shell=false", "l", "echo", "a  b")
	f(0, "given\n", "", "-pass-stdin", "l", "cat")
	f(0, "", "", "l", "cat")
	f(1, "", "no-such-program", "-shell=false", "l", "no-such-program")
	f(0, "x\n", "Lock acquired", "-verbose", "l", "echo x")
}

func TestLockLost(t *testing.T) {
	lost := make(chan struct{})
	out := &trigger{word: "started", then: func() { close(lost) }}
	var errs bytes.Buffer
	env := map[string]string{"CURIA_HTTP_ADDR": locks(t, lost)}
	start := time.Now()
	// The grandchild keeps the output open, so that only the end of the whole group ends the command.
	code := Run([]string{"lock", "-monitor-retry=0", "l", "sleep 60 & echo started; wait"}, IO{Out: out, Err: &errs, Getenv: func(k string) string { return env[k] }})
	if code != 1 || !strings.Contains(errs.String(), "lock was lost") || time.Since(start) >= grace {
		t.Errorf("got %d after %s: %s", code, time.Since(start), errs.String())
	}
}

func TestLockInHurry(t *testing.T) {
	signals := make(chan os.Signal, 2)
	out := &trigger{word: "started", then: func() { signals <- os.Interrupt; signals <- os.Interrupt }}
	env := map[string]string{"CURIA_HTTP_ADDR": locks(t, nil)}
	start := time.Now()
	code := Run([]string{"lock", "l", "trap '' TERM; echo started; sleep 60"}, IO{Out: out, Err: io.Discard, Getenv: func(k string) string { return env[k] }, Signals: signals})
	if code != 1 || time.Since(start) >= grace {
		t.Errorf("got %d after %s", code, time.Since(start))
	}
}

// trigger calls then when word is written.
type trigger struct {
	all  bytes.Buffer
	word string
	then func()
}

func (t *trigger) Write(p []byte) (int, error) {
	n, err := t.all.Write(p)
	if t.then != nil && strings.Contains(t.all.String(), t.word) {
		t.then()
		t.then = nil
	}
	return n, err
}

func TestWatchHandlers(t *testing.T) {
	signals := make(chan os.Signal, 1)
	interrupt := func() { signals <- os.Interrupt }
	run := func(out io.Writer, handler string) {
		t.Helper()
		agent := changes(`[{"Key":"k","Value":"MQ=="}]`, `[{"Key":"k","Value":"Mg=="}]`)
		defer agent.Close()
		var errs bytes.Buffer
		code := Run([]string{"watch", "-http-addr=" + agent.URL, "-type=key", "-key=k", handler},
			IO{Out: out, Err: &errs, Getenv: func(string) string { return "" }, Signals: signals})
		if code != 0 || errs.Len() > 0 {
			t.Errorf("%s: exit code %d: %s", handler, code, errs.String())
		}
	}
	out := &trigger{word: "Mg==", then: interrupt}
	run(out, `echo "index $CONSUL_INDEX"; cat`)
	lines := strings.Split(out.all.String(), "\n")
	if len(lines) != 5 || lines[0] != "index 4" || !strings.Contains(lines[1], `"Value":"MQ=="`) || lines[2] != "index 5" {
		t.Errorf("the handler was given %q", lines)
	}
	var got []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.Header.Get("X-Consul-Index")+" "+string(b))
		if len(got) == 2 {
			interrupt()
		}
	}))
	defer hook.Close()
	run(io.Discard, hook.URL)
	if len(got) != 2 || !strings.HasPrefix(got[1], `POST 5 {"LockIndex":0,"Key":"k"`) {
		t.Errorf("the hook was given %q", got)
	}
}

// changes is an agent that answers with one value after the other, and then blocks.
func changes(values ...string) *httptest.Server {
	asked := 0
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked >= len(values) {
			<-r.Context().Done()
			return
		}
		w.Header().Set("X-Consul-Index", fmt.Sprint(asked+4))
		io.WriteString(w, values[asked])
		asked++
	}))
}

func TestExec(t *testing.T) {
	stored := map[string]string{}
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.URL.Path == "/v1/session/create":
			stored["session"] = string(body)
			io.WriteString(w, `{"ID":"s1"}`)
		case r.URL.Path == "/v1/kv/_rexec/s1/job" && r.URL.Query().Get("acquire") == "s1":
			stored["job"] = string(body)
			io.WriteString(w, "true")
		case r.URL.Path == "/v1/event/fire/_rexec":
			stored["event"] = r.URL.RawQuery + " " + string(body)
			io.WriteString(w, `{"ID":"e"}`)
		case r.Method == "GET" && r.URL.Query().Has("index"):
			<-time.After(10 * time.Millisecond)
			fallthrough
		case r.Method == "GET":
			w.Header().Set("X-Consul-Index", "4")
			io.WriteString(w, `[{"Key":"_rexec/s1/job"},{"Key":"_rexec/s1/n1/ack"},{"Key":"_rexec/s1/n1/out/00000","Value":"YQobWzJKYgo="},{"Key":"_rexec/s1/n1/exit","Value":"Mw=="}]`)
		case r.URL.Path == "/v1/session/destroy/s1", r.Method == "DELETE" && r.URL.RequestURI() == "/v1/kv/_rexec/s1/?recurse=":
			stored["cleaned"] += r.Method
			io.WriteString(w, "true")
		default:
			t.Errorf("asked %s %s", r.Method, r.RequestURI)
		}
	}))
	defer agent.Close()
	code, out, errs := invoke(agent.URL, "", "exec", "-wait=50ms", "-wait-repl=1ms", "-node=n", "hostname", "-f")
	want := "    n1: a\n    n1: [2Jb\n==> n1: finished with exit code 3\n1 / 1 node(s) completed / acknowledged\n"
	if code != 2 || out != want || errs != "" {
		t.Errorf("got %d, %q, %q", code, out, errs)
	}
	if stored["job"] != `{"Command":"hostname -f","Wait":50000000}` || stored["cleaned"] != "PUTDELETE" ||
		stored["event"] != `node=n {"Prefix":"_rexec","Session":"s1"}` || stored["session"] != `{"Name":"Remote Exec","TTL":"15s","Behavior":"delete"}` {
		t.Errorf("stored %q", stored)
	}
}
