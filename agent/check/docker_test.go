package check_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

// frame is what the Docker Engine sends for output on a stream.
func frame(stream byte, text string) string {
	n := len(text)
	return string([]byte{stream, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + text
}

// engine is a Docker Engine whose containers know one command each; it returns the socket's address, what the
// command was, and a channel that is closed when the output of one that does not end (exit < 0) has been read.
func engine(t *testing.T, output string, exit int) (string, *atomic.Value, <-chan struct{}) {
	var asked atomic.Value
	read := make(chan struct{})
	var inspected atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("POST /containers/web.1/exec", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Cmd                        []string
			AttachStdout, AttachStderr bool
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !body.AttachStdout || !body.AttachStderr {
			http.Error(w, `{"message":"bad body"}`, http.StatusBadRequest)
			return
		}
		asked.Store(strings.Join(body.Cmd, "|"))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"Id":"e1"}`)
	})
	mux.HandleFunc("POST /exec/e1/start", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the server notices the end of a connection only behind the body
		fmt.Fprint(w, output)
		if exit < 0 {
			// Frames without content, far more of them than what lies between the two ends can hold.
			for range 512 {
				io.WriteString(w, strings.Repeat(frame(2, ""), 1024))
			}
			close(read)
			<-r.Context().Done()
		}
	})
	mux.HandleFunc("GET /exec/e1/json", func(w http.ResponseWriter, _ *http.Request) {
		if inspected.Add(1) == 1 { // the Engine may know of the end later than the reader of the output
			fmt.Fprint(w, `{"Running":true,"ExitCode":null}`)
			return
		}
		fmt.Fprintf(w, `{"Running":false,"ExitCode":%d}`, exit)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"No such container: db"}`, http.StatusNotFound)
	})
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(mux)
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return "unix://" + socket, &asked, read
}

func TestDocker(t *testing.T) {
	f := func(container, output string, exit int, want catalog.Status, text string) {
		t.Helper()
		host, _, read := engine(t, output, exit)
		def := define(catalog.CheckDefinition{DockerContainerID: container, ScriptArgs: []string{"true"}})
		expectLate(t, read, def, check.Deps{DockerHost: host}, want, text)
	}
	f("web.1", frame(1, "all ")+frame(2, "")+frame(2, "well"), 0, catalog.Passing, "all well")
	f("web.1", frame(2, "slow"), 1, catalog.Warning, "slow")
	f("web.1", frame(1, strings.Repeat("x", 70000)+"the end"), 137, catalog.Critical, "the end")
	f("web.1", frame(1, "working"), -1, catalog.Critical, "context deadline exceeded\nworking")
	f("web.1", "OCI runtime exec failed", 126, catalog.Critical, "is not the header of an output frame")
	f("web.1", frame(1, "cut")[:9], 0, catalog.Critical, "unexpected EOF\nc")
	f("db", "", 0, catalog.Critical, "docker exec in db: create: the Docker Engine answered 404 Not Found: No such container: db")

	host, asked, _ := engine(t, "", 0)
	expect(t, define(catalog.CheckDefinition{DockerContainerID: "web.1", Shell: "/bin/bash", ScriptArgs: []string{"check --all"}}), check.Deps{DockerHost: host}, catalog.Passing, "")
	if got := asked.Load(); got != "/bin/bash|-c|check --all" {
		t.Errorf("the container ran %q", got)
	}
	expect(t, define(catalog.CheckDefinition{DockerContainerID: "web.1", ScriptArgs: []string{"x"}}), check.Deps{DockerHost: "unix:///absent.sock"}, catalog.Critical, "no such file")
	for _, bad := range []string{"ssh://host", "127.0.0.1:2375", "unix://"} {
		_, err := check.New(define(catalog.CheckDefinition{DockerContainerID: "web.1", ScriptArgs: []string{"x"}}), check.Deps{DockerHost: bad})
		if err == nil || !strings.Contains(err.Error(), "DOCKER_HOST") {
			t.Errorf("DOCKER_HOST %q: error %v", bad, err)
		}
	}
}
