package canon_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/connect/canon"
)

// The tables of traps 17, A21 and A22: what is one path for some application is one path here, or refused.
func TestPath(t *testing.T) {
	var safe canon.Rules
	f := func(r canon.Rules, path, want string) {
		t.Helper()
		got, err := r.Path(nil, []byte(path))
		if err != nil || string(got) != want {
			t.Errorf("%+v %q is %q, %v, want %q", r, path, got, err, want)
		}
	}
	for _, path := range []string{
		"/admin", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/%2e/admin", "/x/%2E%2e/admin", "/x/y/../.././admin",
		"/../admin", "/../../admin", "///x///..//admin", "/.//admin", "/x/.%2e/admin",
	} {
		f(safe, path, "/admin")
	}
	f(safe, "/", "/")
	f(safe, "//", "/")
	f(safe, "/a/", "/a/")
	f(safe, "/a//", "/a/")
	f(safe, "/a/.", "/a/")
	f(safe, "/a/b/..", "/a/")
	f(safe, "/a/..", "/")
	f(safe, "/..", "/")
	f(safe, "/...", "/...")
	f(safe, "/.a/..b", "/.a/..b")
	f(safe, "/%7euser/%c3%a9", "/~user/%C3%A9")
	f(safe, "/\xc3\xa9\"<>", "/%C3%A9%22%3C%3E")
	f(safe, "/a%20b%3fc%23", "/a%20b%3Fc%23")
	f(safe, "/a%252Fb", "/a%252Fb")
	f(safe, "/a;x=1/b%3Bc", "/a;x=1/b%3Bc")
	f(safe, "/a%21%40%2b", "/a!@+")
	f(canon.Rules{KeepEmpty: true}, "/a//b/..//c", "/a///c")
	f(canon.Rules{Slashes: canon.Keep}, `/a%2fb\c%5c`, "/a%2Fb%5Cc%5C")
	f(canon.Rules{Slashes: canon.Decode}, "/x%2f..%2Fadmin", "/admin")
	f(canon.Rules{Slashes: canon.Decode}, `/x\..%5cadmin`, "/admin")
}

func TestPathRefused(t *testing.T) {
	for path, want := range map[string]error{
		"": canon.ErrRelative, "admin": canon.ErrRelative, "*": canon.ErrRelative,
		"/%": canon.ErrEscape, "/%4": canon.ErrEscape, "/%zz": canon.ErrEscape, "/%-1": canon.ErrEscape, "/a%u002e": canon.ErrEscape,
		"/%00": canon.ErrCharacter, "/a\x00": canon.ErrCharacter, "/a b": canon.ErrCharacter, "/a#b": canon.ErrCharacter, "/a?b": canon.ErrCharacter,
		"/a%2fb": canon.ErrSlash, "/a%5Cb": canon.ErrSlash, `/a\b`: canon.ErrSlash, `/..\admin`: canon.ErrSlash,
		"/x/..;/admin": canon.ErrDots, "/x/.;a=b/admin": canon.ErrDots, "/x/%2e%2e;a": canon.ErrDots,
	} {
		if got, err := (canon.Rules{}).Path(nil, []byte(path)); !errors.Is(err, want) {
			t.Errorf("%q is %q, %v, want %v", path, got, err, want)
		}
	}
}

func TestBare(t *testing.T) {
	for path, want := range map[string]string{"/a;x=1/b;c/d": "/a/b/d", "/;x": "/", "/a": "/a", "/a%3Bb": "/a%3Bb"} {
		if got, some := canon.Bare(nil, []byte(path)); string(got) != want || some != (want != path) {
			t.Errorf("%q is %q, %v, want %q", path, got, some, want)
		}
	}
}

// Paths that need nothing cost no memory.
func TestPathAllocates(t *testing.T) {
	buf := make([]byte, 0, 64)
	for _, path := range []string{"/v1/things/42", "/v1//things/%34%32"} {
		b := []byte(path)
		if n := testing.AllocsPerRun(100, func() { buf, _ = canon.Rules{}.Path(buf[:0], b) }); n != 0 {
			t.Errorf("%q takes %v allocations", path, n)
		}
	}
}

// FuzzPath holds that a canonical path is canonical, has nothing in it that could be read in another way, and is the
// same path to package url.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/a/b/../c", "//a/./%2e%2e/%2F", "/a;b/..;/", `/\..\x`, "/%25%2e", "/a%c3%a9/..", "/.%2e/..a"} {
		for s := range 3 {
			f.Add([]byte(seed), uint8(s), s == 1)
		}
	}
	f.Fuzz(func(t *testing.T, path []byte, slashes uint8, keepEmpty bool) {
		r := canon.Rules{Slashes: canon.Slashes(slashes % 3), KeepEmpty: keepEmpty}
		got, err := r.Path(nil, path)
		if err != nil {
			return
		}
		if again, err := r.Path(nil, got); err != nil || string(again) != string(got) {
			t.Fatalf("%q is %q, which is %q, %v", path, got, again, err)
		}
		text := string(got)
		for _, segment := range strings.Split(text[1:], "/") {
			name, _, _ := strings.Cut(segment, ";")
			if name == "." || name == ".." {
				t.Fatalf("%q is %q, with a dot segment", path, got)
			}
		}
		if !keepEmpty && strings.Contains(text, "//") || strings.ContainsAny(text, "\\ ?#\x00") {
			t.Fatalf("%q is %q", path, got)
		}
		u, err := url.ParseRequestURI(text)
		if err != nil || !keepEmpty && u.EscapedPath() != text && u.RawPath != "" {
			t.Fatalf("%q is %q, which is %+v for package url: %v", path, got, u, err)
		}
		if r.Slashes != canon.Keep && strings.Count(u.Path, "/") != strings.Count(text, "/") {
			t.Fatalf("%q is %q, with hidden slashes: %q", path, got, u.Path)
		}
	})
}
