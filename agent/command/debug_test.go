package command

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curia-mesh/curia/agent/client"
)

// reports is an agent that answers every report, with profiles or without.
func reports(t *testing.T, profiles bool) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/debug/") && !profiles:
			w.WriteHeader(403)
		case r.URL.Path == "/v1/agent/monitor":
			io.WriteString(w, "a line\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			io.WriteString(w, `{"path":"`+r.URL.Path+`"}`)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestDebugArchive(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, errs := invoke(reports(t, true), "", "debug", "-capture=agent", "-capture=host", "-capture=cluster", "-output=dump/")
	if code != 0 || out != "Saved debug archive: dump.tar.gz\n" || errs != "" {
		t.Fatalf("got %d %s %s", code, out, errs)
	}
	f, err := os.Open("dump.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if want := []string{"dump/agent.json", "dump/host.json", "dump/index.json", "dump/members.json"}; !slices.Equal(names, want) {
		t.Errorf("the archive holds %v", names)
	}
	if _, err := os.Stat("dump"); !os.IsNotExist(err) {
		t.Error("the folder is still there")
	}
}

func TestDebugCapture(t *testing.T) {
	f := func(profiles bool, wantFailed int, want ...string) {
		t.Helper()
		api, err := client.New(client.Config{Address: reports(t, profiles)})
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		dir := t.TempDir()
		b := &bundle{c: &call{IO: IO{Err: &errs}, api: api}, dir: dir, duration: 2 * time.Second, interval: time.Second}
		b.capture(t.Context(), captures())
		for _, name := range want {
			if found, _ := filepath.Glob(filepath.Join(dir, name)); len(found) == 0 {
				t.Errorf("%s is missing", name)
			}
		}
		if len(b.failed) != wantFailed {
			t.Errorf("failed: %v", b.failed)
		}
	}
	f(false, 1, "agent.json", "consul.log", "metrics.json")
	f(true, 0, "agent.json", "consul.log", "metrics.json", "profile.prof", "trace.out", "*/heap.prof", "*/goroutine.prof")
}

// TestDebugMetrics: metrics are captured again and again until the time is over.
func TestDebugMetrics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 4 {
			cancel()
		}
		fmt.Fprintf(w, "{\n\"asked\": %d}", asked)
	}))
	defer srv.Close()
	api, err := client.New(client.Config{Address: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{c: &call{api: api}, dir: t.TempDir(), interval: time.Millisecond}
	b.metrics(ctx) // the last request may have been cut off
	got, err := os.ReadFile(filepath.Join(b.dir, "metrics.json"))
	if want := "{\"asked\":1}\n{\"asked\":2}\n{\"asked\":3}\n"; err != nil || !strings.HasPrefix(string(got), want) {
		t.Errorf("metrics: %s %v", got, err)
	}
}
