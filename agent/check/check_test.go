package check_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/curia-mesh/curia/agent/check"
	"github.com/curia-mesh/curia/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A recorder remembers what was reported.
type recorder struct {
	mu  sync.Mutex
	got []report
	tap func(report) // called without lock, may be nil
}

type report struct {
	id     string
	status catalog.Status
	output string
	at     time.Time
}

func (r *recorder) Report(id string, status catalog.Status, output string) {
	got := report{id, status, output, time.Now()}
	r.mu.Lock()
	r.got = append(r.got, got)
	r.mu.Unlock()
	if r.tap != nil {
		r.tap(got)
	}
}

// take returns what was reported since it was last called.
func (r *recorder) take() []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// statuses is the statuses of reports, space between.
func statuses(reports []report) string {
	var all []string
	for _, r := range reports {
		all = append(all, string(r.status))
	}
	return strings.Join(all, " ")
}

// define returns a check named "c" with an interval of a few seconds, and a timeout that no test reaches.
func define(d catalog.CheckDefinition) *catalog.AgentCheck {
	if d.TTL == 0 && d.AliasNode == "" && d.AliasService == "" {
		d.Interval = catalog.Duration(10 * time.Second)
	}
	if d.Timeout == 0 {
		d.Timeout = catalog.Duration(30 * time.Second)
	}
	return &catalog.AgentCheck{CheckID: "c", CheckDefinition: d}
}

// A deadline is a context whose time is over when over is closed.
type deadline struct {
	context.Context
	over <-chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.over }

func (d deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// probe makes a check once and ends it. Its time is over when late is closed.
func probe(t *testing.T, def *catalog.AgentCheck, deps check.Deps, late <-chan struct{}) (catalog.Status, string) {
	t.Helper()
	deps.Reporter = &recorder{}
	r, err := check.New(def, deps)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	status, output := r.Probe(deadline{t.Context(), late})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	return status, output
}

// expect makes a check once and compares the result.
func expect(t *testing.T, def *catalog.AgentCheck, deps check.Deps, want catalog.Status, output string) {
	t.Helper()
	expectLate(t, nil, def, deps, want, output)
}

// expectLate is expect for a check whose time is over when late is closed.
func expectLate(t *testing.T, late <-chan struct{}, def *catalog.AgentCheck, deps check.Deps, want catalog.Status, output string) {
	t.Helper()
	status, got := probe(t, def, deps, late)
	if status != want || !strings.Contains(got, output) {
		t.Errorf("got %s %q, want %s with %q", status, got, want, output)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		d    catalog.CheckDefinition
		want string
	}{
		{catalog.CheckDefinition{HTTP: "127.0.0.1:80"}, "is not a URL such as"},
		{catalog.CheckDefinition{HTTP: "ftp://x/"}, "is not a URL such as"},
		{catalog.CheckDefinition{HTTP: "http://a/", Method: "G T"}, `method "G T"`},
		{catalog.CheckDefinition{TCP: "localhost"}, "host:port"},
		{catalog.CheckDefinition{UDP: "localhost:"}, "host:port"},
		{catalog.CheckDefinition{GRPC: "localhost/svc"}, "host:port"},
		{catalog.CheckDefinition{H2PING: "::1:80"}, "host:port"},
		{catalog.CheckDefinition{OSService: "--version"}, "systemd unit"},
		{catalog.CheckDefinition{DockerContainerID: "../../images", ScriptArgs: []string{"x"}}, "name or id of a container"},
		{catalog.CheckDefinition{AliasService: "web"}, "cannot follow"},
		{catalog.CheckDefinition{TCP: "a:1", OutputMaxSize: 1 << 30}, "output_max_size"},
		{catalog.CheckDefinition{}, "does nothing"},
	} {
		_, err := check.New(define(c.d), check.Deps{Reporter: &recorder{}})
		if err == nil || !strings.Contains(err.Error(), c.want) || catalog.CodeOf(err) != catalog.Invalid {
			t.Errorf("%+v: error %v, want one with %q and code invalid", c.d, err, c.want)
		}
	}
	if _, err := check.New(define(catalog.CheckDefinition{HTTP: "http://u:hunter2@%zz/"}), check.Deps{}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error of a broken URL tells the password or is missing: %v", err)
	}
}
