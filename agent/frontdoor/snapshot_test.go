package frontdoor_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/curia-mesh/curia/agent/testkit"
)

// file is one entry of an archive.
type file struct{ name, content string }

// pack makes a snapshot archive of files.
func pack(t testing.TB, files ...file) string {
	t.Helper()
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	out := tar.NewWriter(compressed)
	for _, f := range files {
		if err := out.WriteHeader(&tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.content))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(out, f.content)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sums is what SHA256SUMS says of files.
func sums(files ...file) file {
	var text strings.Builder
	for _, f := range files {
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256([]byte(f.content)), f.name)
	}
	return file{"SHA256SUMS", text.String()}
}

// forged returns archives that no restore may take, made of a good one.
func forged(t testing.TB, good string) map[string]string {
	t.Helper()
	files := unpack(t, good)
	meta, state := file{"meta.json", files["meta.json"]}, file{"state.bin", files["state.bin"]}
	changed := func(key string, value any) file {
		var all map[string]any
		if err := json.Unmarshal([]byte(meta.content), &all); err != nil {
			t.Fatal(err)
		}
		all[key] = value
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return file{"meta.json", string(text)}
	}
	bad := map[string]string{
		"nothing":           "",
		"no archive":        "hello",
		"gzip of nothing":   pack(t),
		"wrong sum":         pack(t, meta, state, sums(meta, file{"state.bin", "other"})),
		"no sums":           pack(t, meta, state),
		"empty sums":        pack(t, meta, state, file{"SHA256SUMS", ""}),
		"sums of one file":  pack(t, meta, state, sums(state)),
		"sums of others":    pack(t, meta, state, sums(meta, state, file{"../etc/passwd", ""})),
		"a way out":         pack(t, meta, state, file{"../outside", "x"}, sums(meta, state, file{"../outside", "x"})),
		"an absolute path":  pack(t, meta, state, file{"/outside", "x"}, sums(meta, state)),
		"state by a way":    pack(t, meta, file{"../state.bin", state.content}, sums(meta, file{"../state.bin", state.content})),
		"a file twice":      pack(t, meta, state, state, sums(meta, state)),
		"a file too many":   pack(t, meta, state, file{"more", "x"}, sums(meta, state, file{"more", "x"})),
		"meta of nonsense":  pack(t, file{"meta.json", "{"}, state, sums(file{"meta.json", "{"}, state)),
		"an empty state":    pack(t, meta, file{"state.bin", ""}, sums(meta, file{"state.bin", ""})),
		"a state cut short": pack(t, meta, file{"state.bin", state.content[:len(state.content)-5]}, sums(meta, file{"state.bin", state.content[:len(state.content)-5]})),
		"a state and more":  pack(t, meta, file{"state.bin", state.content + "more"}, sums(meta, file{"state.bin", state.content + "more"})),
		"state of nonsense": pack(t, meta, file{"state.bin", strings.Repeat("x", 1000)}, sums(meta, file{"state.bin", strings.Repeat("x", 1000)})),
		"index beyond all":  pack(t, changed("Index", uint64(1<<64-1)), state, sums(changed("Index", uint64(1<<64-1)), state)),
		"negative size":     pack(t, changed("Size", -1), state, sums(changed("Size", -1), state)),
	}
	const points, head = 100, 10 // gzip's head has bytes that mean nothing: time and system (RFC 1952 section 2.3)
	for i := range points {
		at := head + (len(good)-head)*i/points
		bad[fmt.Sprintf("cut at byte %d", at)] = good[:at]
		flipped := []byte(good)
		flipped[at] ^= 1 << (i % 8)
		if testkit.Unpacked(flipped) == testkit.Unpacked([]byte(good)) {
			continue // padding between two blocks of the compression
		}
		bad[fmt.Sprintf("bit %d of byte %d flipped", i%8, at)] = string(flipped)
	}
	return bad
}

func TestA34_SnapshotsThatLie(t *testing.T) {
	n := testkit.New(t, nil)
	a := n.Start(t)
	instances(t, n.Client, "web", 20)
	n.Put(t, "/v1/kv/key", "old")
	session := n.Put(t, "/v1/session/create", `{"Name": "s"}`).Body
	good := n.Get(t, "/v1/snapshot").Body
	n.Put(t, "/v1/kv/key", "new")
	state := func() []string {
		var all []string
		for _, path := range []string{"/v1/kv/?recurse", "/v1/catalog/service/web", "/v1/session/list", "/v1/catalog/nodes", "/v1/agent/services"} {
			all = append(all, n.Get(t, path).Body)
		}
		return all
	}
	before, index := state(), n.Get(t, "/v1/kv/key").Index()
	for what, archive := range forged(t, good) {
		if r := n.Do(t, http.MethodPut, "/v1/snapshot", archive); r.Status < 400 || r.Body == "" || len(r.Body) > 1000 {
			t.Errorf("%s: status %d %.200s", what, r.Status, r.Body)
		}
	}
	if !slices.Equal(state(), before) || n.Get(t, "/v1/kv/key").Index() != index {
		t.Error("a refused snapshot changed the state")
	}
	a.Stop(t)
	n.Start(t)
	if !slices.Equal(state(), before) {
		t.Error("a refused snapshot changed the state on disk")
	}
	n.Do(t, http.MethodPut, "/v1/snapshot", good).Want(t, http.StatusOK)
	if got := n.Get(t, "/v1/kv/key?raw").Body; got != "old" {
		t.Errorf("the good snapshot restored %q", got)
	}
	if got := n.Get(t, "/v1/session/list").Body; !strings.Contains(session, "ID") || got == "[]" {
		t.Errorf("sessions after the restore: %s", got)
	}
}

// TestSnapshotOfAnotherCluster: it comes into a cluster that has been made for it, and over the data of one that is
// in use only when that is asked for.
func TestSnapshotOfAnotherCluster(t *testing.T) {
	theirs := testkit.NewDev(t, nil)
	theirs.Start(t)
	certified(t, theirs)
	theirs.Put(t, "/v1/kv/key", "theirs")
	archive := theirs.Get(t, "/v1/snapshot").Body

	used := testkit.NewDev(t, nil)
	used.Start(t)
	certified(t, used)
	used.Put(t, "/v1/kv/key", "ours")
	index := used.Get(t, "/v1/kv/key").Index()
	r := used.Do(t, http.MethodPut, "/v1/snapshot", archive)
	if r.Status != http.StatusConflict || !strings.Contains(r.Body, "1 keys, 0 config entries") || !strings.Contains(r.Body, "-force") {
		t.Errorf("want a refusal that says what would be lost, got %d %s", r.Status, r.Body)
	}
	if got := used.Get(t, "/v1/kv/key"); got.Index() != index || !strings.Contains(got.Body, "b3Vycw==") {
		t.Errorf("after the refusal: %s", got.Body)
	}
	fresh := testkit.NewDev(t, nil)
	fresh.Start(t)
	instances(t, fresh.Client, "web", 1) // what agents bring does not stand in the way
	for _, c := range []struct {
		into *testkit.Node
		path string
	}{{fresh, "/v1/snapshot"}, {used, "/v1/snapshot?force"}} {
		c.into.Do(t, http.MethodPut, c.path, archive).Want(t, http.StatusOK)
		if got := c.into.Get(t, "/v1/kv/key?raw").Body; got != "theirs" {
			t.Errorf("%s restored %q", c.path, got)
		}
	}
}
