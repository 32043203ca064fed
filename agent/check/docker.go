package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/curia-mesh/curia/catalog"
)

const (
	dockerSocket    = "unix:///var/run/docker.sock"
	dockerMaxAnswer = 64 << 10              // bytes of JSON
	dockerPause     = 50 * time.Millisecond // between questions whether a command has ended
)

// containerName is what the Docker Engine allows as a name or id.
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$`)

// docker runs commands in a container through the Docker Engine API.
// Source: https://docs.docker.com/reference/api/engine/ (Exec)
type docker struct {
	client    *http.Client
	base      string // URL
	container string
	args      []string
	maxOutput int
}

// newDocker makes a check that runs a command in a container and reads its exit code as a script's. The
// Engine offers no way to kill the command: at the timeout the check is critical and the command goes on.
func newDocker(r *Runner) (probe, error) {
	if !containerName.MatchString(r.def.DockerContainerID) {
		return nil, fmt.Errorf("docker_container_id %q is not the name or id of a container", r.def.DockerContainerID)
	}
	host := r.deps.DockerHost
	if host == "" {
		host = dockerSocket
	}
	scheme, where, _ := strings.Cut(host, "://")
	network := "tcp"
	switch {
	case where == "":
		return nil, fmt.Errorf("DOCKER_HOST %q is not of the form unix:///var/run/docker.sock or tcp://127.0.0.1:2375", host)
	case scheme == "unix":
		network = "unix"
	case scheme != "tcp" && scheme != "http":
		return nil, fmt.Errorf("DOCKER_HOST %q: checks reach Docker over unix:// and tcp:// only", host)
	}
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeaderBytes,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, strings.TrimSuffix(where, "/"))
		},
	}
	r.closing = append(r.closing, transport.CloseIdleConnections)
	d := &docker{
		client: &http.Client{Transport: transport, CheckRedirect: redirects(true)},
		base:   "http://docker", container: r.def.DockerContainerID, args: command(r.def), maxOutput: r.maxOutput,
	}
	return d.probe, nil
}

func (d *docker) probe(ctx context.Context) (catalog.Status, string) {
	output, code, err := d.exec(ctx)
	if err != nil {
		return catalog.Critical, strings.TrimRight(fmt.Sprintf("docker exec in %s: %v\n%s", d.container, err, output), "\n")
	}
	return exitStatus(code), output
}

// exec runs the command and returns the end of its output and its exit code.
func (d *docker) exec(ctx context.Context) (string, int, error) {
	var made struct{ Id string }
	create := map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": d.args}
	if err := d.ask(ctx, http.MethodPost, "/containers/"+d.container+"/exec", create, &made); err != nil {
		return "", 0, fmt.Errorf("create: %w", err)
	}
	if !containerName.MatchString(made.Id) {
		return "", 0, fmt.Errorf("create: the Engine named no id of a command")
	}
	resp, err := d.send(ctx, http.MethodPost, "/exec/"+made.Id+"/start", map[string]any{"Detach": false, "Tty": false})
	if err != nil {
		return "", 0, fmt.Errorf("start: %w", err)
	}
	defer resp.Body.Close()
	output := newTail(d.maxOutput)
	if err := demultiplex(output, resp.Body); err != nil {
		return output.String(), 0, fmt.Errorf("read its output: %w", err)
	}
	for {
		var state struct {
			Running  bool
			ExitCode *int
		}
		if err := d.ask(ctx, http.MethodGet, "/exec/"+made.Id+"/json", nil, &state); err != nil {
			return output.String(), 0, fmt.Errorf("inspect: %w", err)
		}
		if !state.Running && state.ExitCode != nil {
			return output.String(), *state.ExitCode, nil
		}
		select { // the output may end, or be closed, before the command does
		case <-ctx.Done():
			return output.String(), 0, fmt.Errorf("still running: %w", ctx.Err())
		case <-time.After(dockerPause):
		}
	}
}

// ask sends a request and reads the JSON of its answer.
func (d *docker) ask(ctx context.Context, method, path string, in, out any) error {
	resp, err := d.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(io.LimitReader(resp.Body, dockerMaxAnswer)).Decode(out)
}

// send sends a request and returns an answer of status 2xx. The caller closes its body.
func (d *docker) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {UserAgent}}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // what can be read of it
		var answer struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(text, &answer) == nil && answer.Message != "" {
			text = []byte(answer.Message)
		}
		return nil, fmt.Errorf("the Docker Engine answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}

// demultiplex writes what a command without terminal wrote, to either stream, to w. Each frame is one
// byte for the stream, three zeros, and the length in four bytes.
func demultiplex(w io.Writer, r io.Reader) error {
	var header [8]byte
	for {
		if _, err := io.ReadFull(r, header[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if header[0] > 3 || header[1] != 0 || header[2] != 0 || header[3] != 0 {
			return fmt.Errorf("% x is not the header of an output frame", header)
		}
		if _, err := io.CopyN(w, r, int64(binary.BigEndian.Uint32(header[4:]))); err == io.EOF {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
	}
}
