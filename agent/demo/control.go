package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/curia-mesh/curia/rpc/socket"
)

// Summary says what runs.
type Summary struct {
	Dir       string
	Temporary bool
	Secure    bool
	// TokenFile holds the management token of a secured demo.
	TokenFile string `json:",omitempty"`
	// AgentsReady is how many seconds it took until all agents were ready, FirstCalls until web had reached api through the
	// mesh in every datacenter, and FirstFarCalls until it had from each datacenter to the next one, if there are several.
	AgentsReady, FirstCalls float64
	FirstFarCalls           float64 `json:",omitempty"`
	Agents                  []AgentSummary
	Services                []ServiceSummary
}

// AgentSummary says where an agent is.
type AgentSummary struct {
	Name, Datacenter, Kind string
	HTTP, DNS              string
	Pid                    int
	Log                    string
}

// ServiceSummary says where the service web of a datacenter is.
type ServiceSummary struct{ Datacenter, URL string }

func (d *Demo) summary() *Summary {
	s := &Summary{Dir: d.Dir, Temporary: d.temporary, Secure: d.Secure, TokenFile: d.tokenFile()}
	for _, a := range d.Agents {
		kind := "client"
		if a.Server {
			kind = "server"
		}
		s.Agents = append(s.Agents, AgentSummary{
			Name: a.Name, Datacenter: a.Datacenter, Kind: kind, HTTP: "http://" + a.address(httpPort), DNS: a.address(dnsPort), Pid: d.process(a).cmd.Process.Pid, Log: a.log(),
		})
	}
	for _, f := range d.mesh.flows {
		s.Services = append(s.Services, ServiceSummary{f.now.Datacenter, f.url})
	}
	return s
}

// temporaryPrefix begins the names of directories that are removed at the end.
const temporaryPrefix = "curia-demo-"

// controlSocket in a demo's directory takes what the other commands want. A path of more than maxSocketPath is none on some
// systems.
const (
	controlSocket = "sock"
	maxSocketPath = 103
)

// listenControl opens the socket of a directory that no other demo has.
func listenControl(dir string) (net.Listener, error) {
	path := filepath.Join(dir, controlSocket)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path %s is longer than the %d bytes that a socket may have: take a shorter -data-dir", path, maxSocketPath)
	}
	if running(path) {
		return nil, fmt.Errorf("a demo runs already in %s", dir)
	}
	return socket.Private(path)
}

// state is what the socket tells.
type state struct {
	*Summary
	Traffic []Flow
}

// control answers at the socket until ctx ends.
func (d *Demo) control(ctx context.Context, socket net.Listener, s *Summary) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(state{s, d.mesh.stats()}) // who asked may have gone
	})
	mux.HandleFunc("POST /chaos", func(w http.ResponseWriter, r *http.Request) {
		if !d.chaos.TryLock() {
			http.Error(w, "somebody breaks things already", http.StatusConflict)
			return
		}
		defer d.chaos.Unlock()
		say := func(format string, args ...any) {
			fmt.Fprintf(w, format+"\n", args...)
			_ = http.NewResponseController(w).Flush()
		}
		both, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		watch, err := time.ParseDuration(r.FormValue("watch"))
		if err != nil || watch <= 0 || watch > maxWatch {
			http.Error(w, fmt.Sprintf("the traffic cannot be watched for %q: want more than 0 and at most %v", r.FormValue("watch"), maxWatch), http.StatusBadRequest)
			return
		}
		if err := (&havoc{d, say, watch}).run(both); err != nil {
			say("%s%v", chaosError, err)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		if err := server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	all.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return all.Wait()
}

// chaosError begins the last line of chaos that did not go on.
const chaosError = "Error: "

// Find returns the directory of the one demo of this user that runs in a temporary directory.
func Find() (string, error) {
	all, err := filepath.Glob(filepath.Join(os.TempDir(), temporaryPrefix+"*", controlSocket))
	if err != nil {
		return "", err
	}
	var found []string
	for _, path := range all {
		if dir := filepath.Dir(path); own(dir) && running(path) {
			found = append(found, dir)
		}
	}
	switch len(found) {
	case 0:
		return "", errors.New("no demo runs in a temporary directory: start one with curia demo, or say where with -data-dir")
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d demos run: choose one with -data-dir, of %q", len(found), found)
}

func running(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Status returns what the demo in a directory says of itself: a Summary, and its traffic.
func Status(ctx context.Context, dir string) (s *Summary, traffic []Flow, err error) {
	body, err := askControl(ctx, dir, http.MethodGet, "status")
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	st := state{Summary: &Summary{}}
	err = json.NewDecoder(body).Decode(&st)
	return st.Summary, st.Traffic, err
}

// Chaos has the demo in a directory break and heal itself, and passes on what it says. The traffic is watched for some time
// after each thing that is broken.
func Chaos(ctx context.Context, dir string, watch time.Duration, say func(line string)) error {
	body, err := askControl(ctx, dir, http.MethodPost, "chaos?watch="+watch.String())
	if err != nil {
		return err
	}
	defer body.Close()
	return relay(body, say)
}

func askControl(ctx context.Context, dir, method, path string) (io.ReadCloser, error) {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, controlSocket))
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://demo/"+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("no demo runs in %s: %w", dir, err)
	}
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
		r.Body.Close()
		return nil, fmt.Errorf("the demo in %s: %s", dir, bytes.TrimSpace(text))
	}
	return r.Body, nil
}
