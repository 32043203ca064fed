package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	maxErrorBody = 4 << 10
	defaultWait  = 5 * time.Minute
	maxWait      = 10 * time.Minute
)

// Client asks one agent. It is safe for use by several goroutines.
type Client struct {
	cfg    Config
	base   *url.URL
	socket string
	http   *http.Client
}

// New makes a client. It reads the token and certificate files that cfg names and connects to nothing.
func New(cfg Config) (*Client, error) {
	base, socket, err := parseAddress(cfg.Address, cfg.HTTPS)
	if err != nil {
		return nil, err
	}
	tr, err := transport(socket, cfg.TLS)
	if err != nil {
		return nil, err
	}
	if cfg.TokenFile != "" {
		b, err := readFile(cfg.TokenFile, maxTokenFile)
		if err != nil {
			return nil, fmt.Errorf("token file: %w", err)
		}
		token := strings.TrimSpace(string(b))
		if token == "" {
			return nil, fmt.Errorf("token file %s is empty", cfg.TokenFile)
		}
		cfg.Token = token
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	// A redirect would carry the token to wherever it points, so none is followed.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{cfg: cfg, base: base, socket: socket, http: &http.Client{Transport: tr, CheckRedirect: stay}}, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Address is where the agent is, for messages.
func (c *Client) Address() string {
	if c.socket != "" {
		return "unix://" + c.socket
	}
	return c.base.String()
}

// Do makes one request and reads its JSON answer into out. The path begins with /v1 and is escaped (see
// Path). in is nil, an io.Reader, []byte or a value that becomes JSON; out is nil, *[]byte for the bytes
// themselves, or a pointer to decode into.
func (c *Client) Do(ctx context.Context, method, path string, q Query, in, out any) (Meta, error) {
	limit := c.cfg.Timeout
	if q.blocks() {
		wait := q.Wait
		if wait <= 0 {
			wait = defaultWait
		}
		wait = min(wait, maxWait)
		limit += wait + wait/16 // an agent adds up to a sixteenth
	}
	late := fmt.Errorf("no answer within %s", limit.Round(time.Millisecond))
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	resp, err := c.send(ctx, method, path, q, in)
	if err != nil {
		return Meta{}, err
	}
	defer resp.Body.Close()
	meta := metaOf(resp.Header)
	if err := decode(http.MaxBytesReader(nil, resp.Body, c.cfg.MaxBody), out); err != nil {
		return meta, c.failed(ctx, method, path, fmt.Errorf("read the answer: %w", err))
	}
	return meta, nil
}

// Stream is a request whose body or answer is too long, or too slow, to be held in memory.
type Stream struct {
	Method string
	Path   string
	Query  Query
	Body   io.Reader
	Size   int64 // of Body, 0 when unknown
	// Idle is how long no byte may move before the request fails; 0 sets no limit once the answer began.
	Idle time.Duration
}

// Open makes a request whose answer is read as it comes; the caller closes it.
func (c *Client) Open(ctx context.Context, s Stream) (io.ReadCloser, Meta, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit := max(s.Idle, c.cfg.Timeout)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("nothing received for %s", limit)) })
	answer := &body{timer: timer, idle: s.Idle, cancel: func() { timer.Stop(); cancel(nil) }}
	var upload any
	if s.Body != nil {
		upload = &body{ReadCloser: io.NopCloser(s.Body), timer: timer, idle: limit, cancel: func() {}, size: s.Size}
	}
	resp, err := c.send(ctx, s.Method, s.Path, s.Query, upload)
	if err != nil {
		answer.cancel()
		return nil, Meta{}, err
	}
	answer.ReadCloser = resp.Body
	answer.fail = func(err error) error { return c.failed(ctx, s.Method, s.Path, err) }
	if s.Idle == 0 {
		timer.Stop()
	}
	return answer, metaOf(resp.Header), nil
}

// body resets a timer whenever bytes move.
type body struct {
	io.ReadCloser
	timer  *time.Timer
	idle   time.Duration
	cancel func()
	fail   func(error) error
	size   int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.idle > 0 && n > 0 {
		b.timer.Reset(b.idle)
	}
	if err != nil && err != io.EOF && b.fail != nil {
		err = b.fail(err)
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}

// send makes the request and turns an answer that is no success into an *Error.
func (c *Client) send(ctx context.Context, method, path string, q Query, in any) (*http.Response, error) {
	payload, err := encode(in)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	u := *c.base
	u.RawPath = u.EscapedPath() + path
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	u.RawQuery = c.values(q).Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), payload)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	c.head(req, q)
	switch in := in.(type) {
	case nil, io.Reader, []byte:
		if b, ok := in.(*body); ok && b.size > 0 {
			req.ContentLength = b.size
		}
	default:
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, method, path, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	said := strings.TrimSpace(string(text))
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode < 400 {
		said = "the agent's address answers with a redirect to " + to
	}
	return nil, &Error{Method: method, Path: path, Status: resp.StatusCode, Body: said, Meta: metaOf(resp.Header)}
}

func (c *Client) values(q Query) url.Values {
	if q.Datacenter == "" {
		q.Datacenter = c.cfg.Datacenter
	}
	v := q.values()
	if c.cfg.Namespace != "" && !v.Has("ns") {
		v.Set("ns", c.cfg.Namespace)
	}
	if c.cfg.Partition != "" && !v.Has("partition") {
		v.Set("partition", c.cfg.Partition)
	}
	return v
}

func (c *Client) head(req *http.Request, q Query) {
	token := c.cfg.Token
	if q.Token != "" {
		token = q.Token
	}
	if token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	if c.cfg.BasicAuth != "" {
		user, password, _ := strings.Cut(c.cfg.BasicAuth, ":")
		req.SetBasicAuth(user, password)
	}
}

// failed says which agent could not be asked, and why.
func (c *Client) failed(ctx context.Context, method, path string, err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s %s at %s: %w", method, path, c.Address(), err)
}

func encode(in any) (io.Reader, error) {
	switch in := in.(type) {
	case nil:
		return nil, nil
	case io.Reader:
		return in, nil
	case []byte:
		return bytes.NewReader(in), nil
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(b), nil
}

func decode(r io.Reader, out any) error {
	switch out := out.(type) {
	case nil:
		_, err := io.Copy(io.Discard, r)
		return err
	case *[]byte:
		b, err := io.ReadAll(r)
		*out = b
		return err
	}
	dec := json.NewDecoder(r)
	if err := dec.Decode(out); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // so that the connection can be used again
	return err
}

// Path joins the parts of a path below /v1, each escaped.
func Path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// keyPath is the path of a key, whose slashes stay.
func keyPath(key string) string {
	parts := strings.Split(strings.TrimPrefix(key, "/"), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/v1/kv/" + strings.Join(parts, "/")
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}
