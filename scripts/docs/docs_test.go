package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	dir := t.TempDir()
	read := func() map[string]string {
		t.Helper()
		pagesNow := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			pagesNow[e.Name()] = string(text)
		}
		return pagesNow
	}
	if err := run(dir, true); err == nil || len(read()) != 0 {
		t.Errorf("a check of nothing: %v, %d pages", err, len(read()))
	}
	for range 2 { // what is written is the same each time
		if err := run(dir, false); err != nil || len(read()) != len(pages) {
			t.Fatalf("%d pages of %d: %v", len(read()), len(pages), err)
		}
		if err := run(dir, true); err != nil {
			t.Error(err)
		}
	}
	for name, text := range read() {
		if !strings.HasPrefix(text, "#") || strings.Contains(text, "%!") {
			t.Errorf("%s does not begin as a page, or was badly formatted: %.80q", name, text)
		}
		old := text + "old\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(dir, true); err == nil || !strings.Contains(err.Error(), "["+name+"]") || read()[name] != old {
			t.Errorf("%s is out of date: %v", name, err)
		}
		if err := run(dir, false); err != nil || read()[name] != text {
			t.Errorf("%s was not renewed: %v", name, err)
		}
	}
	if err := run(filepath.Join(dir, "absent"), false); err == nil {
		t.Error("pages were written to where nothing is")
	}
}
