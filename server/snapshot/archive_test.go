package snapshot_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/server/snapshot"
)

var state = bytes.Repeat([]byte("state of a cluster "), 500)

func meta() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{Version: 1, ID: "2-7-1", Index: 7, Term: 2, Size: int64(len(state))}
}

func archive(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := snapshot.Write(&out, meta(), bytes.NewReader(state)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// leftovers fails the test if anything stays in the directory for temporary files.
func leftovers(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestReadReturnsWhatWriteWrote(t *testing.T) {
	leftovers(t)
	a, err := snapshot.Read(bytes.NewReader(archive(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 {
		t.Errorf("a kill now would leave %v", left)
	}
	for range 2 { // it can be read again
		from, err := a.State()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(from); err != nil || !bytes.Equal(got, state) {
			t.Fatalf("state has %d bytes, %v; want %d", len(got), err, len(state))
		}
	}
	if a.Meta.Index != 7 || a.Meta.Term != 2 || a.Meta.Size != int64(len(state)) {
		t.Errorf("meta = %+v", a.Meta)
	}
}

func TestEveryTruncationAndEveryFlippedByteIsRefused(t *testing.T) {
	leftovers(t)
	whole := archive(t)
	for cut := range whole {
		if a, err := snapshot.Read(bytes.NewReader(whole[:cut])); err == nil {
			a.Close()
			t.Errorf("accepted with %d of %d bytes", cut, len(whole))
		}
	}
	for at := range whole {
		if at >= 3 && at < 10 {
			continue // time, flags and system in the header of gzip say nothing about the content
		}
		broken := bytes.Clone(whole)
		broken[at] ^= 0x10
		a, err := snapshot.Read(bytes.NewReader(broken))
		if err != nil {
			continue
		}
		// A bit of padding between two blocks of the compression says nothing: what was read must be whole.
		from, err := a.State()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(from); err != nil || !bytes.Equal(got, state) || a.Meta.Index != 7 || a.Meta.Term != 2 {
			t.Errorf("accepted with byte %d of %d flipped, as something else: %v", at, len(whole), err)
		}
		a.Close()
	}
}

// file is one of a tar.
type file struct {
	name, content string
	kind          byte
}

func pack(files ...file) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: f.kind, Size: int64(len(f.content)), Mode: 0o600}
		if f.kind != 0 && f.kind != tar.TypeReg {
			h.Size, h.Linkname = 0, "/etc/passwd"
		}
		w.WriteHeader(h)
		if h.Size > 0 {
			io.WriteString(w, f.content)
		}
	}
	w.Close()
	zip.Close()
	return out.Bytes()
}

func sums(files ...file) file {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256([]byte(f.content)), f.name)
	}
	return file{name: "SHA256SUMS", content: b.String()}
}

func TestHostileArchivesAreRefused(t *testing.T) {
	leftovers(t)
	encoded, err := json.Marshal(meta())
	if err != nil {
		t.Fatal(err)
	}
	m, s := file{name: "meta.json", content: string(encoded)}, file{name: "state.bin", content: string(state)}
	if a, err := snapshot.Read(bytes.NewReader(pack(m, s, sums(m, s)))); err != nil {
		t.Fatalf("a good archive is refused: %v", err)
	} else {
		a.Close()
	}
	other := file{name: "state.bin", content: strings.ToUpper(s.content)}
	long := file{name: "state.bin", content: s.content + "more"}
	with := func(name string) file { return file{name: name, content: s.content} }
	for what, files := range map[string][]file{
		"way up":             {m, with("../state.bin"), sums(m, s)},
		"absolute way":       {m, with("/state.bin"), sums(m, s)},
		"one more":           {m, s, file{name: "authorized_keys", content: "x"}, sums(m, s)},
		"state twice":        {m, s, other, sums(m, s)},
		"meta twice":         {m, m, s, sums(m, s)},
		"sums twice":         {m, s, sums(m, s), sums(m, s)},
		"symlink":            {m, {name: "state.bin", kind: tar.TypeSymlink}, sums(m, s)},
		"directory":          {m, {name: "state.bin", kind: tar.TypeDir}, sums(m, s)},
		"wrong sum":          {m, other, sums(m, s)},
		"no sums":            {m, s},
		"empty sums":         {m, s, {name: "SHA256SUMS"}},
		"sum of one only":    {m, s, sums(m)},
		"one sum twice":      {m, s, sums(m, m)},
		"sum of another":     {m, s, sums(m, s, file{name: "x"})},
		"no state":           {m, sums(m)},
		"no meta":            {s, sums(s)},
		"size of meta wrong": {m, long, sums(m, long)},
		"meta is no JSON":    {{name: "meta.json", content: "{"}, s, sums(file{name: "meta.json", content: "{"}, s)},
		"meta with a tail":   {{name: "meta.json", content: m.content + "{}"}, s, sums(file{name: "meta.json", content: m.content + "{}"}, s)},
		"huge meta":          {{name: "meta.json", content: m.content + strings.Repeat(" ", 1<<20)}, s, sums(file{name: "meta.json", content: m.content + strings.Repeat(" ", 1<<20)}, s)},
		"nothing":            nil,
	} {
		if a, err := snapshot.Read(bytes.NewReader(pack(files...))); err == nil {
			a.Close()
			t.Errorf("%s: accepted", what)
		}
	}
}

// zeros is a reader of n zeros.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBombIsRefusedBeforeItFillsTheDisk(t *testing.T) {
	leftovers(t)
	const announced = 1 << 40
	from, to := io.Pipe()
	go func() { // ends when the reader closes its end
		zip, _ := gzip.NewWriterLevel(to, gzip.BestSpeed)
		w := tar.NewWriter(zip)
		w.WriteHeader(&tar.Header{Name: "state.bin", Size: announced, Mode: 0o600})
		io.Copy(w, zeros(announced))
		to.Close()
	}()
	a, err := snapshot.ReadWithin(announced, 1<<20, 200, from)
	from.Close()
	if err == nil {
		a.Close()
		t.Fatal("accepted")
	}
	if !strings.Contains(err.Error(), "more than a state can be") {
		t.Errorf("refused because of %q", err)
	}
}

func TestStateAboveTheLimitIsRefused(t *testing.T) {
	leftovers(t)
	if a, err := snapshot.ReadWithin(int64(len(state))-1, 1<<20, 200, bytes.NewReader(archive(t))); err == nil {
		a.Close()
		t.Error("accepted")
	}
	a, err := snapshot.ReadWithin(int64(len(state)), 1, 200, bytes.NewReader(archive(t)))
	if err != nil {
		t.Fatalf("a state as long as may be, which compresses well: %v", err)
	}
	a.Close()
}

func TestWriteFailsWhenTheStateIsNotAsLongAsItSays(t *testing.T) {
	for _, n := range []int{len(state) - 1, len(state) + 1} {
		m := meta()
		m.Size = int64(n)
		if err := snapshot.Write(io.Discard, m, bytes.NewReader(state)); err == nil {
			t.Errorf("wrote a state of %d bytes as %d", len(state), n)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archive(f))
	f.Add(pack(file{name: "meta.json", content: "{}"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := snapshot.Read(bytes.NewReader(b)); err == nil {
			if _, err := a.State(); err != nil {
				t.Error(err)
			}
			a.Close()
		}
	})
}
