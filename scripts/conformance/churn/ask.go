//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ask calls an agent, and fails unless the answer is 200.
func (m *mesh) ask(ctx context.Context, method string, a *agent, path string, body any) ([]byte, error) {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+a.http+path, &b)
	if err != nil {
		return nil, err
	}
	w, err := m.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err == nil && w.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %s", method, path, w.StatusCode, text)
	}
	return text, err
}

func (m *mesh) put(ctx context.Context, a *agent, path string, body any) error {
	_, err := m.ask(ctx, "PUT", a, path, body)
	return err
}

// get reads what an agent answers.
func (m *mesh) get(ctx context.Context, a *agent, path string, into any) error {
	text, err := m.ask(ctx, "GET", a, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// until asks again and again until ok.
func until(ctx context.Context, what string, ok func() error) error {
	var err error
	for end := time.Now().Add(settled); ctx.Err() == nil && time.Now().Before(end); pause(ctx, 50*time.Millisecond) {
		if err = ok(); err == nil {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("%s: not within %s", what, settled), err, ctx.Err())
}

// leader waits until an agent knows of a leader.
func (m *mesh) leader(ctx context.Context, a *agent) error {
	return until(ctx, a.name+" knows a leader", func() error {
		text, err := m.ask(ctx, "GET", a, "/v1/status/leader", nil)
		if err == nil && strings.TrimSpace(string(text)) == `""` {
			err = errors.New("no leader")
		}
		return err
	})
}

// listed waits until an instance of a service is one of those that are found, or is not.
func (m *mesh) listed(ctx context.Context, service, id string, wanted bool) error {
	return until(ctx, fmt.Sprintf("%s is found: %t", id, wanted), func() error {
		var found []struct{ Service struct{ ID string } }
		if err := m.get(ctx, m.server, "/v1/health/connect/"+service+"?passing", &found); err != nil {
			return err
		}
		for _, f := range found {
			if f.Service.ID == id+"-sidecar-proxy" {
				if wanted {
					return nil
				}
				return fmt.Errorf("of %d instances", len(found))
			}
		}
		if wanted {
			return fmt.Errorf("not of %d instances", len(found))
		}
		return nil
	})
}

// metric tells each value of a metric that is told at an address, with its labels.
func (m *mesh) metric(ctx context.Context, at, name string, tell func(string, int)) error {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+at, nil)
	if err != nil {
		return err
	}
	w, err := m.http.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	if w.StatusCode != http.StatusOK {
		return fmt.Errorf("metrics at %s: %s", at, w.Status)
	}
	lines := bufio.NewScanner(w.Body)
	for lines.Scan() {
		text := lines.Text()
		if rest, ok := strings.CutPrefix(text, name); !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		end := strings.LastIndexByte(text, ' ')
		n, err := strconv.Atoi(text[end+1:])
		if err != nil {
			return fmt.Errorf("metric %q: %w", text, err)
		}
		tell(text[len(name):end], n)
	}
	return lines.Err()
}

// answers waits until both applications are reached through the sidecars.
func (m *mesh) answers(ctx context.Context) error {
	return until(ctx, "the applications answer", func() error {
		w, err := m.http.Get("http://" + m.api + "/")
		if err != nil {
			return err
		}
		w.Body.Close()
		if w.StatusCode != http.StatusOK {
			return fmt.Errorf("api: %d", w.StatusCode)
		}
		c, err := net.DialTimeout("tcp", m.tcp, time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		return say(c)
	})
}
