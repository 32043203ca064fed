package command

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/curia-mesh/curia/agent/testkit"
	"github.com/curia-mesh/curia/catalog"
	"github.com/curia-mesh/curia/catalog/state"
	"github.com/curia-mesh/curia/server/fsm"
	"github.com/curia-mesh/curia/server/snapshot"
)

// archive is a snapshot with two keys.
func archive(t *testing.T) []byte {
	t.Helper()
	store := state.New()
	tx := store.Write(7)
	state.KVSet(tx, &catalog.KVPair{Key: "app/one/x", Value: make([]byte, 2000)})
	state.KVSet(tx, &catalog.KVPair{Key: "snap", Value: []byte("1")})
	tx.Commit()
	var saved, packed bytes.Buffer
	if err := fsm.Save(&saved, store.Read(), 7); err != nil {
		t.Fatal(err)
	}
	meta := &raft.SnapshotMeta{ID: "2-7-1", Index: 7, Term: 2, Version: 1, Size: int64(saved.Len())}
	if err := snapshot.Write(&packed, meta, &saved); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// TestSnapshot covers A34 of the bad inputs: what is damaged is neither saved nor restored.
func TestSnapshot(t *testing.T) {
	t.Chdir(t.TempDir())
	whole := archive(t)
	answer := whole
	var restored []byte
	var length int64
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/agent/self":
			io.WriteString(w, `{"Config":{"Version":"1.2.3","Datacenter":"dc1","NodeName":"a/b"},"Stats":{"raft":{"state":"Leader"}}}`)
		case r.Method == "GET":
			w.Header().Set("X-Consul-Index", "7")
			w.Write(answer)
		default:
			restored, _ = io.ReadAll(r.Body)
			length = r.ContentLength
		}
	}))
	defer agent.Close()
	run := func(wantCode int, args ...string) (string, string) {
		t.Helper()
		code, out, errs := invoke(agent.URL, "", append([]string{"snapshot"}, args...)...)
		if code != wantCode {
			t.Errorf("%q: exit code %d: %s", args, code, errs)
		}
		return out, errs
	}
	if out, _ := run(0, "save", "s.snap"); out != "Saved and verified snapshot to index 7\n" {
		t.Errorf("save: %s", out)
	}
	run(0, "save", "-append-filename=version,dc,node,status", "t.snap")
	info, err := os.Stat("t-1.2.3-dc1-a_b-leader.snap")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("appended file: %v %v", info, err)
	}
	for n := 0; n < len(whole); n += max(1, len(whole)/40) {
		answer = whole[:n]
		run(1, "save", "s.snap")
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x40
		if testkit.Unpacked(flipped) == testkit.Unpacked(whole) {
			continue // the gzip header's time and system, or padding between two blocks: no damage
		}
		if err := os.WriteFile("bad.snap", flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		run(1, "restore", "bad.snap")
	}
	if kept, err := os.ReadFile("s.snap"); err != nil || !bytes.Equal(kept, whole) {
		t.Error("a damaged snapshot replaced a good one")
	}
	if left, _ := os.ReadDir("."); len(left) != 3 || restored != nil {
		t.Errorf("left behind: %v; restored %d bytes", left, len(restored))
	}
	if out, _ := run(0, "restore", "s.snap"); out != "Restored snapshot\n" || !bytes.Equal(restored, whole) || length != int64(len(whole)) {
		t.Errorf("restore: %s, %d bytes of %d", out, len(restored), length)
	}
	inspected(t, run)
}

func inspected(t *testing.T, run func(int, ...string) (string, string)) {
	out, _ := run(0, "inspect", "-kvdetails", "-kvdepth=1", "s.snap")
	for _, word := range []string{" ID           2-7-1", " Index        7", " Term         2", " Version      1", "KVS                  2", "Total", "app", "snap", "2KB"} {
		if !strings.Contains(out, word) {
			t.Errorf("inspect lacks %q: %s", word, out)
		}
	}
	if out, _ := run(0, "inspect", "-kvdetails", "-kvfilter=snap", "s.snap"); strings.Contains(out, "app") {
		t.Errorf("a filter lets others pass: %s", out)
	}
	var in inspection
	out, _ = run(0, "inspect", "-format=json", "s.snap")
	if err := json.Unmarshal([]byte(out), &in); err != nil || in.Meta.Term != 2 || in.StatsKV != nil || in.TotalSize < 2000 {
		t.Errorf("as JSON: %v %s", err, out)
	}
	out, _ = run(0, "decode", "s.snap")
	lines := strings.Split(out, "\n")
	if !strings.HasPrefix(lines[0], `{"Type":"SnapshotHeader","Data":{`) || !strings.Contains(out, `{"Type":"KVS","Data":{"LockIndex":0,"Key":"snap","Flags":0,"Value":"MQ=="`) {
		t.Errorf("decode: %s", out)
	}
}
