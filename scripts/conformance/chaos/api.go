//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/curia-mesh/curia/scripts/conformance/lab"
)

// server is one server of the cluster under test, asked over HTTP from the host of the clients.
type server struct {
	host *lab.Host
	http string // "ADDRESS:PORT"
	dns  string
	raft string // as the cluster names its leader
}

// errNotSent is of requests that no server has seen.
var errNotSent = errors.New("not sent")

// answer is a response that was read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// api asks servers.
type api struct{ client *http.Client }

// newAPI asks from a host of the lab.
func newAPI(from *lab.Host) *api {
	return &api{&http.Client{Transport: &http.Transport{
		DialContext: from.Dial, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}}}
}

// do sends one request and reads the answer, whatever its status is. An error that is errNotSent tells that no server
// has seen the request; after any other one it may have been carried out.
func (a *api) do(ctx context.Context, s *server, method, path string, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.http+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.GetBody = nil // the transport must not send it a second time
	response, err := a.client.Do(request)
	if err != nil {
		if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "dial" {
			err = fmt.Errorf("%w: %w", errNotSent, err)
		}
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	return answer{response.StatusCode, response.Header, text}, err
}

// ask is do for answers that have to be good.
func (a *api) ask(ctx context.Context, s *server, method, path string, body []byte) ([]byte, error) {
	r, err := a.do(ctx, s, method, path, body)
	if err == nil && r.status != http.StatusOK {
		err = fmt.Errorf("%s %s at %s: status %d: %.200s", method, path, s.host.Name, r.status, r.body)
	}
	return r.body, err
}

// json asks and decodes the answer.
func (a *api) json(ctx context.Context, s *server, method, path string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	got, err := a.ask(ctx, s, method, path, text)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(got, into); err != nil {
		return fmt.Errorf("%s %s at %s: %w: %.200s", method, path, s.host.Name, err, got)
	}
	return nil
}

// pair is a key as /v1/kv shows it.
type pair struct {
	Key         string
	Value       string // base64
	ModifyIndex uint64
	LockIndex   uint64
	Session     string
}

func (p pair) text() string {
	b, err := base64.StdEncoding.DecodeString(p.Value)
	if err != nil {
		return "not base64: " + p.Value
	}
	return string(b)
}

// pairs reads all keys below a prefix; none is no error.
func (a *api) pairs(ctx context.Context, s *server, prefix, mode string) ([]pair, error) {
	path := "/v1/kv/" + prefix + "?recurse"
	if mode != "" {
		path += "&" + mode
	}
	r, err := a.do(ctx, s, "GET", path, nil)
	if err != nil || r.status == http.StatusNotFound {
		return nil, err
	}
	if r.status != http.StatusOK {
		return nil, fmt.Errorf("read %s at %s: status %d: %.200s", prefix, s.host.Name, r.status, strings.TrimSpace(string(r.body)))
	}
	var all []pair
	if err := json.Unmarshal(r.body, &all); err != nil {
		return nil, fmt.Errorf("read %s at %s: %w", prefix, s.host.Name, err)
	}
	return all, nil
}
