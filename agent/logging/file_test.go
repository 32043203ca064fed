package logging_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curia-mesh/curia/agent/logging"
)

// names lists a directory; contents reads one of its files.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func contents(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogFilePath(t *testing.T) {
	f := func(setting, want string) {
		t.Helper()
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		o, _ := open(t, logging.Config{File: dir + setting})
		o.Logger().Info("hello")
		info, err := os.Stat(filepath.Join(dir, want))
		if err != nil || info.Size() == 0 {
			t.Errorf("log_file %q: %v", setting, err)
		} else if info.Mode() != 0o640 {
			t.Errorf("log_file %q: mode %v", setting, info.Mode())
		}
	}
	f("/", "curia.log")
	f("", "curia.log")
	f("/sub", "sub/curia.log")
	f("/my", "my.log")
	f("/my.app", "my.app")
}

func TestLogFileErrors(t *testing.T) {
	dir := t.TempDir()
	f := func(want string, cfg logging.Config) {
		t.Helper()
		if _, err := logging.New(cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f("log_file: directory "+dir+"/no does not exist: create it", logging.Config{File: dir + "/no/"})
	f("log_rotate_bytes is -1", logging.Config{File: dir, RotateBytes: -1})
	f("log_rotate_duration is -1s", logging.Config{File: dir, RotateDuration: -time.Second})
	f("log_rotate_max_files is -2", logging.Config{File: dir, RotateMaxFiles: -2})
}

// TestRotation: time is the bubble's, so that the names of the rotated files are known.
func TestRotation(t *testing.T) {
	f := func(cfg logging.Config, step time.Duration, want ...string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"curia-old.log", "curia-+1.log", "curia-12.txt"} { // not ours
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg.File = dir
			o, _ := open(t, cfg)
			start := time.Now().UnixNano()
			for i := range 5 {
				o.Logger().Info("line", "i", i) // 49 bytes with its newline
				time.Sleep(step)
			}
			var got []string
			for _, name := range names(t, dir) {
				text := contents(t, dir, name)
				if text == "" {
					continue
				}
				var stamp int64
				if n, _ := fmt.Sscanf(name, "curia-%d.log", &stamp); n == 1 {
					name = fmt.Sprint("curia-", time.Duration(stamp-start))
				}
				for line := range strings.Lines(text) {
					name += " " + line[len(line)-2:len(line)-1]
				}
				got = append(got, name)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if n := len(names(t, dir)); n != len(want)+3 {
				t.Errorf("%d files are left: %q", n, names(t, dir))
			}
		})
	}
	f(logging.Config{}, time.Minute, "curia.log 0 1 2 3 4")
	f(logging.Config{RotateBytes: 100}, time.Second, "curia-2s 0 1", "curia-4s 2 3", "curia.log 4")
	f(logging.Config{RotateBytes: 1}, 0, "curia-0s 0", "curia-1ns 1", "curia-2ns 2", "curia-3ns 3", "curia.log 4")
	f(logging.Config{RotateBytes: 1, RotateMaxFiles: 2}, time.Second, "curia-3s 2", "curia-4s 3", "curia.log 4")
	f(logging.Config{RotateBytes: 1, RotateMaxFiles: -1}, time.Second, "curia.log 4")
	f(logging.Config{RotateDuration: 2 * time.Hour}, time.Hour, "curia-2h0m0s 0 1", "curia-4h0m0s 2 3", "curia.log 4")
	f(logging.Config{}, 23*time.Hour, "curia-46h0m0s 0 1", "curia-92h0m0s 2 3", "curia.log 4")
}

func TestLogFileIsContinued(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		o, _ := open(t, logging.Config{File: dir, RotateBytes: 100})
		o.Logger().Info("line", "i", i)
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		o.Logger().Info("after Close") // reaches the terminal only
	}
	if got := contents(t, dir, "curia.log"); strings.Count(got, "\n") != 2 || strings.Contains(got, "after") {
		t.Errorf("got %q", got)
	}
}

// TestFailingFileIsTold: a full disk costs lines of the file, not of the terminal, and is told there once a minute.
func TestFailingFileIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := filepath.Join(t.TempDir(), "full.log")
		if err := os.Symlink("/dev/full", full); err != nil {
			t.Fatal(err)
		}
		o, buf := open(t, logging.Config{File: full})
		tell := func(want int) {
			t.Helper()
			o.Logger().Info("a line")
			told := bytes.Count(buf.Bytes(), []byte("[ERROR] logging: lines are being lost: write"))
			if lines := bytes.Count(buf.Bytes(), []byte("a line")); told != want || lines == 0 {
				t.Errorf("told %d times, want %d: %s", told, want, buf)
			}
		}
		tell(1)
		tell(1)
		time.Sleep(time.Minute)
		tell(2)
	})
}

// TestRotationFails: without its directory no new file can be begun, so the lines go on into the file there is.
func TestRotationFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o, buf := open(t, logging.Config{File: dir, RotateBytes: 1})
	o.Logger().Info("first")
	kept, err := os.Open(filepath.Join(dir, "curia.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	o.Logger().Info("second")
	if !strings.Contains(buf.String(), "cannot begin a new log file") {
		t.Errorf("nothing told: %s", buf)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(kept); err != nil || !strings.Contains(got.String(), "second") {
		t.Errorf("the line is lost: %v %s", err, &got)
	}
}
