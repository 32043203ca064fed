package canon_test

import (
	"strings"
	"testing"

	"github.com/curia-mesh/curia/connect/canon"
)

func TestPatterns(t *testing.T) {
	for in, want := range map[string]string{
		"/admin": "/admin", "/%61dmin": "/admin", "//admin/./x/../y": "/admin/y", "/a%2fb": "/a%2Fb", "/%c3%a9": "/%C3%A9", "": "", "admin": "admin", "/%zz": "/%zz",
	} {
		if got := canon.Exact(in); got != want {
			t.Errorf("exact %q is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"/": "/", "/ap": "/ap", "/api/": "/api/", "//api//v%31/": "/api/v1/", "/%61p": "/ap", "/a/.": "/a/.", "/a/..": "/a/..", "/a/../b/..x": "/b/..x", "/a%2": "/a%2", "/a/..;": "/a/..;", "x": "x",
	} {
		if got := canon.Prefix(in); got != want {
			t.Errorf("prefix %q is %q, want %q", in, got, want)
		}
	}
}

// What a path begins with its canonical form begins with, when the prefix ends at a segment.
func FuzzPrefix(f *testing.F) {
	f.Add("/a/", "b")
	f.Add("/a//%62/", "../x")
	f.Fuzz(func(t *testing.T, prefix, rest string) {
		path, err := canon.Rules{Slashes: canon.Keep}.Path(nil, []byte(prefix+rest))
		if err != nil || !strings.HasSuffix(prefix, "/") || strings.Contains("/"+rest, "/.") || strings.Contains(rest, "%2e") || strings.Contains(rest, "%2E") || strings.HasSuffix(prefix, "\\/") {
			t.Skip()
		}
		if want := canon.Prefix(prefix); !strings.HasPrefix(string(path), want) {
			t.Errorf("%q begins with %q, and %q not with %q", prefix+rest, prefix, path, want)
		}
	})
}
