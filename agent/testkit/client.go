package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Client talks to the HTTP API of one agent. It follows no redirects and waits for as long as its context
// lets it.
type Client struct {
	// HTTP may be used for what the methods do not do.
	HTTP *http.Client
	base string
}

func newClient(t testing.TB, port int) Client {
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, MaxIdleConnsPerHost: 512, DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return Client{&http.Client{Transport: transport, CheckRedirect: refuse}, "http://" + loopback(port)}
}

// From is a client whose connections come from another address of this machine.
func (c Client) From(t testing.TB, address string) Client {
	transport := c.HTTP.Transport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	t.Cleanup(transport.CloseIdleConnections)
	return Client{&http.Client{Transport: transport, CheckRedirect: c.HTTP.CheckRedirect}, c.base}
}

// Addr is the host and port of the HTTP API.
func (c Client) Addr() string { return strings.TrimPrefix(c.base, "http://") }

// URL is the address of a path, such as /v1/status/leader.
func (c Client) URL(path string) string { return c.base + path }

// Reply is an answer, read to its end.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// Index is the value of X-Consul-Index.
func (r Reply) Index() uint64 {
	n, _ := strconv.ParseUint(r.Header.Get("X-Consul-Index"), 10, 64)
	return n
}

// JSON decodes the body.
func (r Reply) JSON(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.Body), into); err != nil {
		t.Fatalf("%v in answer %d: %.300s", err, r.Status, r.Body)
	}
}

// Want fails the test unless the status is this one.
func (r Reply) Want(t testing.TB, status int) Reply {
	t.Helper()
	if r.Status != status {
		t.Fatalf("status %d, want %d: %.500s", r.Status, status, r.Body)
	}
	return r
}

// Ask makes a request. The headers are pairs of name and value.
func (c Client) Ask(ctx context.Context, method, path, body string, headers ...string) (Reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL(path), strings.NewReader(body))
	if err != nil {
		return Reply{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return Reply{resp.StatusCode, resp.Header, string(all)}, err
}

// Do is Ask for the test's own goroutine: an error fails the test.
func (c Client) Do(t testing.TB, method, path, body string, headers ...string) Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := c.Ask(ctx, method, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Get reads what must be there.
func (c Client) Get(t testing.TB, path string) Reply {
	t.Helper()
	return c.Do(t, http.MethodGet, path, "").Want(t, http.StatusOK)
}

// Put writes what must be taken.
func (c Client) Put(t testing.TB, path, body string) Reply {
	t.Helper()
	return c.Do(t, http.MethodPut, path, body).Want(t, http.StatusOK)
}

// Until asks again with each change, by blocking queries, until the answer is as wanted.
func (c Client) Until(t testing.TB, path string, wanted func(Reply) bool) Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	index := uint64(0)
	for {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		if index > 0 {
			query.Set("index", fmt.Sprint(index))
		}
		u.RawQuery = query.Encode()
		r, err := c.Ask(ctx, http.MethodGet, u.String(), "")
		if err != nil {
			t.Fatalf("GET %s never answered as wanted: %v", path, err)
		}
		if wanted(r) {
			return r
		}
		if index = r.Index(); index == 0 {
			t.Fatalf("GET %s: status %d without an index to wait for: %.300s", path, r.Status, r.Body)
		}
	}
}

// Changed reads a path and yields the first answer that says something else, by blocking queries: an agent
// that has just started may still tell the catalog what nobody asked about.
func (c Client) Changed(t testing.TB, path string) <-chan Reply {
	t.Helper()
	first, changed := c.Get(t, path), make(chan Reply, 1)
	at, sep := first.Index(), "?"
	if strings.Contains(path, sep) {
		sep = "&"
	}
	go func() {
		defer close(changed)
		for {
			r, err := c.Ask(t.Context(), http.MethodGet, fmt.Sprint(path, sep, "wait=30s&index=", at), "")
			if err != nil || r.Index() <= at {
				t.Errorf("GET %s: status %d, index %d of more than %d: %v", path, r.Status, r.Index(), at, err)
				return
			}
			if at = r.Index(); r.Body != first.Body {
				changed <- r
				return
			}
		}
	}()
	return changed
}
