package client

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzAddress checks that an address that is accepted leads to requests below it.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"", "127.0.0.1:8500", "http://a:1/sub", "https://[::1]:8501", "unix:///x", "http://a b", "//", "a:b", "http://%41:80", "http://a/%2e%2e/"} {
		f.Add(seed, "a/../b c%")
	}
	f.Fuzz(func(t *testing.T, address, key string) {
		base, _, err := parseAddress(address, false)
		if err != nil {
			return
		}
		if base.Host == "" || base.User != nil || base.Scheme != "http" && base.Scheme != "https" {
			t.Errorf("%q became %+v", address, base)
		}
		c, err := New(Config{Address: address})
		if err != nil {
			t.Fatal(err)
		}
		c.http.Transport = asked(func(r *http.Request) {
			if strings.TrimSuffix(r.URL.Host, ":") != strings.TrimSuffix(base.Host, ":") || !strings.HasPrefix(r.URL.EscapedPath(), base.EscapedPath()+"/v1/kv/") {
				t.Errorf("%q and key %q lead to %s", address, key, r.URL)
			}
		})
		c.KV().Get(t.Context(), key, Query{})
	})
}

// asked sees requests in place of a network.
type asked func(*http.Request)

func (f asked) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return nil, http.ErrServerClosed
}
